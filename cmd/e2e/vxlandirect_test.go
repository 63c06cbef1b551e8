package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
)

// awaitRoute waits until a node's route to a subnet is the one that is wanted,
// which follows the kernel's own routes a moment later.
func awaitRoute(t testing.TB, n *lab.Node, subnet netip.Prefix, want string) {
	t.Helper()
	news, end := make(chan netlink.RouteUpdate, 1024), make(chan struct{})
	must(t, n.Host.Do(func() error { return netlink.RouteSubscribe(news, end) }))
	defer close(end)
	for ctx := within(t); ; {
		got := routesTo(t, n, subnet)
		if got == want {
			return
		}
		select {
		case <-news:
		case <-ctx.Done():
			t.Fatalf("%s: route to %s is %q, want %q", n.Name, subnet, got, want)
		}
	}
}

// routesTo describes a node's routes to exactly that subnet.
func routesTo(t testing.TB, n *lab.Node, subnet netip.Prefix) (s string) {
	t.Helper()
	nl := n.Host.Netlink()
	for _, r := range get(t, func() ([]netlink.Route, error) {
		return nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Dst: ipNet(subnet)}, netlink.RT_FILTER_DST)
	}) {
		link := get(t, func() (netlink.Link, error) { return nl.LinkByIndex(r.LinkIndex) })
		s += fmt.Sprintf("via %s dev %s ", r.Gw, link.Attrs().Name)
	}
	return s
}

// tunnelled runs f and returns how many packets went through a node's device
// meanwhile, in both directions.
func tunnelled(t testing.TB, n *lab.Node, f func()) (tx, rx uint64) {
	t.Helper()
	before := get(t, func() (netlink.LinkStatistics, error) { return n.Host.Statistics("flannel0") })
	f()
	after := get(t, func() (netlink.LinkStatistics, error) { return n.Host.Statistics("flannel0") })
	return after.TxPackets - before.TxPackets, after.RxPackets - before.RxPackets
}

// DirectRouting: peers on the same link are routed by the kernel, those behind
// a router have the tunnel, and a peer that moves changes sides without loss.
func TestDirectRouting(t *testing.T) {
	kernel := map[int]bool{3: true}
	l := newLabUp(t, withKernel(t, lab.Options{Nodes: 3, Env: quiet, Store: lab.StoreEtcd,
		NetConf: conf("46", `{"Type":"vxlan","DirectRouting":true}`)}, kernel))
	n1, n2, k := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	t.Run("on one link", func(t *testing.T) {
		for _, to := range []*lab.Node{n2, k} {
			awaitRoute(t, n1, to.Env().Subnet, fmt.Sprintf("via %s dev eth0 ", to.Underlay))
			awaitRoute(t, n1, to.Env().IPv6Subnet, fmt.Sprintf("via %s dev eth0 ", to.Underlay6))
			awaitRoute(t, to, n1.Env().Subnet, fmt.Sprintf("via %s dev eth0 ", n1.Underlay))
			// A new device's kernel says of itself which multicast groups it is in
			// (RFC 3810); an exchange is thousands of packets.
			const reports = 8
			if tx, rx := tunnelled(t, n1, func() { exchange(t, n1, to, 4*mega, 311) }); tx > reports || rx > 0 {
				t.Errorf("%d packets went into the tunnel and %d came out of it", tx, rx)
			}
			for family := range addrs(n1) {
				if got := hopsLeft(t, n1, to, family); got != 62 {
					t.Errorf("%s: TTL 64 arrives as %d, want 62", family, got)
				}
			}
		}
	})
	behind(t, l, n1, n2)
	t.Run("behind a router for one side", func(t *testing.T) {
		awaitRoute(t, n1, n2.Env().Subnet, "")
		if got, want := routesTo(t, n2, n1.Env().Subnet), fmt.Sprintf("via %s dev eth0 ", n1.Underlay); got != want {
			t.Errorf("the other side has %q, want %q", got, want)
		}
		// n2 sends bare packets, n1 frames, which n2 must accept.
		tx, _ := tunnelled(t, n1, func() {
			if _, rx := tunnelled(t, n2, func() { exchange(t, n1, n2, 4*mega, 311) }); rx == 0 {
				t.Error("no packet came out of the tunnel at the other side")
			}
		})
		if tx == 0 {
			t.Error("no packet went into the tunnel")
		}
	})
	t.Run("strict reverse path filter", func(t *testing.T) { strictly(t, n1, n2) })
	before(t, n1, n2)
	t.Run("moves under traffic", func(t *testing.T) { moves(t, l, n1, n2) })
	t.Run("a kernel peer moves", func(t *testing.T) { moves(t, l, n1, k) })
	for _, end := range []string{"SIGTERM", "SIGKILL"} {
		t.Run("restart after "+end, func(t *testing.T) { comesBack(t, end, n1, n2, k) })
	}
	t.Run("a peer leaves", func(t *testing.T) {
		c := etcdClient(t, l)
		put(t, c, "10.244.9.0-24", vxlanLease("10.99.0.9", "02:00:00:00:00:09"))
		subnet := netip.MustParsePrefix("10.244.9.0/24")
		awaitRoute(t, n1, subnet, "via 10.99.0.9 dev eth0 ")
		put(t, c, "10.244.9.0-24", vxlanLease("10.99.0.10", "02:00:00:00:00:09"))
		awaitRoute(t, n1, subnet, "via 10.99.0.10 dev eth0 ")
		put(t, c, "10.244.9.0-24", vxlanLease("198.51.100.7", "02:00:00:00:00:09"))
		awaitRoute(t, n1, subnet, "")
		put(t, c, "10.244.9.0-24", vxlanLease("10.99.0.9", "02:00:00:00:00:09"))
		awaitRoute(t, n1, subnet, "via 10.99.0.9 dev eth0 ")
		remove(t, c, "10.244.9.0-24")
		awaitRoute(t, n1, subnet, "")
	})
	t.Run("a peer left meanwhile", func(t *testing.T) {
		c := etcdClient(t, l)
		subnet := netip.MustParsePrefix("10.244.9.0/24")
		put(t, c, "10.244.9.0-24", vxlanLease("10.99.0.9", "02:00:00:00:00:09"))
		awaitRoute(t, n1, subnet, "via 10.99.0.9 dev eth0 ")
		must(t, n1.Stop(within(t)))
		if got := routesTo(t, n1, n2.Env().Subnet); got == "" {
			t.Error("the direct route has gone with weft; running pods need it")
		}
		remove(t, c, "10.244.9.0-24")
		must(t, n1.Start(within(t)))
		awaitRoute(t, n1, subnet, "")
		reach(t, n1, n2)
	})
}

// strictly lets n1, which needs the tunnel, send to n2, which does not and
// checks of each packet that the way back is by the device it came from.
func strictly(t *testing.T, n1, n2 *lab.Node) {
	awaitRoute(t, n1, n2.Env().Subnet, "")
	const filter = "net/ipv4/conf/all/rp_filter"
	was := get(t, func() ([]byte, error) { return n2.Host.ReadFile("/proc/sys/" + filter) })
	must(t, n2.Host.Sysctl(filter, "1"))
	defer func() { must(t, n2.Host.Sysctl(filter, strings.TrimSpace(string(was)))) }()
	tr := trickles{startTrickle(t, n1, n2, "IPv4"), startTrickle(t, n2, n1, "IPv4")}
	since := tr.settle(t)
	for _, again := range []bool{false, true} {
		if again {
			restart(t, n2)
			since = tr.settle(t)
		}
		_, rx := tunnelled(t, n2, func() { exchange(t, n1, n2, mega, 499) })
		if rx == 0 {
			t.Error("no packet came out of the tunnel")
		}
		since = tr.whole(t, "strict filter", since, nil)
	}
}

// comesBack ends weft on a node, all of whose peers have direct routes, and
// starts it again. The kernel carries the packets, so none may be lost, and no
// route may go while the peers are not known yet.
func comesBack(t *testing.T, end string, n *lab.Node, peers ...*lab.Node) {
	var ts trickles
	var subnets []netip.Prefix
	for _, p := range peers {
		for _, family := range []string{"IPv4", "IPv6"} {
			ts = append(ts, startTrickle(t, n, p, family), startTrickle(t, p, n, family))
		}
		subnets = append(subnets, p.Env().Subnet, p.Env().IPv6Subnet)
	}
	routes := func() (s string) {
		for _, subnet := range subnets {
			s += fmt.Sprintf("%s %s\n", subnet, routesTo(t, n, subnet))
		}
		return s
	}
	since, was, w := ts.settle(t), routes(), watchLosses(t, n)
	if got := strings.Count(was, "dev eth0"); got != len(subnets) {
		t.Fatalf("of %d subnets %d have a direct route:\n%s", len(subnets), got, was)
	}
	if end == "SIGTERM" {
		must(t, n.Stop(within(t)))
	} else {
		must(t, n.Kill())
	}
	since = ts.whole(t, "without weft", since, nil)
	must(t, n.Start(within(t)))
	ts.whole(t, "start", since, nil)
	if gone := w.inside(t, subnets...); gone != nil {
		t.Errorf("routes to living peers were deleted: %s", strings.Join(gone, "\n"))
	}
	if now := routes(); now != was {
		t.Errorf("routes\n%swere\n%s", now, was)
	}
}

// behind puts a router between a node and a peer, as that node sees it; before
// takes it away again.
func behind(t testing.TB, l *lab.Lab, from, to *lab.Node) {
	t.Helper()
	must(t, l.Switch.Router(true))
	for _, dev := range []string{"all", "underlay"} {
		must(t, l.Switch.Sysctl("net/ipv4/conf/"+dev+"/send_redirects", "0"))
	}
	must(t, from.Host.Route("eth0", netip.PrefixFrom(to.Underlay, 32), switchAddr))
	must(t, from.Host.Route("eth0", netip.PrefixFrom(to.Underlay6, 128), switchAddr6))
}

var switchAddr6 = netip.MustParseAddr("fd99::fb")

func before(t testing.TB, from, to *lab.Node) {
	t.Helper()
	for _, a := range []netip.Addr{to.Underlay, to.Underlay6} {
		nl := from.Host.Netlink()
		list := get(t, func() ([]netlink.Route, error) {
			return nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Dst: only(a), Table: unix.RT_TABLE_MAIN},
				netlink.RT_FILTER_DST|netlink.RT_FILTER_TABLE)
		})
		if len(list) == 0 {
			t.Fatalf("%s: there is no route to %s to take away", from.Name, a)
		}
		for i := range list {
			must(t, nl.RouteDel(&list[i]))
		}
	}
}

// moves lets a peer go behind a router and come back, several times, while pods
// send each other datagrams in both families; nothing may be lost.
func moves(t *testing.T, l *lab.Lab, n1, to *lab.Node) {
	awaitRoute(t, n1, to.Env().Subnet, fmt.Sprintf("via %s dev eth0 ", to.Underlay))
	var ts trickles
	for _, family := range []string{"IPv4", "IPv6"} {
		ts = append(ts, startTrickle(t, n1, to, family), startTrickle(t, to, n1, family))
	}
	since := ts.settle(t)
	tr := begin(t, n1, to, to.PodAddr(), 0)
	for range 3 {
		behind(t, l, n1, to)
		awaitRoute(t, n1, to.Env().Subnet, "")
		awaitRoute(t, n1, to.Env().IPv6Subnet, "")
		tr.progress(t, 2*mega)
		before(t, n1, to)
		awaitRoute(t, n1, to.Env().Subnet, fmt.Sprintf("via %s dev eth0 ", to.Underlay))
		awaitRoute(t, n1, to.Env().IPv6Subnet, fmt.Sprintf("via %s dev eth0 ", to.Underlay6))
		tr.progress(t, 2*mega)
	}
	t.Logf("TCP stood still for %s", tr.end(t))
	ts.whole(t, "moving", since, nil)
}
