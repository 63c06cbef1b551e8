package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
)

// A start that comes to nothing costs nobody a packet: what stock flannel left
// behind carries them until weft has all that it needs to do so itself.
func TestFailedStart(t *testing.T) {
	kernel := map[int]bool{1: true, 2: true}
	l := newLabUp(t, withKernel(t, lab.Options{Nodes: 2, Store: lab.StoreEtcd, NetConf: conf("46", `{"Type":"vxlan"}`)}, kernel))
	n1, n2 := l.Nodes[0], l.Nodes[1]
	exchange(t, n1, n2, mega, 499)
	must(t, n1.Stop(within(t)))
	foreign := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "flannel0"}}
	must(t, n1.Host.Netlink().LinkAdd(foreign))
	kernel[1] = false
	t.Run("a foreign flannel0", func(t *testing.T) { failsWhole(t, l, n1, n2) })
	must(t, n1.Host.Netlink().LinkDel(foreign))
	must(t, n1.Start(within(t)))
	for _, family := range []string{"IPv4", "IPv6"} {
		if v := kernelVTEP(t, n1, family); v != nil {
			t.Errorf("the kernel's device %s is still there", v.Name)
		}
	}
	reach(t, n1, n2)
	if tx, rx := tunnelled(t, n1, func() { exchange(t, n1, n2, mega, 499) }); tx == 0 || rx == 0 {
		t.Errorf("%d packets went into the tunnel and %d came out of it", tx, rx)
	}
}

// failsWhole starts weft on n1, where flannel0 is not to be had, under traffic.
func failsWhole(t *testing.T, l *lab.Lab, n1, n2 *lab.Node) {
	c := etcdClient(t, l)
	devices := func() (s string) {
		for _, family := range []string{"IPv4", "IPv6"} {
			if v := kernelVTEP(t, n1, family); v != nil {
				s += fmt.Sprintf("%s index %d %s %s ", v.Name, v.Index, v.HardwareAddr, v.OperState)
			}
		}
		return s
	}
	had, was, peer := devices(), entries(t, n1), entries(t, n2)
	value := leaseOf(t, leases(t, c), n1)
	if len(strings.Fields(had)) != 10 || len(was) != 6 {
		t.Fatalf("the kernel node has left the devices %s and the entries %v", had, was)
	}
	var ts trickles
	for _, family := range []string{"IPv4", "IPv6"} {
		ts = append(ts, startTrickle(t, n1, n2, family), startTrickle(t, n2, n1, family))
	}
	since, m := ts.settle(t), markLog(t, n1)
	if err := n1.Start(within(t)); err == nil || !strings.Contains(err.Error(), "weft ended (exit status 1)") {
		t.Errorf("start: %v, want exit status 1", err)
	}
	if len(m.find(t, "weft: ", "flannel0", "of another kind")) == 0 {
		t.Error("no error names flannel0")
	}
	ts.whole(t, "a start that failed", since, nil)
	if now := devices(); now != had {
		t.Errorf("the kernel's devices are %s, were %s", now, had)
	}
	if now := entries(t, n1); !slices.Equal(now, was) {
		t.Errorf("entries\n%s\nwere\n%s", strings.Join(now, "\n"), strings.Join(was, "\n"))
	}
	if now := entries(t, n2); !slices.Equal(now, peer) {
		t.Errorf("the peer's entries\n%s\nwere\n%s", strings.Join(now, "\n"), strings.Join(peer, "\n"))
	}
	if now := leaseOf(t, leases(t, c), n1); !now.Attrs.Equal(value.Attrs) {
		t.Errorf("lease %+v, was %+v", now.Attrs, value.Attrs)
	}
	reach(t, n1, n2)
}

// A kernel device that has the name and the VNI of stock flannel's, but another
// port and addresses outside the network, is somebody else's: it stays.
func TestForeignVXLANDeviceStays(t *testing.T) {
	l := newLab(t, lab.Options{Nodes: 2, Store: lab.StoreDir, NetConf: conf("4", `{"Type":"vxlan"}`)})
	n := l.Nodes[0]
	nl := n.Host.Netlink()
	link := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "flannel.1"}, VxlanId: 1, Port: 4789, SrcAddr: n.Underlay.AsSlice()}
	must(t, nl.LinkAdd(link))
	must(t, n.Host.Addresses("flannel.1", netip.MustParsePrefix("192.0.2.1/24")))
	must(t, nl.LinkSetUp(link))
	must(t, n.Host.Route("flannel.1", netip.MustParsePrefix("198.51.100.0/24"), netip.MustParseAddr("192.0.2.2")))
	look := func() string {
		v := kernelVTEP(t, n, "IPv4")
		if v == nil {
			return "gone"
		}
		addrs := get(t, func() ([]netlink.Addr, error) { return nl.AddrList(v, netlink.FAMILY_V4) })
		return fmt.Sprintf("%s index %d port %d %s flags %s %v %v", v.Name, v.Index, v.Port, v.HardwareAddr, v.Flags, addrs, entries(t, n))
	}
	was := look()
	must(t, l.Up(within(t)))
	exchange(t, l.Nodes[1], n, mega, 499)
	restart(t, n)
	exchange(t, n, l.Nodes[1], mega, 499)
	if now := look(); now != was {
		t.Errorf("the device is now %s, was %s", now, was)
	}
}

// losses tells which routes a node's kernel has deleted since the call.
type losses struct {
	n    *lab.Node
	news chan netlink.RouteUpdate
}

func watchLosses(t testing.TB, n *lab.Node) losses {
	t.Helper()
	w := losses{n, make(chan netlink.RouteUpdate, 4096)}
	end := make(chan struct{})
	must(t, n.Host.Do(func() error { return netlink.RouteSubscribe(w.news, end) }))
	t.Cleanup(func() { close(end) })
	return w
}

// inside returns the deleted routes that lie within some prefixes. A route of
// the test's own, made now, ends the list: whatever happened before is told
// before.
func (w losses) inside(t testing.TB, of ...netip.Prefix) (list []string) {
	t.Helper()
	last := &netlink.Route{Dst: ipNet(netip.MustParsePrefix("203.0.113.0/24")), Type: unix.RTN_BLACKHOLE}
	must(t, w.n.Host.Netlink().RouteAdd(last))
	for u := range w.news {
		if u.Dst == nil {
			continue
		}
		if u.Type == unix.RTM_NEWROUTE && u.Dst.String() == last.Dst.String() {
			must(t, w.n.Host.Netlink().RouteDel(last))
			return list
		}
		ours := func(p netip.Prefix) bool { return ipNet(p).Contains(u.Dst.IP) }
		if u.Type == unix.RTM_DELROUTE && slices.ContainsFunc(of, ours) {
			list = append(list, u.Route.String())
		}
	}
	t.Fatal("the kernel lost count of its news about routes")
	return nil
}
