package route

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/engine/internal/nstest"
	"weft/engine/route/rtmon"
)

// A restarted process knows its peers only after a while. Their routes must not
// go in between, and those of peers that are no more must go then.
func TestPartialKeepsDirectRoutes(t *testing.T) {
	nstest.Enter(t)
	newHost(t)
	must(t, reconciler(t, nil).Set(t.Context(), mesh())) // the earlier run
	all := []string{peer2, peer3, peer2b}
	if got := gateways(t); !slices.Equal(got, all) {
		t.Fatalf("in the table %q, want %q", got, all)
	}
	mon, err := rtmon.Open(rtmon.Routes)
	must(t, err)
	defer mon.Close()

	r := reconciler(t, nil)
	early := udp()
	early.Partial = true
	must(t, r.Set(t.Context(), early))
	r.check(t.Context(), settings)
	if got := gateways(t); !slices.Equal(got, all) {
		t.Errorf("while not all is known: in the table %q, want %q", got, all)
	}
	if got := r.Direct(); len(got) > 0 {
		t.Errorf("Direct() = %v of routes that were not asked for", got)
	}
	late := mesh()
	late.Routes = slices.DeleteFunc(late.Routes, func(x Route) bool { return x.Dst == pfx("10.5.3.0/24") })
	must(t, r.Set(t.Context(), late))
	inForce(t, r, peer2, peer2b)

	var news []netip.Prefix
	until(t, mon, func(ev rtmon.Event) {
		if slices.Contains(destinations(all), ev.Dst) {
			news = append(news, ev.Dst)
		}
	})
	if want := []netip.Prefix{pfx("10.5.3.0/24")}; !slices.Equal(news, want) {
		t.Errorf("events about %v, want one about %v, which went", news, want)
	}
}

// With DirectRouting each change of a lease is a call of Set; what was said
// once is not said again.
func TestSetRemembersWhatWasSaid(t *testing.T) {
	nstest.Enter(t)
	device(t, "flannel0")
	eth := device(t, "eth0", "192.0.2.1/24")
	inTheWay := &netlink.Route{Dst: ipNet(pfx("10.6.0.0/16")), LinkIndex: eth.Attrs().Index,
		Gw: addr("192.0.2.9").AsSlice(), Protocol: unix.RTPROT_STATIC}
	must(t, netlink.RouteAdd(inTheWay))
	var log strings.Builder
	r := reconciler(t, &log)
	peers := 0
	set := func(change func(*Desired)) {
		t.Helper()
		d := udp()
		d.Sysctl = map[string]string{"net.ipv4.conf.nonesuch.forwarding": "1"}
		d.Routes = append(d.Routes, Route{Dst: pfx("10.6.0.0/16")})
		for range peers {
			peers := byte(len(d.Routes))
			d.Routes = append(d.Routes, Route{Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, peers, 0}), 24), Via: addr("192.0.2.2"), Link: "eth0"})
		}
		change(&d)
		if err := r.Set(t.Context(), d); err != nil && !strings.Contains(err.Error(), "10.6.0.0/16") {
			t.Fatal(err)
		}
	}
	said := func(when string, conflicts, settings int) {
		t.Helper()
		a, b := strings.Count(log.String(), "route left to another"), strings.Count(log.String(), "settings of the link are not as wanted")
		if a != conflicts || b != settings {
			t.Errorf("%s: %d lines about a conflict, want %d; %d about settings, want %d:\n%s", when, a, conflicts, b, settings, &log)
		}
	}
	same := func(*Desired) {}
	set(same)
	said("at first", 1, 1)
	for peers = range 3 {
		set(same)
		r.check(t.Context(), settings)
	}
	said("with more peers", 1, 1)
	must(t, netlink.RouteDel(inTheWay))
	set(same)
	must(t, netlink.RouteReplace(inTheWay))
	set(same)
	said("after the conflict was over for a while", 2, 1)
	set(func(d *Desired) { d.MTU = 1400 })
	said("with another MTU", 3, 2)
	set(func(d *Desired) { d.MTU, d.Addrs = 1400, []netip.Prefix{pfx("10.5.7.0/32")} })
	said("with another address", 4, 3)
}

// A failure is news again only after it was over.
func TestSetRemembersComplaint(t *testing.T) {
	nstest.Enter(t)
	device(t, "flannel0")
	var log strings.Builder
	r := reconciler(t, &log)
	bad, good := udp(), udp()
	bad.Routes = append(bad.Routes, Route{Dst: pfx("10.6.0.0/16"), Link: "nonesuch"})
	complaints := func() int { return strings.Count(log.String(), "repair failed") }
	for range 3 {
		if err := r.Set(t.Context(), bad); err == nil {
			t.Fatal("a route on a device that is not there was set")
		}
		r.check(t.Context(), state)
	}
	if complaints() != 1 {
		t.Errorf("%d lines about one failure:\n%s", complaints(), &log)
	}
	must(t, r.Set(t.Context(), good))
	if err := r.Set(t.Context(), bad); err == nil {
		t.Fatal("a route on a device that is not there was set")
	}
	if r.check(t.Context(), state); complaints() != 2 {
		t.Errorf("%d lines after it was over for a while:\n%s", complaints(), &log)
	}
}

// A Set that changes routes alone leaves the sysctls to Run; any other, and
// one on a new device, sees to them.
func TestSetSeesToSysctlsOnce(t *testing.T) {
	nstest.Enter(t)
	link := device(t, "flannel0")
	r := reconciler(t, nil)
	d := udp()
	must(t, r.Set(t.Context(), d))
	expect := func(when, accept, forwarding string) {
		t.Helper()
		got := map[string]string{"accept": sysctl(t, acceptLocal("flannel0")), "forwarding": sysctl(t, "net/ipv4/conf/flannel0/forwarding")}
		if want := map[string]string{"accept": accept, "forwarding": forwarding}; !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
		must(t, setDevconf(linkOf(t, "flannel0").Index, devconfAcceptLocal, 0))
	}
	was := sysctl(t, "net/ipv4/conf/flannel0/forwarding")
	expect("at first", "1", was)
	d.Routes = append(d.Routes, Route{Dst: pfx("10.6.0.0/16")})
	must(t, r.Set(t.Context(), d))
	expect("with another route", "0", was)
	d.Sysctl = map[string]string{"net.ipv4.conf.flannel0.forwarding": "1"}
	must(t, r.Set(t.Context(), d))
	expect("with another sysctl", "1", "1")
	must(t, netlink.LinkDel(link))
	device(t, "flannel0")
	must(t, r.Set(t.Context(), d))
	expect("on a new device", "1", "1")
	d.Routes = append(d.Routes, Route{Dst: pfx("fd00:10:5::/48")})
	must(t, r.Set(t.Context(), d))
	expect("with a first IPv6 route, which needs IPv6 on", "1", "1")
	if r.Repairs() != 0 {
		t.Errorf("%d repairs", r.Repairs())
	}
}
