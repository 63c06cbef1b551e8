package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/engine/doctor"
)

// hostSources are what the host holds.
var hostSources = []source{
	{name: "kernel.txt", get: func(context.Context) ([]byte, error) { return kernel() }},
	{name: "links.json", get: func(context.Context) ([]byte, error) {
		links, err := doctor.Host{}.Links()
		if err != nil {
			return nil, err
		}
		return json.Marshal(links)
	}},
	{name: "routes.txt", get: func(context.Context) ([]byte, error) { return routes() }},
	{name: "rules.txt", get: func(context.Context) ([]byte, error) { return routeRules() }},
	{name: "neighbours.txt", get: func(context.Context) ([]byte, error) { return neighbours() }},
	{name: "sockets.json", get: func(context.Context) ([]byte, error) {
		list, err := doctor.Host{}.Sockets()
		if err != nil {
			return nil, err
		}
		return json.Marshal(list)
	}},
	{name: "sysctls.txt", get: func(context.Context) ([]byte, error) { return sysctls("/proc/sys") }},
	{name: "counters.txt", get: func(context.Context) ([]byte, error) { return counters() }},
	{name: "filters.json", get: func(ctx context.Context) ([]byte, error) {
		chains, err := doctor.Host{}.Chains(ctx)
		if err != nil && len(chains) == 0 {
			return nil, err
		}
		return json.Marshal(struct {
			Chains  []doctor.Chain
			Missing string `json:",omitempty"`
		}{chains, text(err)})
	}},
	{name: "nft.txt", get: func(context.Context) ([]byte, error) { return nft() }},
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func readFile(path string) ([]byte, error) { return os.ReadFile(path) }

// kernel tells which kernel this is. Its command line may hold secrets.
func kernel() ([]byte, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s %s %s %s\n", unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]),
		unix.ByteSliceToString(u.Version[:]), unix.ByteSliceToString(u.Machine[:])), nil
}

// routes lists those of all tables but the local one's.
func routes() ([]byte, error) {
	var b bytes.Buffer
	for _, family := range []int{vnetlink.FAMILY_V4, vnetlink.FAMILY_V6} {
		list, err := vnetlink.RouteListFiltered(family, &vnetlink.Route{Table: unix.RT_TABLE_UNSPEC}, vnetlink.RT_FILTER_TABLE)
		if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, vnetlink.ErrDumpInterrupted) {
			return nil, err
		}
		for _, r := range list {
			if r.Table != unix.RT_TABLE_LOCAL {
				fmt.Fprintln(&b, r)
			}
		}
	}
	return b.Bytes(), nil
}

func routeRules() ([]byte, error) {
	var b bytes.Buffer
	for _, family := range []int{vnetlink.FAMILY_V4, vnetlink.FAMILY_V6} {
		list, err := vnetlink.RuleList(family)
		if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
			return nil, err
		}
		for _, r := range list {
			fmt.Fprintln(&b, r)
		}
	}
	return b.Bytes(), nil
}

func neighbours() ([]byte, error) {
	list, err := vnetlink.NeighList(0, 0)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, n := range list {
		fmt.Fprintf(&b, "link %d %v state %#x\n", n.LinkIndex, n, n.State)
	}
	return b.Bytes(), nil
}

// wantedSysctls are patterns below /proc/sys.
var wantedSysctls = []string{
	"net/ipv4/ip_forward", "net/ipv4/ip_local_port_range", "net/ipv4/ip_no_pmtu_disc", "net/ipv4/tcp_mtu_probing",
	"net/ipv4/conf/*/rp_filter", "net/ipv4/conf/*/forwarding", "net/ipv4/conf/*/accept_local", "net/ipv4/conf/*/proxy_arp",
	"net/ipv6/conf/*/forwarding", "net/ipv6/conf/*/disable_ipv6", "net/ipv6/conf/*/accept_ra",
	"net/bridge/bridge-nf-call-*", "net/netfilter/nf_conntrack_count", "net/netfilter/nf_conntrack_max",
	"net/core/rmem_*", "net/core/wmem_*", "net/core/netdev_max_backlog", "net/core/default_qdisc",
	"kernel/apparmor_restrict_unprivileged_userns", "kernel/unprivileged_userns_clone", "user/max_user_namespaces", "user/max_net_namespaces",
}

// sysctls lists those that there are. One that cannot be read is in the list
// with the reason.
func sysctls(root string) ([]byte, error) {
	var b bytes.Buffer
	for _, pattern := range wantedSysctls {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			value, err := os.ReadFile(path)
			if err != nil {
				value = []byte("(" + err.Error() + ")")
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, "%s = %s\n", name, bytes.TrimSpace(value))
		}
	}
	return b.Bytes(), nil
}

// counters are the kernel's, of this network namespace.
func counters() ([]byte, error) {
	var b bytes.Buffer
	for _, name := range []string{"dev", "snmp", "snmp6", "netstat", "softnet_stat"} {
		data, err := os.ReadFile("/proc/thread-self/net/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "# %s\n%s\n", name, data)
	}
	return b.Bytes(), nil
}

// nft lists all tables, chains and rules as the kernel holds them, without the
// elements of sets.
func nft() ([]byte, error) {
	c, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error { return c.SetDeadline(time.Now().Add(10 * time.Second)) }))
	if err != nil {
		return nil, err
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, ch := range chains {
		fmt.Fprintf(&b, "table %d %s chain %s type %s", ch.Table.Family, ch.Table.Name, ch.Name, ch.Type)
		if ch.Hooknum != nil && ch.Priority != nil {
			fmt.Fprintf(&b, " hook %d priority %d", *ch.Hooknum, *ch.Priority)
		}
		if ch.Policy != nil {
			fmt.Fprintf(&b, " policy %d", *ch.Policy)
		}
		b.WriteByte('\n')
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			fmt.Fprintf(&b, "  (%v)\n", err)
			continue
		}
		for _, r := range rules {
			fmt.Fprintf(&b, "  rule %d:", r.Handle)
			for _, e := range r.Exprs {
				fmt.Fprintf(&b, " %T%+v", e, e)
			}
			b.WriteByte('\n')
		}
	}
	return b.Bytes(), nil
}
