package explain

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/engine/control"
	"weft/engine/internal/nstest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// device makes one end of a veth, up, with the other end named after it.
func device(t *testing.T, name string, mtu int, addrs ...string) netlink.Link {
	t.Helper()
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: mtu}, PeerName: name + "p"}
	must(t, netlink.LinkAdd(link))
	peer, err := netlink.LinkByName(name + "p")
	must(t, err)
	must(t, netlink.LinkSetUp(peer))
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		must(t, err)
		addr.Flags = unix.IFA_F_NODAD // an address that is still tried out is no source
		must(t, netlink.AddrAdd(link, addr))
	}
	must(t, netlink.LinkSetUp(link))
	return link
}

func route(t *testing.T, dst, via string, link netlink.Link) *netlink.Route {
	t.Helper()
	_, n, err := net.ParseCIDR(dst)
	must(t, err)
	r := &netlink.Route{Dst: n, Gw: net.ParseIP(via)}
	if link != nil {
		r.LinkIndex = link.Attrs().Index
	} else {
		r.Type = unix.RTN_BLACKHOLE
	}
	must(t, netlink.RouteAdd(r))
	return r
}

func sysctl(t *testing.T, name, value string) {
	t.Helper()
	must(t, os.WriteFile("/proc/sys/"+name, []byte(value), 0o644))
}

// host makes a node in a namespace: eth0 to the world, cni0 with pods, and
// flannel0 with the route to the overlay.
func host(t *testing.T) (eth0, cni0, flannel0 netlink.Link) {
	nstest.Enter(t)
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	eth0 = device(t, "eth0", 1500, "192.0.2.11/24")
	cni0 = device(t, "cni0", 1450, "10.244.1.1/24", "fd00:244:1::1/64")
	flannel0 = device(t, "flannel0", 1450, "10.244.1.0/32")
	route(t, "0.0.0.0/0", "192.0.2.1", eth0)
	route(t, "10.244.0.0/16", "", flannel0)
	route(t, "fd00:244::/32", "", flannel0)
	sysctl(t, "net/ipv4/ip_forward", "1")
	sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	return eth0, cni0, flannel0
}

func lookup(t *testing.T, l Lookup) Route {
	t.Helper()
	r, err := Host{}.Route(t.Context(), l)
	if err != nil {
		t.Fatalf("%+v: %v", l, err)
	}
	return r
}

func TestHostRoute(t *testing.T) {
	_, _, flannel0 := host(t)
	for _, c := range []struct {
		l    Lookup
		want Route
	}{
		{Lookup{Dst: ip("10.244.2.7"), Src: ip("10.244.1.5"), In: "cni0"},
			Route{Type: "unicast", Dst: cidr("10.244.0.0/16"), Device: "flannel0", Table: "main", Rule: 32766, MTU: 1450}},
		{Lookup{Dst: ip("10.244.1.5")}, Route{Type: "unicast", Dst: cidr("10.244.1.0/24"), Device: "cni0", Table: "main", Rule: 32766, MTU: 1450}},
		{Lookup{Dst: ip("198.51.100.1")}, Route{Type: "unicast", Dst: cidr("0.0.0.0/0"), Via: ip("192.0.2.1"), Device: "eth0", Table: "main", Rule: 32766, MTU: 1500}},
		{Lookup{Dst: ip("192.0.2.11")}, Route{Type: "local", Dst: cidr("192.0.2.11/32"), Device: "eth0", Table: "local", MTU: 1500}},
		{Lookup{Dst: ip("fd00:244:2::7"), Src: ip("fd00:244:1::5"), In: "cni0"},
			Route{Type: "unicast", Dst: cidr("fd00:244::/32"), Device: "flannel0", Table: "main", Rule: 32766, MTU: 1450}},
		{Lookup{Dst: ip("2001:db8::1")}, Route{Type: "none"}},
	} {
		if got := lookup(t, c.l); got != c.want {
			t.Errorf("%+v: %+v, want %+v", c.l, got, c.want)
		}
	}

	blackhole := route(t, "10.244.9.0/24", "", nil)
	for _, l := range []Lookup{{Dst: ip("10.244.9.1")}, {Dst: ip("10.244.9.1"), Src: ip("10.244.1.5"), In: "cni0"}} {
		if got := lookup(t, l); got.Type != "blackhole" || got.Device != "" {
			t.Errorf("%+v into a blackhole: %+v", l, got)
		}
	}
	must(t, netlink.RouteDel(blackhole))
	must(t, netlink.LinkSetDown(flannel0))
	if got := lookup(t, Lookup{Dst: ip("10.244.2.7"), Src: ip("10.244.1.5"), In: "cni0"}); got.Device != "eth0" {
		t.Errorf("with flannel0 down: %+v, want the default route", got)
	}
}

// A table that a rule of its own leads to is found with its rule.
func TestHostRule(t *testing.T) {
	eth0, _, _ := host(t)
	_, all, err := net.ParseCIDR("0.0.0.0/0")
	must(t, err)
	must(t, netlink.RouteAdd(&netlink.Route{Dst: all, LinkIndex: eth0.Attrs().Index, Table: 51820}))
	rule := netlink.NewRule()
	rule.Priority, rule.Table, rule.Family = 100, 51820, netlink.FAMILY_V4
	must(t, netlink.RuleAdd(rule))
	got := lookup(t, Lookup{Dst: ip("10.244.2.7"), Src: ip("10.244.1.5"), In: "cni0"})
	if got.Table != "51820" || got.Rule != 100 || got.Device != "eth0" {
		t.Errorf("found %+v, want table 51820 by rule 100", got)
	}
}

// The kernel itself says what reverse path filtering and source validation make
// of a packet.
func TestHostRefuses(t *testing.T) {
	_, _, flannel0 := host(t)
	back := Lookup{Dst: ip("10.244.1.5"), Src: ip("10.244.2.7"), In: "flannel0"}
	sysctl(t, "net/ipv4/conf/all/rp_filter", "0")
	sysctl(t, "net/ipv4/conf/flannel0/rp_filter", "1")
	if got := lookup(t, back); got.Refuse != "" || got.Device != "cni0" {
		t.Errorf("the way back is %+v, want cni0", got)
	}
	must(t, netlink.RouteDel(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4(10, 244, 0, 0).To4(), Mask: net.CIDRMask(16, 32)}, LinkIndex: flannel0.Attrs().Index}))
	if got := lookup(t, back); !strings.Contains(got.Refuse, "rp_filter=1") || !strings.Contains(got.Refuse, "flannel0") {
		t.Errorf("strict filtering: %+v", got)
	}
	sysctl(t, "net/ipv4/conf/flannel0/rp_filter", "2")
	if got := lookup(t, back); got.Refuse != "" {
		t.Errorf("loose filtering: %+v", got)
	}
	martian := Lookup{Dst: ip("10.244.1.5"), Src: ip("192.0.2.11"), In: "flannel0"} // our own address comes in
	if got := lookup(t, martian); !strings.Contains(got.Refuse, "martian") {
		t.Errorf("our own address from outside: %+v", got)
	}
}

func TestHostSysctl(t *testing.T) {
	host(t)
	if v, err := (Host{}).Sysctl("net/ipv4/conf/cni0/forwarding"); v != "1" || err != nil {
		t.Errorf("read %q, %v", v, err)
	}
	for _, name := range []string{"../../etc/passwd", "net/ipv4/conf/nosuch/forwarding"} {
		if v, err := (Host{}).Sysctl(name); err == nil {
			t.Errorf("%s reads as %q", name, v)
		}
	}
}

// The whole walk with the real kernel under it.
func TestHostExplain(t *testing.T) {
	host(t)
	s := newScene()
	s.Kernel = Host{}
	ask := func(src, dst string) control.Explanation {
		s.q.Src, s.q.Dst = ip(src), ip(dst)
		e, err := Explain(t.Context(), s.q, s.Facts)
		must(t, err)
		return e
	}
	for _, src := range []string{"10.244.1.5", "10.244.1.1", "10.244.1.0"} { // a pod, the bridge, the device
		if e := ask(src, "10.244.2.7"); e.Verdict != Deliver || strings.Contains(e.Text, "fails") {
			t.Errorf("from %s:\n%s", src, render(e))
		}
	}
	if e := ask("10.244.1.5", "10.244.1.6"); e.Verdict != NotOurs {
		t.Errorf("to a pod of this node:\n%s", render(e))
	}
	if e := ask("10.244.3.9", "10.244.2.7"); e.Drop != encap.InnerSrcNotLeased.String() {
		t.Errorf("a forged source:\n%s", render(e))
	}
	sysctl(t, "net/ipv4/conf/cni0/forwarding", "0")
	if e := ask("10.244.1.5", "10.244.2.7"); e.Verdict != Drop || !strings.Contains(e.Text, "net/ipv4/conf/cni0/forwarding") {
		t.Errorf("with forwarding off:\n%s", render(e))
	}
	sysctl(t, "net/ipv4/conf/cni0/forwarding", "1")
	tun5 := device(t, "tun5", 1500)
	route(t, "10.244.2.0/24", "", tun5)
	if e := ask("10.244.1.5", "10.244.2.7"); e.Verdict != NotOurs || !strings.Contains(e.Text, "tun5") {
		t.Errorf("with a route that leads around:\n%s", render(e))
	}
}
