package route

import (
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/engine/internal/nstest"
	"weft/engine/route/rtmon"
)

func TestRunRepairs(t *testing.T) {
	route := func(dst string) *netlink.Route {
		return &netlink.Route{Dst: ipNet(pfx(dst)), Priority: map[bool]int{true: defaultMetric6}[addr(strings.Split(dst, "/")[0]).Is6()]}
	}
	for _, c := range []struct {
		name   string
		damage func(l netlink.Link) error
	}{
		{"IPv4 address removed", func(l netlink.Link) error {
			return netlink.AddrDel(l, &netlink.Addr{IPNet: ipNet(pfx("10.5.1.0/32"))})
		}},
		{"IPv6 address removed", func(l netlink.Link) error {
			return netlink.AddrDel(l, &netlink.Addr{IPNet: ipNet(pfx("fd00:10:5:1::/128"))})
		}},
		{"foreign address in our network", func(l netlink.Link) error {
			return netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(pfx("10.5.44.1/16"))})
		}},
		{"IPv4 route removed", func(netlink.Link) error { return netlink.RouteDel(route("10.5.0.0/16")) }},
		{"IPv6 route removed", func(netlink.Link) error { return netlink.RouteDel(route("fd00:10:5::/48")) }},
		{"blackhole removed", func(netlink.Link) error {
			r := route("10.5.1.0/24")
			r.Priority, r.Type = 4096, unix.RTN_BLACKHOLE
			return netlink.RouteDel(r)
		}},
		{"route replaced by a hand-made one", func(l netlink.Link) error {
			r := route("10.5.2.0/24")
			r.LinkIndex, r.Scope = l.Attrs().Index, netlink.SCOPE_LINK
			return netlink.RouteReplace(r)
		}},
		{"link set down", func(l netlink.Link) error { return netlink.LinkSetDown(l) }},
		{"MTU changed", func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1400) }},
		{"MTU too small for IPv6", func(l netlink.Link) error { return netlink.LinkSetMTU(l, 600) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			nstest.Enter(t)
			link := device(t, "flannel0")
			r := reconciler(t, nil)
			must(t, r.Set(t.Context(), dual()))
			running(t, r)
			must(t, c.damage(link))
			if d := differs(t, dual()); len(d) == 0 && settledRepairs(r) == 0 {
				t.Fatal("nothing was broken")
			}
			await(t, "the repair", func() bool { return len(differs(t, dual())) == 0 })
			if settledRepairs(r) == 0 {
				t.Error("no repair was counted")
			}
		})
	}
}

func TestRunLeavesOthersAlone(t *testing.T) {
	nstest.Enter(t)
	link := device(t, "flannel0")
	eth := device(t, "eth0", "192.0.2.1/24")
	var log strings.Builder
	r := reconciler(t, &log)
	must(t, r.Set(t.Context(), udp()))
	must(t, netlink.RouteAdd(&netlink.Route{Dst: ipNet(pfx("10.5.9.0/24")), LinkIndex: eth.Attrs().Index}))
	must(t, netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(pfx("198.51.100.1/24"))}))
	for range 2 {
		if r.check(t.Context(), settings) {
			t.Error("a check found something to repair")
		}
	}
	if !has(t, netlink.FAMILY_V4, "10.5.9.0/24 dev eth0 proto 3") || !has(t, netlink.FAMILY_V4, "198.51.100.0/24 dev flannel0 src 198.51.100.1 proto 2") {
		t.Errorf("table %q", table(t, netlink.FAMILY_V4))
	}
	if log.Len() > 0 || r.Repairs() != 0 {
		t.Errorf("%d repairs; log:\n%s", r.Repairs(), &log)
	}
}

func TestRepairIsLoggedOnce(t *testing.T) {
	nstest.Enter(t)
	device(t, "flannel0")
	var log strings.Builder
	r := reconciler(t, &log)
	must(t, r.Set(t.Context(), udp()))
	must(t, netlink.RouteDel(&netlink.Route{Dst: ipNet(pfx("10.5.0.0/16"))}))
	if !r.check(t.Context(), state) || r.check(t.Context(), state) {
		t.Error("want one check that repairs and one with nothing to do")
	}
	if got := strings.Count(log.String(), `msg=repaired iface=flannel0 change="set route 10.5.0.0/16 dev flannel0"`); got != 1 || r.Repairs() != 1 {
		t.Errorf("%d lines, %d repairs:\n%s", got, r.Repairs(), &log)
	}
}

// The full check sees what no event tells.
func TestFullCheckRepairsSysctl(t *testing.T) {
	nstest.Enter(t)
	index := device(t, "flannel0").Attrs().Index
	r := reconciler(t, nil)
	must(t, r.Set(t.Context(), udp()))
	must(t, setDevconf(index, devconfAcceptLocal, 0))
	r.check(t.Context(), settings)
	if got := sysctl(t, acceptLocal("flannel0")); got != "1" || r.Repairs() != 1 {
		t.Errorf("accept_local = %s, %d repairs", got, r.Repairs())
	}
}

// A device that goes is found again by its name, with or without a call of Set.
func TestLinkLost(t *testing.T) {
	nstest.Enter(t)
	link := device(t, "flannel0")
	r := reconciler(t, nil)
	must(t, r.Set(t.Context(), dual()))
	running(t, r)

	must(t, netlink.LinkDel(link))
	link = device(t, "flannel0")
	await(t, "the state on the new device", func() bool { return len(differs(t, dual())) == 0 })

	must(t, netlink.LinkDel(link))
	device(t, "flannel0")
	must(t, r.Set(t.Context(), dual()))
	if d := differs(t, dual()); len(d) > 0 {
		t.Errorf("still to do: %v", d)
	}
}

// Between two devices of the name nothing is claimed, and each loss is logged
// once, also of a device that is replaced faster than anyone looks.
func TestLinkLostIsLoggedOnce(t *testing.T) {
	nstest.Enter(t)
	link := device(t, "flannel0")
	var log strings.Builder
	r := reconciler(t, &log)
	must(t, r.Set(t.Context(), udp()))
	losses := func() int { return strings.Count(log.String(), `msg="the link has disappeared" iface=flannel0`) }

	must(t, netlink.LinkDel(link))
	if r.check(t.Context(), state); r.AcceptLocal() {
		t.Error("AcceptLocal of a device that is gone")
	}
	r.check(t.Context(), settings)
	link = device(t, "flannel0")
	if r.check(t.Context(), state); losses() != 1 || !r.AcceptLocal() {
		t.Errorf("%d losses, AcceptLocal %v; log:\n%s", losses(), r.AcceptLocal(), &log)
	}
	must(t, netlink.LinkDel(link))
	device(t, "flannel0")
	r.check(t.Context(), lookups) // a new device is looked at whole
	r.check(t.Context(), state)
	if d := differs(t, udp()); losses() != 2 || len(d) > 0 {
		t.Errorf("%d losses, still to do: %v", losses(), d)
	}
}

// An underlay device that goes takes its routes along silently.
func TestRunRestoresRoutesOfAnotherLink(t *testing.T) {
	nstest.Enter(t)
	device(t, "flannel0")
	eth := device(t, "eth0", "192.0.2.1/24")
	d := udp()
	d.Routes = append(d.Routes, Route{Dst: pfx("10.5.2.0/24"), Via: addr("192.0.2.2"), Link: "eth0"})
	r := reconciler(t, nil)
	must(t, r.Set(t.Context(), d))
	running(t, r)
	must(t, netlink.LinkSetDown(eth))
	must(t, netlink.LinkSetUp(eth))
	await(t, "the route by eth0", func() bool { return len(differs(t, d)) == 0 })
}

func TestCloseEndsRun(t *testing.T) {
	nstest.Enter(t)
	r, err := New(nil)
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- r.Run(t.Context()) }()
	must(t, r.Close())
	must(t, <-done)
}

// settledRepairs counts after a repair in progress has ended.
func settledRepairs(r *Reconciler) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Repairs()
}

func TestConcerns(t *testing.T) {
	nstest.Enter(t)
	device(t, "other", "192.0.2.1/24")
	index := device(t, "flannel0").Attrs().Index
	r := reconciler(t, nil)
	if r.concerns(rtmon.Event{Kind: rtmon.Link, Index: index, Name: "flannel0"}) {
		t.Error("an event concerned a Reconciler without a Desired")
	}
	d := udp()
	d.Routes = append(d.Routes, Route{Dst: pfx("10.5.2.0/24"), Link: "other"},
		Route{Dst: pfx("10.5.3.0/24"), Via: addr("198.51.100.3"), Direct: true})
	eth := device(t, "eth0", "198.51.100.1/24").Attrs().Index
	must(t, r.Set(t.Context(), d))
	for _, c := range []struct {
		ev   rtmon.Event
		want bool
	}{
		{rtmon.Event{Kind: rtmon.Link, Index: index, Name: "flannel0"}, true},
		{rtmon.Event{Kind: rtmon.Link, Index: index, Name: "renamed"}, true},
		{rtmon.Event{Kind: rtmon.Link, Index: 99, Name: "flannel0"}, true},
		{rtmon.Event{Kind: rtmon.Link, Index: 98, Name: "other"}, true},
		{rtmon.Event{Kind: rtmon.LinkGone, Index: 97, Name: "veth1234"}, false},
		{rtmon.Event{Kind: rtmon.Link, Index: 97, Name: "veth1234"}, false},
		{rtmon.Event{Kind: rtmon.Addr, Index: index}, true},
		{rtmon.Event{Kind: rtmon.Addr, Index: 97}, false},
		{rtmon.Event{Kind: rtmon.Link, Index: eth, Name: "eth0"}, true},
		{rtmon.Event{Kind: rtmon.Addr, Index: eth}, true},
		{rtmon.Event{Kind: rtmon.Link, Index: 97}, false},
		{rtmon.Event{Kind: rtmon.Rule}, false},
		{rtmon.Event{Kind: rtmon.Route, Table: unix.RT_TABLE_MAIN, Protocol: Protocol, Dst: pfx("10.9.0.0/16")}, true},
		{rtmon.Event{Kind: rtmon.Route, Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_BIRD, Dst: pfx("10.5.0.0/16")}, true},
		{rtmon.Event{Kind: rtmon.Route, Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_BIRD, Dst: pfx("10.9.0.0/16")}, false},
		{rtmon.Event{Kind: rtmon.Route, Table: unix.RT_TABLE_LOCAL, Protocol: unix.RTPROT_KERNEL, Dst: pfx("10.5.0.0/16")}, false},
	} {
		if got := r.concerns(c.ev); got != c.want {
			t.Errorf("concerns(%+v) = %v", c.ev, got)
		}
	}
}

func TestPace(t *testing.T) {
	p := pace(debounce)
	if got := p.after(false, false); got != p {
		t.Errorf("a check without repair changes the pace to %v", got)
	}
	for range 20 { // others undo each repair; the check of our own event is clean
		slower := p.after(true, false)
		if slower <= p && p != pace(debounceMax) || slower > pace(debounceMax) {
			t.Fatalf("%v after %v", slower, p)
		}
		p = slower.after(false, false)
	}
	if p != pace(debounceMax) {
		t.Errorf("pace %v after a long fight", p)
	}
	if got := p.after(false, true); got != pace(debounce) {
		t.Errorf("pace %v after a full check without repair", got)
	}
}
