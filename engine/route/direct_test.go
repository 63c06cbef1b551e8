package route

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/engine/internal/nstest"
	"weft/engine/route/rtmon"
)

// Of a link that is down for less than the debounce time no lookup tells; but
// the kernel has taken the IPv4 routes, without a word about them.
func TestDirectAfterAFlap(t *testing.T) {
	nstest.Enter(t)
	h := newHost(t)
	d := mesh()
	d.Routes = slices.DeleteFunc(d.Routes, func(r Route) bool { return r.Dst.Addr().Is6() })
	r := reconciler(t, nil)
	must(t, r.Set(t.Context(), d))
	until(t, r.mon, func(rtmon.Event) {})
	running(t, r)
	must(t, netlink.LinkSetDown(h.eth0))
	must(t, netlink.LinkSetUp(h.eth0))
	if got := gateways(t); len(got) == 2 && settledRepairs(r) == 0 {
		t.Fatal("the kernel kept the routes")
	}
	await(t, "the routes", func() bool { return slices.Equal(gateways(t), []string{peer2, peer3}) })
}

// Conditional routes leave with the wish for them, and a second Set is idle.
func TestDirectSet(t *testing.T) {
	nstest.Enter(t)
	newHost(t)
	var log strings.Builder
	r := reconciler(t, &log)
	must(t, r.Set(t.Context(), mesh()))
	must(t, r.Set(t.Context(), mesh()))
	if r.check(t.Context(), settings) || log.Len() > 0 {
		t.Errorf("a check found something to repair; log:\n%s", &log)
	}
	later := mesh() // one peer has moved to another address, one has left
	later.Routes[2].Via = addr("192.168.50.7")
	later.Routes = slices.Delete(later.Routes, 4, 5)
	must(t, r.Set(t.Context(), later))
	inForce(t, r, strings.Replace(peer2, "50.2 ", "50.7 ", 1), peer3)
	must(t, r.Set(t.Context(), udp()))
	inForce(t, r)
}

// A place that somebody else holds is a conflict only while it is wanted.
func TestDirectConflict(t *testing.T) {
	nstest.Enter(t)
	newHost(t)
	must(t, netlink.RouteAdd(to("10.5.2.0/24", "192.168.50.99")))
	must(t, netlink.RouteAdd(to("10.5.9.0/24", "192.168.50.99")))
	leftover := to("10.5.3.0/24", "192.168.50.3") // as flanneld makes it
	leftover.Protocol = unix.RTPROT_BOOT
	must(t, netlink.RouteAdd(leftover))
	r := reconciler(t, nil)
	err := r.Set(t.Context(), mesh())
	if err == nil || !strings.Contains(err.Error(), "10.5.2.0/24 via 192.168.50.99 dev eth0 proto 4, which is not ours") {
		t.Errorf("error %v", err)
	}
	if err != nil && strings.Contains(err.Error(), "10.5.9.0/24") {
		t.Errorf("a route that is not wanted was in the way: %v", err)
	}
	inForce(t, r, peer3, peer2b)
	running(t, r)
	must(t, netlink.RouteDel(to("10.5.2.0/24", "192.168.50.99")))
	await(t, "the place", func() bool { return slices.Equal(gateways(t), []string{peer2, peer3, peer2b}) })
}

// A peer whose address lies in what is routed to a peer is not reached
// directly: the route would end its own condition, and come and go for ever.
func TestDirectIsNotCircular(t *testing.T) {
	nstest.Enter(t)
	device(t, "eth0", "10.6.0.1/16", "192.168.50.1/24")
	device(t, "flannel0")
	d := udp()
	d.Routes = append(d.Routes,
		Route{Dst: pfx("10.6.2.0/24"), Via: addr("10.6.2.9"), Direct: true},
		Route{Dst: pfx("10.6.3.0/24"), Via: addr("10.6.4.9"), Direct: true},
		Route{Dst: pfx("10.6.4.0/24"), Via: addr("10.6.3.9"), Direct: true},
		Route{Dst: pfx("10.6.5.0/24"), Via: addr("10.6.6.9"), Direct: true},
		Route{Dst: pfx("10.5.3.0/24"), Via: addr("10.5.3.9"), Direct: true})
	r := reconciler(t, nil)
	for range 2 {
		must(t, r.Set(t.Context(), d))
		inForce(t, r, "10.6.5.0/24 via 10.6.6.9 dev eth0 proto 241")
	}
}

func TestVias(t *testing.T) {
	d := mesh()
	d.Routes = append(d.Routes,
		Route{Dst: pfx("10.5.4.0/24"), Via: addr("192.168.50.2"), Direct: true}, // a second subnet of one node
		Route{Dst: pfx("10.5.5.0/24"), Via: addr("10.5.2.2"), Direct: true},     // within another's
		Route{Dst: pfx("10.5.6.0/24"), Via: addr("10.5.6.1"), Direct: true},     // within its own
		Route{Dst: pfx("10.5.7.0/24"), Via: addr("10.5.0.9"), Direct: true},     // within the network only
		Route{Dst: pfx("fd00:10:5:8::/64"), Via: addr("fe80::8"), Direct: true},
		Route{Dst: pfx("10.5.8.0/24"), Via: addr("198.51.100.8"), Link: "eth0"})
	want := []netip.Addr{addr("192.168.50.2"), addr("192.168.50.3"), addr("fd00:50::2"), addr("203.0.113.9"), addr("10.5.0.9")}
	if got := d.vias(); !slices.Equal(got, want) {
		t.Errorf("vias %v, want %v", got, want)
	}
}

// A check of the lookups alone does not list routes, so does not see one that
// went, unless a lookup or a failure makes it look closer.
func TestCheckLookups(t *testing.T) {
	nstest.Enter(t)
	newHost(t)
	r := reconciler(t, nil)
	must(t, r.Set(t.Context(), mesh()))
	lost := to("10.5.3.0/24", "192.168.50.3")
	lost.Protocol = Protocol
	remove := func() { must(t, netlink.RouteDel(lost)) }
	remove()
	if r.check(t.Context(), lookups) {
		t.Error("a check of the lookups repaired a route")
	}
	must(t, netlink.RouteAdd(to("192.168.50.2/32", "192.168.50.254")))
	if !r.check(t.Context(), lookups) || r.Repairs() != 1 {
		t.Errorf("%d repairs after a lookup with another answer, want 1", r.Repairs())
	}
	inForce(t, r, peer3, peer2b)
	remove()
	r.settled = false
	if !r.check(t.Context(), lookups) || !r.settled {
		t.Error("a check after a failed one did not look at the routes")
	}
}
