package main

import (
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/netip"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"weft/lease"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Look at the network configuration (net-conf.json)",
		Example: `  weft config check net-conf.json
  weft config show --etcd-endpoints http://10.0.0.1:2379`,
		Args: subcommandNeeded,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.configCheckCommand(), a.configShowCommand())
	return cmd
}

func (a *app) configCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE|-",
		Short: "Check a net-conf.json and print what it means",
		Long: `Read a network configuration as nodes would and print the networks, the range
of subnets and the backend. "-" reads standard input. Keys that nothing
understands are warnings, as is a backend that flannel has and weft has not. The
exit code is 1 if neither could run with it.`,
		Example: `  weft config check net-conf.json
  etcdctl get --print-value-only /coreos.com/network/config | weft config check -`,
		Args: cobra.ExactArgs(1),
		RunE: doing(func(_ *cobra.Command, args []string) error {
			data, err := a.readArgument(args[0])
			if err != nil {
				return err
			}
			return checkConfig(a.out, args[0], data)
		}),
	}
}

// maxConfig bounds what is read as a configuration: etcd's limit on a value.
const maxConfig = 3 << 19

// readArgument reads the file called name, or standard input for "-".
func (a *app) readArgument(name string) ([]byte, error) {
	r := a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > maxConfig {
		return nil, fmt.Errorf("%s: longer than the %d bytes that etcd could hold", name, maxConfig)
	}
	return data, nil
}

// checkConfig prints to w what the configuration in data means.
func checkConfig(w io.Writer, name string, data []byte) error {
	c, err := lease.ParseConfig(data)
	if err == nil {
		err = printConfig(w, c)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// printConfig prints to w what c means. The error names the key and the value
// that make it unusable; nothing is printed then.
func printConfig(w io.Writer, c *lease.Config) error {
	backend, warnings, err := describeBackend(c)
	if err != nil {
		return err
	}
	ranges, err := subnetRanges(c)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range ranges {
		fmt.Fprintf(t, "network\t%s\n", r.network)
		fmt.Fprintf(t, "subnets\t%s to %s, %s in all\n", r.first, r.last, r.count)
	}
	fmt.Fprintf(t, "backend\t%s\n", strings.Join(backend, ", "))
	rules := "iptables"
	if c.EnableNFTables {
		rules = "nftables"
	}
	fmt.Fprintf(t, "rules\t%s\n", rules)
	for _, key := range c.Unknown {
		fmt.Fprintf(t, "warning\t%s: unknown key\n", key)
	}
	for _, warning := range warnings {
		fmt.Fprintf(t, "warning\t%s\n", warning)
	}
	return t.Flush()
}

// A subnetRange is the subnets that nodes can lease, of one address family.
type subnetRange struct {
	network, first, last netip.Prefix
	count                *big.Int
}

// subnetRanges returns the ranges of the families that are on. A range without
// a subnet is an error here although parsing accepts it, as flannel does: no
// node would ever get a lease.
func subnetRanges(c *lease.Config) ([]subnetRange, error) {
	var ranges []subnetRange
	if c.EnableIPv4 {
		r := newSubnetRange(c.Network, c.SubnetMin, c.SubnetMax, c.SubnetLen)
		if r.count.Sign() <= 0 {
			return nil, fmt.Errorf("net-conf: SubnetMin: %s is above SubnetMax %s, so there is no subnet to lease", c.SubnetMin, c.SubnetMax)
		}
		ranges = append(ranges, r)
	}
	if c.EnableIPv6 {
		r := newSubnetRange(c.IPv6Network, c.IPv6SubnetMin, c.IPv6SubnetMax, c.IPv6SubnetLen)
		if r.count.Sign() <= 0 {
			return nil, fmt.Errorf("net-conf: IPv6SubnetMin: %s is above IPv6SubnetMax %s, so there is no subnet to lease", c.IPv6SubnetMin, c.IPv6SubnetMax)
		}
		ranges = append(ranges, r)
	}
	if len(ranges) == 0 {
		return nil, errors.New("net-conf: EnableIPv4: false, and EnableIPv6 is not true: no address family is left")
	}
	return ranges, nil
}

func newSubnetRange(network netip.Prefix, low, high netip.Addr, bits int) subnetRange {
	n := new(big.Int).Sub(addrNumber(high), addrNumber(low))
	n.Rsh(n, uint(low.BitLen()-bits)) // exact: both ends are aligned
	return subnetRange{
		network: network,
		first:   netip.PrefixFrom(low, bits),
		last:    netip.PrefixFrom(high, bits),
		count:   n.Add(n, big.NewInt(1)),
	}
}

func addrNumber(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }
