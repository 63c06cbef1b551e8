package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	"github.com/vishvananda/netlink"

	"weft/lease"
)

// dockerFlags are the flags of flannel's mk-docker-opts.sh, by their letters.
type dockerFlags struct {
	subnetFile string // -f
	output     string // -d; empty: standard output
	individual bool   // -i
	combined   bool   // -c
	key        string // -k
	noIPMasq   bool   // -m
}

func (a *app) dockerOptsCommand() *cobra.Command {
	var f dockerFlags
	cmd := &cobra.Command{
		Use:   "docker-opts",
		Short: "Turn subnet.env into options for the Docker daemon",
		Long: `Print the options that make Docker use this node's subnet, as lines for an
EnvironmentFile: one variable for each option, and all of them in one. It takes
the place of flannel's mk-docker-opts.sh and has the same one-letter flags.

Docker masquerades exactly when weft does not, so --ip-masq is the opposite of
FLANNEL_IPMASQ.`,
		Example: `  weft docker-opts
  weft docker-opts -c -k DOCKER_NETWORK_OPTIONS -d /run/flannel/docker`,
		Args: cobra.NoArgs,
		RunE: doing(func(*cobra.Command, []string) error { return a.dockerOpts(f) }),
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVarP(&f.subnetFile, "subnet-file", "f", "/run/flannel/subnet.env", "read this `file`")
	fs.StringVarP(&f.output, "output", "d", "", "write to this `file` instead of standard output")
	fs.BoolVarP(&f.individual, "individual", "i", false, "only one variable for each option")
	fs.BoolVarP(&f.combined, "combined", "c", false, "only all options in one variable")
	fs.StringVarP(&f.key, "key", "k", "DOCKER_OPTS", "`name` of that variable; its present value is kept in front")
	fs.BoolVarP(&f.noIPMasq, "no-ip-masq", "m", false, "leave --ip-masq out")
	return cmd
}

func (a *app) dockerOpts(f dockerFlags) error {
	if !isShellName(f.key) {
		return usagef("--key=%s: not a name that a variable can have", f.key)
	}
	env, err := lease.ReadEnv(f.subnetFile)
	if err != nil {
		return err
	}
	opts := dockerOptions(env, f.noIPMasq)
	if len(opts) == 0 {
		return fmt.Errorf("%s: names neither an IPv4 subnet nor an MTU", f.subnetFile)
	}
	if err := checkNotRouted(env.Subnet); err != nil {
		return fmt.Errorf("%s: %w", f.subnetFile, err)
	}
	text := renderDocker(opts, f, lookupEnv(a.environ, f.key))
	if f.output == "" {
		_, err := a.out.Write(text)
		return err
	}
	return lease.WriteFile(f.output, text, 0o644)
}

// A dockerOption is an option and the variable that holds it alone.
type dockerOption struct{ variable, option string }

// dockerOptions returns what env means to Docker, in the order of flannel's
// script. Docker's bridge has no address when there is no IPv4 subnet.
func dockerOptions(env lease.Env, noIPMasq bool) (opts []dockerOption) {
	if env.Subnet.IsValid() {
		bridge := netip.PrefixFrom(env.Subnet.Addr().Next(), env.Subnet.Bits())
		opts = append(opts, dockerOption{"DOCKER_OPT_BIP", "--bip=" + bridge.String()})
	}
	if len(opts) == 0 && env.MTU == 0 {
		return nil
	}
	if !noIPMasq {
		opts = append(opts, dockerOption{"DOCKER_OPT_IPMASQ", fmt.Sprintf("--ip-masq=%t", !env.IPMasq)})
	}
	if env.MTU != 0 {
		opts = append(opts, dockerOption{"DOCKER_OPT_MTU", fmt.Sprintf("--mtu=%d", env.MTU)})
	}
	return opts
}

// renderDocker writes the variables; neither -i nor -c means both. present is
// what the combined variable holds so far.
func renderDocker(opts []dockerOption, f dockerFlags, present string) []byte {
	both := f.individual == f.combined
	var b bytes.Buffer
	all := strings.Fields(present)
	for _, o := range opts {
		if f.individual || both {
			fmt.Fprintf(&b, "%s=\"%s\"\n", o.variable, o.option)
		}
		all = append(all, o.option)
	}
	if f.combined || both {
		fmt.Fprintf(&b, "%s=\"%s\"\n", f.key, inQuotes.Replace(strings.Join(all, " ")))
	}
	return b.Bytes()
}

// inQuotes makes a text safe between double quotes, for a shell and for
// systemd. Only the present value of the variable can need it.
var inQuotes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`")

// checkNotRouted refuses a subnet that a route sends through a gateway: a
// Docker bridge in it would answer for addresses that live elsewhere.
func checkNotRouted(subnet netip.Prefix) error {
	if !subnet.IsValid() {
		return nil
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("reading routes: %w", err)
	}
	if gw := gatewayOf(routes, subnet); gw != "" {
		return fmt.Errorf("FLANNEL_SUBNET=%s: already routed via %s", subnet, gw)
	}
	return nil
}

// gatewayOf returns the gateway of the route to exactly subnet, or "".
func gatewayOf(routes []netlink.Route, subnet netip.Prefix) string {
	for _, r := range routes {
		if r.Dst != nil && len(r.Gw) > 0 && r.Dst.String() == subnet.String() {
			return r.Gw.String()
		}
	}
	return ""
}

func isShellName(s string) bool {
	for i, c := range s {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
