package iface

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"weft/engine/internal/nstest"
	"weft/engine/route/rtmon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds how long a test waits for an event before it fails.
const patience = 20 * time.Second

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// device makes a link that is up and has a carrier (one end of a veth pair).
func device(t *testing.T, name string, addrs ...string) netlink.Link {
	t.Helper()
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "p"}))
	for _, n := range []string{name + "p", name} {
		l, err := netlink.LinkByName(n)
		must(t, err)
		must(t, netlink.LinkSetUp(l))
	}
	l, err := netlink.LinkByName(name)
	must(t, err)
	for _, a := range addrs {
		must(t, netlink.AddrAdd(l, cidr(t, a)))
	}
	return l
}

func cidr(t *testing.T, s string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(s)
	must(t, err)
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func defaultRoute(t *testing.T, r netlink.Route) {
	t.Helper()
	_, r.Dst, _ = net.ParseCIDR("0.0.0.0/0")
	if r.Gw != nil && r.Gw.To4() == nil {
		_, r.Dst, _ = net.ParseCIDR("::/0")
	}
	must(t, netlink.RouteAdd(&r))
}

func TestSelect(t *testing.T) {
	nstest.Enter(t)
	a := device(t, "eth0", "192.0.2.1/24", "fd00:50::1/64")
	b := device(t, "eth1", "198.51.100.1/24")
	via := func(l netlink.Link, s string) *netlink.NexthopInfo {
		return &netlink.NexthopInfo{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(s)}
	}
	if u, err := Select(Options{}, true, false); err == nil {
		t.Errorf("without a default route: %+v", u)
	}
	defaultRoute(t, netlink.Route{Priority: 100, LinkIndex: b.Attrs().Index, Gw: net.ParseIP("198.51.100.254")})
	defaultRoute(t, netlink.Route{Priority: 50, MultiPath: []*netlink.NexthopInfo{via(b, "198.51.100.254"), via(a, "192.0.2.254")}})
	defaultRoute(t, netlink.Route{LinkIndex: a.Attrs().Index, Gw: net.ParseIP("fd00:50::fe")})
	for _, c := range []struct {
		name   string
		o      Options
		v4, v6 bool
		want   result
	}{
		{"first next hop", Options{}, true, false, v4only("eth1", "198.51.100.1")},
		{"shared by both families", Options{}, true, true, result{"eth0", "192.0.2.1", "fd00:50::1", "192.0.2.1", "fd00:50::1"}},
		{"IPv6", Options{}, false, true, result{"eth0", "", "fd00:50::1", "", "fd00:50::1"}},
		{"public", Options{PublicIP: "192.0.2.1"}, true, false, v4only("eth0", "192.0.2.1")},
		{"reach", Options{CanReach: "192.0.2.77"}, true, false, v4only("eth0", "192.0.2.1")},
		{"reach IPv6", Options{CanReach: "fd00:50::77"}, true, true, result{"eth0", "192.0.2.1", "fd00:50::1", "192.0.2.1", "fd00:50::1"}},
		{"reach itself", Options{CanReach: "198.51.100.1"}, true, false, v4only("eth1", "198.51.100.1")},
	} {
		u, err := Select(c.o, c.v4, c.v6)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := show(u); got != c.want || u.MTU != 1500 || u.Index == 0 {
			t.Errorf("%s: %+v (%d, MTU %d; %s), want %+v", c.name, got, u.Index, u.MTU, u.Why, c.want)
		}
	}
	// The first hop loses its carrier; once the kernel has noticed, the second
	// one is taken.
	mon, err := rtmon.Open(rtmon.Links)
	must(t, err)
	defer mon.Close()
	peer, err := netlink.LinkByName("eth1p")
	must(t, err)
	must(t, netlink.LinkSetDown(peer))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for u := (Underlay{}); u.Name != "eth0"; {
		_, err := mon.Next(ctx)
		must(t, err)
		u, err = Select(Options{}, true, false)
		must(t, err)
	}
}

// next receives states until one satisfies cond.
func next(t *testing.T, ch <-chan State, what string, cond func(State) bool) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case s, ok := <-ch:
			if !ok {
				t.Fatalf("%s: the channel was closed", what)
			}
			must(t, s.Err)
			if cond(s) {
				return
			}
		case <-late:
			t.Fatalf("%s was not reported", what)
		}
	}
}

func TestWatch(t *testing.T) {
	nstest.Enter(t)
	l := device(t, "eth0", "192.0.2.1/24", "fd00:50::1/64")
	other := device(t, "eth1")
	u, err := Select(Options{Iface: []string{"eth0"}}, true, true)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ch, err := Watch(ctx, u)
	must(t, err)
	holds := func(s State) bool { return s.Holds(u) }
	broken := func(s State) bool { return !s.Holds(u) }

	next(t, ch, "the state at the start", holds)
	must(t, netlink.AddrDel(l, cidr(t, "192.0.2.1/24")))
	next(t, ch, "the address lost", func(s State) bool { return !s.Addr && s.Addr6 && s.Present && broken(s) })
	must(t, netlink.AddrAdd(other, cidr(t, "192.0.2.1/24")))
	next(t, ch, "the address on another interface", holds)
	must(t, netlink.LinkSetMTU(l, 1400))
	next(t, ch, "the MTU", func(s State) bool { return s.MTU == 1400 && broken(s) })
	must(t, netlink.LinkSetMTU(l, 1500))
	next(t, ch, "the MTU as it was", holds)
	must(t, netlink.LinkSetDown(l)) // which takes the IPv6 address along
	next(t, ch, "the link down", func(s State) bool { return !s.Up && !s.Addr6 })
	must(t, netlink.LinkDel(l))
	next(t, ch, "the link gone", func(s State) bool { return !s.Present && broken(s) })
	device(t, "eth0", "fd00:50::1/64")
	next(t, ch, "another link of the same name", func(s State) bool { return s.Present && s.Addr6 && s.Index != u.Index && broken(s) })

	cancel()
	for range ch {
	}
}

// A watch that can hear nothing more says so with its last state.
func TestWatchEndsWithReason(t *testing.T) {
	nstest.Enter(t)
	device(t, "eth0", "192.0.2.1/24")
	u, err := Select(Options{Iface: []string{"eth0"}}, true, false)
	must(t, err)
	k, err := openKernel()
	must(t, err)
	defer k.close()
	mon, err := rtmon.Open(rtmon.Links | rtmon.Addrs)
	must(t, err)
	must(t, mon.Close())
	ch := make(chan State, 1)
	watch(t.Context(), k, mon, u, ch)
	if s := <-ch; !errors.Is(s.Err, os.ErrClosed) || !s.Holds(u) {
		t.Errorf("last state %+v, want the one before with an error", s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	watch(ctx, k, mon, u, ch)
	if s := <-ch; s.Err != nil {
		t.Errorf("the end of the context is no error: %v", s.Err)
	}
}

// A receiver that does not receive gets the latest state, and no queue.
func TestPublish(t *testing.T) {
	ch := make(chan State, 1)
	for mtu := range 3 {
		publish(ch, State{MTU: mtu})
	}
	if s := <-ch; s.MTU != 2 || len(ch) > 0 {
		t.Errorf("received MTU %d, and %d more are queued", s.MTU, len(ch))
	}
}

func TestConcerns(t *testing.T) {
	u := Underlay{Name: "eth0", Index: 7}
	for _, c := range []struct {
		ev   rtmon.Event
		want bool
	}{
		{rtmon.Event{Kind: rtmon.Addr, Index: 1}, true},
		{rtmon.Event{Kind: rtmon.Link, Index: 7, Name: "renamed"}, true},
		{rtmon.Event{Kind: rtmon.Link, Index: 9, Name: "eth0"}, true},
		{rtmon.Event{Kind: rtmon.LinkGone, Index: 7, Name: "eth0"}, true},
		{rtmon.Event{Kind: rtmon.Link, Index: 9, Name: "veth1234"}, false},
	} {
		if got := concerns(c.ev, u, 7); got != c.want {
			t.Errorf("concerns(%+v) = %v", c.ev, got)
		}
	}
}
