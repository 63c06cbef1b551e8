package e2e

import (
	"net/netip"
	"testing"

	"weft/cmd/weft/lab"
)

// IPv6 alone, inside and outside: the nodes have no other addresses.
func TestIPv6Only(t *testing.T) {
	for _, c := range []struct {
		backend string
		kernel  []int
		mtu     int
	}{
		{"udp", nil, 1452},
		{"vxlan", []int{3}, 1430},
		{"wireguard", nil, 1420},
	} {
		t.Run(c.backend, func(t *testing.T) {
			kernel := map[int]bool{}
			for _, i := range c.kernel {
				kernel[i] = true
			}
			l := newLab(t, withKernel(t, lab.Options{Nodes: 3, Store: lab.StoreDir, NetConf: conf("6", `{"Type":"`+c.backend+`"}`)}, kernel))
			for _, n := range l.Nodes {
				must(t, n.Host.Addresses("eth0", netip.PrefixFrom(n.Underlay6, 64)))
			}
			must(t, l.Up(within(t)))
			n1, n2, n3 := l.Nodes[0], l.Nodes[1], l.Nodes[2]
			if got := n1.Env().MTU; got != c.mtu {
				t.Errorf("FLANNEL_MTU is %d, want %d", got, c.mtu)
			}
			if n1.PodAddr().IsValid() {
				t.Errorf("the pod has the address %s", n1.PodAddr())
			}
			for _, like := range []bool{false, true} {
				must(t, l.SetWire(like))
				exchange(t, n1, n2, 4*mega, 173)
				exchange(t, n3, n1, 4*mega, 173)
			}
			restart(t, n1)
			reach(t, n1, n2)
			reach(t, n1, n3)
			drops := stopped(t, n1)
			for _, reason := range []string{"outer_src_unknown", "inner_src_not_in_lease", "no_peer"} {
				if drops[reason] > 0 {
					t.Errorf("drops %v", drops)
				}
			}
		})
	}
}
