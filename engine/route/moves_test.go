package route

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"weft/engine/internal/nstest"
	"weft/engine/route/rtmon"
)

// mesh is what vxlan with DirectRouting wants for the subnet 10.5.1.0/24:
// everything into the tunnel but what is on a link, which of these peers the
// last is not.
func mesh() Desired {
	d := udp()
	d.Addrs = append(d.Addrs, pfx("fd00:10:5:1::/128"))
	d.Routes = append(d.Routes, Route{Dst: pfx("fd00:10:5::/48")},
		Route{Dst: pfx("10.5.2.0/24"), Via: addr("192.168.50.2"), Direct: true},
		Route{Dst: pfx("10.5.3.0/24"), Via: addr("192.168.50.3"), Direct: true},
		Route{Dst: pfx("fd00:10:5:2::/64"), Via: addr("fd00:50::2"), Direct: true},
		Route{Dst: pfx("10.5.9.0/24"), Via: addr("203.0.113.9"), Direct: true})
	return d
}

// What the table shows of them.
const (
	peer2  = "10.5.2.0/24 via 192.168.50.2 dev eth0 proto 241"
	peer3  = "10.5.3.0/24 via 192.168.50.3 dev eth0 proto 241"
	peer2b = "fd00:10:5:2::/64 via fd00:50::2 dev eth0 metric 1024 proto 241"
)

// A host has two underlay devices, of which the second has no address.
type host struct{ eth0, eth1, tunnel, lo netlink.Link }

// newHost makes them; the default router is on eth0. None gets an address of
// the kernel's choice, whose detection of duplicates would cause late events.
func newHost(t *testing.T) (h host) {
	t.Helper()
	h.eth0, h.eth1, h.tunnel = device(t, "eth0"), device(t, "eth1"), device(t, "flannel0")
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	h.lo = lo
	for _, l := range []netlink.Link{h.eth0, h.eth1, h.lo} {
		must(t, netlink.LinkSetIP6AddrGenMode(l, nl.IN6_ADDR_GEN_MODE_NONE))
		must(t, netlink.LinkSetUp(l))
	}
	must(t, netlink.AddrAdd(h.eth0, quick("192.168.50.1/24")))
	must(t, netlink.AddrAdd(h.eth0, quick("fd00:50::1/64")))
	must(t, netlink.RouteAdd(to("0.0.0.0/0", "192.168.50.254")))
	return h
}

// to is a route by way of a router.
func to(dst, via string) *netlink.Route {
	return &netlink.Route{Dst: ipNet(pfx(dst)), Gw: addr(via).AsSlice(), Protocol: unix.RTPROT_STATIC}
}

// by is a route to what is on a device's link.
func by(dst string, link netlink.Link) *netlink.Route {
	return &netlink.Route{Dst: ipNet(pfx(dst)), LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_STATIC}
}

// gateways lists our routes that have a gateway.
func gateways(t *testing.T) (out []string) {
	t.Helper()
	for _, s := range append(table(t, netlink.FAMILY_V4), table(t, netlink.FAMILY_V6)...) {
		if strings.HasSuffix(s, " proto 241") && strings.Contains(s, " via ") {
			out = append(out, s)
		}
	}
	return out
}

// destinations returns the first words.
func destinations(routes []string) (out []netip.Prefix) {
	for _, s := range routes {
		dst, _, _ := strings.Cut(s, " ")
		out = append(out, pfx(dst))
	}
	return out
}

// inForce checks the table against want, and Direct with it.
func inForce(t *testing.T, r *Reconciler, want ...string) {
	t.Helper()
	if got := gateways(t); !slices.Equal(got, want) {
		t.Errorf("in the table %q\nwant         %q", got, want)
	}
	if got := r.Direct(); !slices.Equal(got, destinations(want)) {
		t.Errorf("Direct() = %v, want %v", got, destinations(want))
	}
}

// A move takes a peer out of the direct state, and back.
type move struct {
	name        string
	leave, back func(host) error
	rest        []string // what is in force in between
}

// byRoute leaves by means of a route.
func byRoute(name string, r func(host) *netlink.Route, rest ...string) move {
	return move{name, func(h host) error { return netlink.RouteAdd(r(h)) }, func(h host) error { return netlink.RouteDel(r(h)) }, rest}
}

// byAddr leaves by taking an address of eth0 away.
func byAddr(name, a string, rest ...string) move {
	return move{name, func(h host) error { return netlink.AddrDel(h.eth0, quick(a)) },
		func(h host) error { return netlink.AddrAdd(h.eth0, quick(a)) }, rest}
}

// quick is an address that may be used at once.
func quick(a string) *netlink.Addr {
	return &netlink.Addr{IPNet: ipNet(pfx(a)), Flags: unix.IFA_F_NODAD}
}

func moves() []move {
	const peer = "192.168.50.2/32"
	via := func(dst, via string) func(host) *netlink.Route {
		return func(host) *netlink.Route { return to(dst, via) }
	}
	refuse := func(typ int) func(host) *netlink.Route {
		return func(host) *netlink.Route { return &netlink.Route{Dst: ipNet(pfx(peer)), Type: typ} }
	}
	several := func(h host) *netlink.Route {
		return &netlink.Route{Dst: ipNet(pfx(peer)), Scope: netlink.SCOPE_LINK, MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: h.eth0.Attrs().Index}, {LinkIndex: h.eth1.Attrs().Index}}}
	}
	return []move{
		byRoute("a router comes between", via(peer, "192.168.50.254"), peer3, peer2b),
		byRoute("a router comes between, IPv6", via("fd00:50::2/128", "fd00:50::fe"), peer2, peer3),
		byRoute("unreachable", refuse(unix.RTN_UNREACHABLE), peer3, peer2b),
		byRoute("prohibited", refuse(unix.RTN_PROHIBIT), peer3, peer2b),
		byRoute("black hole", refuse(unix.RTN_BLACKHOLE), peer3, peer2b),
		byRoute("into the tunnel", func(h host) *netlink.Route { return by(peer, h.tunnel) }, peer3, peer2b),
		byRoute("to loopback", func(h host) *netlink.Route { return by(peer, h.lo) }, peer3, peer2b),
		byRoute("to another device", func(h host) *netlink.Route { return by(peer, h.eth1) },
			strings.Replace(peer2, "eth0", "eth1", 1), peer3, peer2b),
		byRoute("several next hops", several, peer3, peer2b),
		byAddr("the address leaves the link", "192.168.50.1/24", peer2b),
		byAddr("the address leaves the link, IPv6", "fd00:50::1/64", peer2, peer3),
		{"the peer's address becomes ours", func(h host) error { return netlink.AddrAdd(h.eth0, quick(peer)) },
			func(h host) error { return netlink.AddrDel(h.eth0, quick(peer)) }, []string{peer3, peer2b}},
		{"a rule asks another table", func(host) error { return netlink.RuleAdd(detour()) },
			func(host) error { return netlink.RuleDel(detour()) }, []string{peer3, peer2b}},
		{"the underlay goes down", func(h host) error { return netlink.LinkSetDown(h.eth0) }, func(h host) error {
			return errors.Join(netlink.LinkSetUp(h.eth0), netlink.AddrAdd(h.eth0, quick("fd00:50::1/64"))) // IPv6 addresses went
		}, nil},
	}
}

// detour sends one peer's address to table 100.
func detour() *netlink.Rule {
	r := netlink.NewRule()
	r.Dst, r.Table, r.Family, r.Priority = ipNet(pfx("192.168.50.2/32")), 100, netlink.FAMILY_V4, 100
	return r
}

// Whatever moves a peer wakes Run, nothing of the others is touched, and none
// of it counts as a repair.
func TestDirectFollowsTheUnderlay(t *testing.T) {
	for _, m := range moves() {
		t.Run(m.name, func(t *testing.T) {
			nstest.Enter(t)
			h := newHost(t)
			aside := to("192.168.50.0/24", "192.168.50.254")
			aside.Table = 100
			must(t, netlink.RouteAdd(aside))
			r := reconciler(t, nil)
			must(t, r.Set(t.Context(), mesh()))
			inForce(t, r, peer2, peer3, peer2b)
			await(t, "the kernel's own news", func() bool { return !tentative(t) })
			until(t, r.mon, func(rtmon.Event) {}) // so that only the move can wake Run
			running(t, r)
			mon, err := rtmon.Open(rtmon.Routes)
			must(t, err)
			defer mon.Close()

			for range 2 {
				must(t, m.leave(h))
				await(t, m.name, func() bool { return slices.Equal(gateways(t), m.rest) })
				r.check(t.Context(), lookups) // for where the kernel itself was faster
				inForce(t, r, m.rest...)
				must(t, m.back(h))
				await(t, "the way back", func() bool { return slices.Equal(gateways(t), []string{peer2, peer3, peer2b}) })
				r.check(t.Context(), lookups)
				inForce(t, r, peer2, peer3, peer2b)
			}
			if d := differs(t, mesh()); len(d) > 0 || r.Repairs() != 0 {
				t.Errorf("%d repairs, still to do: %v", r.Repairs(), d)
			}
			untouched(t, mon, m.rest)
		})
	}
}

// untouched fails if mon has seen an event about one of the routes.
func untouched(t *testing.T, mon *rtmon.Monitor, routes []string) {
	t.Helper()
	dsts := destinations(slices.DeleteFunc(slices.Clone(routes), func(s string) bool { return strings.Contains(s, "eth1") }))
	until(t, mon, func(ev rtmon.Event) {
		if slices.Contains(dsts, ev.Dst) {
			t.Errorf("an event about another peer: %+v", ev)
		}
	})
}

// until calls f for what has happened up to now.
func until(t *testing.T, mon *rtmon.Monitor, f func(rtmon.Event)) {
	t.Helper()
	end := &netlink.Route{Dst: ipNet(pfx("198.18.0.0/15")), Type: unix.RTN_BLACKHOLE}
	must(t, netlink.RouteAdd(end))
	must(t, netlink.RouteDel(end))
	for ends := 0; ends < 2; {
		events, err := mon.Next(t.Context())
		must(t, err)
		for _, ev := range events {
			if ev.Dst == pfx(end.Dst.String()) {
				ends++
				continue
			}
			f(ev)
		}
	}
}

// tentative reports whether the kernel is not done with a new IPv6 address.
func tentative(t *testing.T) bool {
	t.Helper()
	list, err := netlink.AddrList(nil, netlink.FAMILY_V6)
	must(t, err)
	return slices.ContainsFunc(list, func(a netlink.Addr) bool { return a.Flags&unix.IFA_F_TENTATIVE != 0 })
}
