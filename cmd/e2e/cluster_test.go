package e2e

import (
	"net/netip"
	"testing"

	"weft/cmd/weft/lab"
)

// addrs returns the addresses of a pod, by family.
func addrs(n *lab.Node) map[string]netip.Addr {
	m := map[string]netip.Addr{}
	if a := n.PodAddr(); a.IsValid() {
		m["IPv4"] = a
	}
	if a := n.PodAddr6(); a.IsValid() {
		m["IPv6"] = a
	}
	return m
}

// everything checks that two pods exchange TCP and UDP of all sizes, in each
// address family that both have. step thins out the sizes.
func everything(t *testing.T, from, to *lab.Node, bytes int64, step int) {
	t.Helper()
	for family, a := range addrs(from) {
		b, both := addrs(to)[family]
		if !both {
			continue
		}
		transfer(t, from, to, b, bytes)
		e := startEcho(t, to.Pod, b)
		sizes := append(upTo(from.Env().MTU, a.Is6(), step), 1999, 9000, 65507-20) // the last ones in fragments
		echoSizes(t, from.Pod, a, e, sizes)
		superpackets(t, from.Pod, a, e, 1200)
	}
}

func TestCluster(t *testing.T) {
	l := newLabUp(t, lab.Options{Nodes: 3, Store: lab.StoreEtcd, IPv6: true})
	n1, n2, n3 := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	for wire, like := range map[string]bool{"superpackets": false, "wire-like": true} {
		t.Run(wire, func(t *testing.T) {
			must(t, l.SetWire(like))
			must(t, l.Reach(within(t)))
			everything(t, n1, n2, 64*mega, 1)
			everything(t, n3, n2, 8*mega, 31)
		})
	}
	t.Run("TTL", func(t *testing.T) { testTTL(t, n1, n2) })
	t.Run("traceroute", func(t *testing.T) { testTraceroute(t, n1, n2) })
	t.Run("unallocated", func(t *testing.T) { testUnallocated(t, n1) })
	t.Run("subnet.env, address, routes", func(t *testing.T) { testFiles(t, n2) })
	t.Run("health", func(t *testing.T) { testHealth(t, n3) })
	t.Run("device deleted", func(t *testing.T) { testDeviceDeleted(t, n1, n2) })
	t.Run("restart", func(t *testing.T) { testRestart(t, n1, n2) })
}

// Leases as files in a shared directory, and no etcd at all.
func TestFileLeases(t *testing.T) {
	l := newLabUp(t, lab.Options{Nodes: 3, Store: lab.StoreDir})
	n1, n2, n3 := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	everything(t, n1, n2, 16*mega, 53)
	everything(t, n2, n3, 16*mega, 53)
	testRestart(t, n1, n2)
	must(t, l.Reach(within(t)))
}
