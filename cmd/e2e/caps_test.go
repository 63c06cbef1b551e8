package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
)

// Each capability that weft uses when the kernel has it, switched off: on both
// nodes, and then on one alone, which meets another that has everything.
func TestCapabilities(t *testing.T) {
	off := map[int]string{} // by node
	mode := map[int]string{}
	const conf = `{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:244::/48",
		"EnableNFTables":true,"Backend":{"Type":"udp"}}`
	l := newLabUp(t, lab.Options{Nodes: 2, Store: lab.StoreDir, NetConf: []byte(conf), UpArgs: []string{"--ip-masq"},
		Extra: func(n *lab.Node) (args, env []string) {
			if m := mode[n.Index]; m != "" {
				args = append(args, "--tun-mode="+m)
			}
			return args, []string{"WEFT_DISABLE=" + off[n.Index]}
		}})
	n1, n2 := l.Nodes[0], l.Nodes[1]
	all := "vnet,tso,uso,gso,gro,mmsg,ecn,nft"
	for _, c := range []struct {
		name, off1, off2 string
		plain1, plain2   string
		bytes            int64
		withoutIPv6      bool
	}{
		{name: "everything on", bytes: 16 * mega},
		{name: "vnet", off1: "vnet", off2: "vnet", bytes: 8 * mega},
		{name: "tso", off1: "tso", off2: "tso", bytes: 8 * mega},
		{name: "uso", off1: "uso", off2: "uso", bytes: 16 * mega},
		{name: "gso", off1: "gso", off2: "gso", bytes: 16 * mega},
		{name: "gro", off1: "gro", off2: "gro", bytes: 16 * mega},
		{name: "mmsg", off1: "mmsg", off2: "mmsg", bytes: 16 * mega},
		{name: "nft", off1: "nft", off2: "nft", bytes: 16 * mega},
		{name: "all", off1: all, off2: all, bytes: 8 * mega},
		{name: "all on one side", off1: all, bytes: 8 * mega},
		{name: "all on the other side", off2: all, bytes: 8 * mega},
		{name: "plain mode", plain1: "plain", plain2: "plain", bytes: 8 * mega},
		{name: "plain mode on one side", plain2: "plain", bytes: 8 * mega},
		{name: "plain mode and nothing else", plain1: "plain", off1: all, bytes: 8 * mega},
		{name: "ipv6 on one side", off2: "ipv6", bytes: 8 * mega, withoutIPv6: true},
		{name: "ipv6", off1: "ipv6", off2: "ipv6", bytes: 8 * mega, withoutIPv6: true},
		{name: "everything on again", bytes: 16 * mega},
	} {
		t.Run(c.name, func(t *testing.T) {
			subnets := [2]netip.Prefix{n1.Env().Subnet, n2.Env().Subnet}
			off[1], off[2], mode[1], mode[2] = c.off1, c.off2, c.plain1, c.plain2
			m1, m2 := markLog(t, n1), markLog(t, n2)
			restart(t, n1, n2)
			lacks(t, m1, c.off1, c.plain1)
			lacks(t, m2, c.off2, c.plain2)
			if now := [2]netip.Prefix{n1.Env().Subnet, n2.Env().Subnet}; now != subnets {
				t.Errorf("IPv4 subnets are now %v, were %v", now, subnets)
			}
			if got := n2.PodAddr6().IsValid(); got == c.withoutIPv6 {
				t.Errorf("the pod has an IPv6 address: %v", got)
			}
			reachCommon(t, n1, n2)
			for _, like := range []bool{false, true} {
				must(t, l.SetWire(like))
				everything(t, n1, n2, c.bytes, 173)
			}
			masqueraded(t, l, n1)
		})
	}
}

// reachCommon is reach in the families that both nodes have.
func reachCommon(t testing.TB, a, b *lab.Node) {
	t.Helper()
	for family, addr := range addrs(b) {
		if mine, ok := addrs(a)[family]; ok {
			awaitPing(t, a.Pod, addr)
			awaitPing(t, b.Pod, mine)
		}
	}
}

// lacks checks that what was switched off is off, and the rest on.
func lacks(t *testing.T, m mark, off, mode string) {
	t.Helper()
	features, uso := m.await(t, "data plane open").Features, takesUSO(t, m.n.Pod)
	for _, f := range []string{"vnet", "tso", "uso", "gso", "gro", "mmsg"} {
		not := slices.Contains(strings.Split(off, ","), f) || mode == "plain"
		if f == "tso" || f == "uso" {
			not = not || strings.Contains(off, "vnet") || f == "uso" && !uso
		}
		if slices.Contains(strings.Split(features, ","), f) == not {
			t.Errorf("%s: switched off is %q, mode %q, in use are %s", m.n.Name, off, mode, features)
		}
	}
}

// takesUSO says whether TUN devices of this kernel take UDP superpackets, as
// they do since Linux 6.2.
func takesUSO(t testing.TB, at *lab.Place) bool {
	t.Helper()
	const uso4, uso6 = 0x20, 0x40 // TUN_F_USO4, TUN_F_USO6 (linux/if_tun.h)
	err := at.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		ifr, err := unix.NewIfreq("uso%d")
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			return fmt.Errorf("TUNSETIFF: %w", err)
		}
		return unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|uso4|uso6)
	})
	if err != unix.EINVAL {
		must(t, err)
	}
	return err == nil
}
