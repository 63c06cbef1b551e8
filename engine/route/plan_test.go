package route

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func addr(s string) netip.Addr  { return netip.MustParseAddr(s) }
func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// udp is what the udp backend wants for the subnet 10.5.1.0/24.
func udp() Desired {
	return Desired{
		Link: "flannel0", MTU: 1472,
		Addrs:  []netip.Prefix{pfx("10.5.1.0/32")},
		Routes: []Route{{Dst: pfx("10.5.0.0/16")}},
	}
}

// settled is the kernel's state once udp holds.
func settled() actual {
	return actual{MTU: 1472, Up: true, Addrs: udp().Addrs,
		Routes: []entry{Route{Dst: pfx("10.5.0.0/16"), Link: "flannel0"}.installed()}}
}

// onEth0 is what the lookups say when these are on the link of eth0.
func onEth0(addrs ...string) map[netip.Addr]hop {
	out := make(map[netip.Addr]hop)
	for _, a := range addrs {
		out[addr(a)] = hop{3, "eth0"}
	}
	return out
}

func foreign(r Route, proto uint8) entry {
	e := r.installed()
	e.Proto = proto
	return e
}

func TestPlan(t *testing.T) {
	network := Route{Dst: pfx("10.5.0.0/16"), Link: "flannel0"}
	cni := foreign(Route{Dst: pfx("10.5.1.0/24"), Link: "cni0", Src: addr("10.5.1.1")}, unix.RTPROT_KERNEL)
	hole := Route{Dst: pfx("10.5.1.0/24"), Blackhole: true}
	direct := []Route{{Dst: pfx("10.5.2.0/24"), Via: addr("192.168.50.2"), Direct: true},
		{Dst: pfx("10.5.3.0/24"), Via: addr("192.168.50.3"), Direct: true}}
	byEth0 := Route{Dst: pfx("10.5.2.0/24"), Via: addr("192.168.50.2"), Link: "eth0"}
	taken := foreign(Route{Dst: pfx("10.5.2.0/24"), Via: addr("192.168.50.9"), Link: "eth0"}, unix.RTPROT_STATIC)
	for _, c := range []struct {
		name     string
		d        func(*Desired)
		a        func(*actual)
		want     []string
		conflict string // part of its text
	}{
		{name: "settled"},
		{name: "new device", a: func(a *actual) { *a = actual{MTU: 1500} },
			want: []string{"set MTU 1472", "set link up", "add address 10.5.1.0/32", "set route 10.5.0.0/16 dev flannel0"}},
		{name: "down", a: func(a *actual) { a.Up, a.Routes = false, nil },
			want: []string{"set link up", "set route 10.5.0.0/16 dev flannel0"}},
		{name: "address of an earlier subnet", a: func(a *actual) { a.Addrs = append(a.Addrs, pfx("10.5.7.0/32")) },
			want: []string{"remove address 10.5.7.0/32"}},
		{name: "address of an earlier network", a: func(a *actual) { a.Addrs = append(a.Addrs, pfx("10.99.7.0/32")) },
			want: []string{"remove address 10.99.7.0/32"}},
		{name: "address with a wide prefix", a: func(a *actual) { a.Addrs = append(a.Addrs, pfx("10.5.1.0/16")) },
			want: []string{"remove address 10.5.1.0/16"}},
		{name: "foreign address elsewhere", a: func(a *actual) { a.Addrs = append(a.Addrs, pfx("192.0.2.1/24")) }},
		{name: "link-local addresses", a: func(a *actual) { a.Addrs = append(a.Addrs, pfx("fe80::1/64"), pfx("169.254.9.9/16")) }},
		{name: "a default route makes nothing unwelcome",
			d: func(d *Desired) { d.Routes = append(d.Routes, Route{Dst: pfx("0.0.0.0/0"), Metric: 9}) },
			a: func(a *actual) {
				a.Addrs = append(a.Addrs, pfx("192.0.2.1/24"))
				a.Routes = append(a.Routes, Route{Dst: pfx("0.0.0.0/0"), Link: "flannel0", Metric: 9}.installed())
			}},
		{name: "stale route of ours", a: func(a *actual) {
			a.Routes = append(a.Routes, Route{Dst: pfx("10.9.0.0/16"), Link: "flannel.1"}.installed())
		}, want: []string{"remove route 10.9.0.0/16 dev flannel.1"}},
		{name: "stale twin at another metric", a: func(a *actual) {
			r := network
			r.Metric = 7
			a.Routes = append(a.Routes, r.installed())
		}, want: []string{"remove route 10.5.0.0/16 dev flannel0 metric 7"}},
		{name: "route of ours with another next hop is replaced, not removed", a: func(a *actual) {
			a.Routes[0].Via = addr("192.0.2.9")
		}, want: []string{"set route 10.5.0.0/16 dev flannel0"}},
		{name: "second next hop of ours", a: func(a *actual) {
			r := network
			r.Via = addr("192.0.2.9")
			a.Routes = append(a.Routes, r.installed())
		}, want: []string{"remove route 10.5.0.0/16 via 192.0.2.9 dev flannel0"}},
		{name: "same route, made by a routing daemon, is adopted", a: func(a *actual) {
			a.Routes = []entry{foreign(network, unix.RTPROT_BIRD)}
		}, want: []string{"set route 10.5.0.0/16 dev flannel0"}},
		{name: "flanneld's leftover is replaced", a: func(a *actual) {
			a.Routes = []entry{foreign(Route{Dst: pfx("10.5.0.0/16"), Via: addr("192.0.2.9"), Link: "eth0"}, unix.RTPROT_BOOT)}
		}, want: []string{"set route 10.5.0.0/16 dev flannel0"}},
		{name: "administrator's route keeps its place", a: func(a *actual) {
			a.Routes = []entry{foreign(Route{Dst: pfx("10.5.0.0/16"), Via: addr("192.0.2.9"), Link: "eth0"}, unix.RTPROT_STATIC)}
		}, conflict: "the table has 10.5.0.0/16 via 192.0.2.9 dev eth0 proto 4"},
		{name: "a multipath route is not the same", a: func(a *actual) {
			e := foreign(network, unix.RTPROT_STATIC)
			e.Multi = true
			a.Routes = []entry{e}
		}, conflict: "several next hops"},
		{name: "blackhole yields to the connected bridge",
			d:        func(d *Desired) { d.Routes = append(d.Routes, hole) },
			a:        func(a *actual) { a.Routes = append(a.Routes, cni) },
			conflict: "10.5.1.0/24 dev cni0"},
		{name: "our blackhole goes when the bridge has come",
			d:    func(d *Desired) { d.Routes = append(d.Routes, hole) },
			a:    func(a *actual) { a.Routes = append(a.Routes, hole.installed(), cni) },
			want: []string{"remove route blackhole 10.5.1.0/24"}, conflict: "10.5.1.0/24 dev cni0"},
		{name: "route by another device and gateway",
			d: func(d *Desired) {
				d.Routes = append(d.Routes, Route{Dst: pfx("10.5.2.0/24"), Via: addr("192.0.2.2"), Link: "eth0", Src: addr("10.5.1.0")})
			},
			want: []string{"set route 10.5.2.0/24 via 192.0.2.2 dev eth0 src 10.5.1.0"}},
		{name: "vxlan style, both families",
			d: func(d *Desired) {
				d.Routes = append(d.Routes,
					Route{Dst: pfx("10.5.2.0/24"), Via: addr("10.5.2.0"), Onlink: true},
					Route{Dst: pfx("fd00:10:5:2::/64"), Via: addr("fd00:10:5:2::"), Onlink: true})
			},
			want: []string{"set route 10.5.2.0/24 via 10.5.2.0 dev flannel0 onlink",
				"set route fd00:10:5:2::/64 via fd00:10:5:2:: dev flannel0 metric 1024 onlink"}},
		{name: "conditional routes, one of which holds",
			d:    func(d *Desired) { d.Routes = append(d.Routes, direct...) },
			a:    func(a *actual) { a.Onlink = onEth0("192.168.50.2") },
			want: []string{"set route 10.5.2.0/24 via 192.168.50.2 dev eth0"}},
		{name: "settled conditional route",
			d: func(d *Desired) { d.Routes = append(d.Routes, direct...) },
			a: func(a *actual) { a.Onlink, a.Routes = onEth0("192.168.50.2"), append(a.Routes, byEth0.installed()) }},
		{name: "a conditional route goes with its condition, and the others stay",
			d:    func(d *Desired) { d.Routes = append(d.Routes, direct...) },
			a:    func(a *actual) { a.Onlink, a.Routes = onEth0("192.168.50.3"), append(a.Routes, byEth0.installed()) },
			want: []string{"set route 10.5.3.0/24 via 192.168.50.3 dev eth0", "remove route 10.5.2.0/24 via 192.168.50.2 dev eth0"}},
		{name: "a conditional route follows to another device",
			d: func(d *Desired) { d.Routes = append(d.Routes, direct...) },
			a: func(a *actual) {
				a.Onlink = map[netip.Addr]hop{addr("192.168.50.2"): {4, "eth1"}}
				a.Routes = append(a.Routes, byEth0.installed())
			}, want: []string{"set route 10.5.2.0/24 via 192.168.50.2 dev eth1"}},
		{name: "a conditional route and an administrator's",
			d: func(d *Desired) { d.Routes = append(d.Routes, direct...) },
			a: func(a *actual) {
				a.Onlink, a.Routes = onEth0("192.168.50.2"), append(a.Routes, taken)
			}, conflict: "the table has 10.5.2.0/24 via 192.168.50.9 dev eth0 proto 4"},
		{name: "a conditional route that does not hold is in nobody's way",
			d: func(d *Desired) { d.Routes = append(d.Routes, direct...) },
			a: func(a *actual) { a.Routes = append(a.Routes, taken) }},
		{name: "while not all is known, an earlier run's route by a gateway stays",
			d: func(d *Desired) { d.Partial = true },
			a: func(a *actual) { a.Routes = append(a.Routes, byEth0.installed()) }},
		{name: "and also where the condition does not hold",
			d: func(d *Desired) { d.Partial, d.Routes = true, append(d.Routes, direct...) },
			a: func(a *actual) { a.Routes = append(a.Routes, byEth0.installed()) }},
		{name: "and is removed once all is known",
			a:    func(a *actual) { a.Routes = append(a.Routes, byEth0.installed()) },
			want: []string{"remove route 10.5.2.0/24 via 192.168.50.2 dev eth0"}},
		{name: "while not all is known, what is is replaced",
			d: func(d *Desired) { d.Partial, d.Routes = true, append(d.Routes, direct...) },
			a: func(a *actual) {
				old := byEth0
				old.Via = addr("192.168.50.7")
				a.Onlink, a.Routes = onEth0("192.168.50.2"), append(a.Routes, old.installed())
			}, want: []string{"set route 10.5.2.0/24 via 192.168.50.2 dev eth0"}},
		{name: "while not all is known, routes into the tunnel and those without a gateway go",
			d: func(d *Desired) { d.Partial = true },
			a: func(a *actual) {
				a.Routes = append(a.Routes, Route{Dst: pfx("10.5.7.0/24"), Via: addr("10.5.7.0"), Link: "flannel0", Onlink: true}.installed(),
					Route{Dst: pfx("10.5.8.0/24"), Link: "eth0"}.installed(), hole.installed())
			}, want: []string{"remove route 10.5.7.0/24 via 10.5.7.0 dev flannel0 onlink",
				"remove route 10.5.8.0/24 dev eth0", "remove route blackhole 10.5.1.0/24"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, a := udp(), settled()
			if c.d != nil {
				c.d(&d)
			}
			if c.a != nil {
				c.a(&a)
			}
			d, err := d.normal()
			if err != nil {
				t.Fatal(err)
			}
			changes, conflicts := plan(d, a)
			var got []string
			for _, x := range changes {
				got = append(got, x.String())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("changes %q\nwant    %q", got, c.want)
			}
			switch {
			case c.conflict == "" && len(conflicts) > 0:
				t.Errorf("unexpected conflict: %v", conflicts[0])
			case c.conflict != "" && (len(conflicts) != 1 || !strings.Contains(conflicts[0].Error(), c.conflict)):
				t.Errorf("conflicts %v, want one with %q", conflicts, c.conflict)
			}
		})
	}
}

func TestNormalRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		d    func(*Desired)
		want string
	}{
		{"no link", func(d *Desired) { d.Link = "" }, `Link: ""`},
		{"a path as link", func(d *Desired) { d.Link = "../all" }, `Link: "../all"`},
		{"long link", func(d *Desired) { d.Link = "sixteencharslong" }, "sixteencharslong"},
		{"no MTU", func(d *Desired) { d.MTU = 0 }, "MTU: 0"},
		{"zero address", func(d *Desired) { d.Addrs = append(d.Addrs, netip.Prefix{}) }, "Addrs"},
		{"zero destination", func(d *Desired) { d.Routes = append(d.Routes, Route{}) }, "destination"},
		{"gateway of the other family", func(d *Desired) {
			d.Routes = append(d.Routes, Route{Dst: pfx("10.6.0.0/16"), Via: addr("fd00::1")})
		}, "fd00::1 is of the other address family"},
		{"two for one place", func(d *Desired) {
			d.Routes = append(d.Routes, Route{Dst: pfx("10.5.3.7/16"), Via: addr("192.0.2.1")})
		}, "10.5.0.0/16 via 192.0.2.1 dev flannel0 have the same destination"},
		{"conditional without a gateway", func(d *Desired) { d.Routes[0].Direct = true }, "Direct needs Via"},
		{"conditional on a device", func(d *Desired) {
			d.Routes[0] = Route{Dst: pfx("10.5.2.0/24"), Via: addr("192.0.2.1"), Link: "eth0", Direct: true}
		}, "10.5.2.0/24 via 192.0.2.1 dev eth0 while on a link: Direct needs Via"},
		{"conditional and not", func(d *Desired) {
			d.Routes = append(d.Routes, Route{Dst: pfx("10.5.0.0/16"), Via: addr("192.0.2.1"), Direct: true})
		}, "10.5.0.0/16 via 192.0.2.1 while on a link have the same destination"},
		{"negative metric", func(d *Desired) { d.Routes[0].Metric = -1 }, "metric -1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := udp()
			c.d(&d)
			if _, err := d.normal(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestSysctlPath(t *testing.T) {
	for in, want := range map[string]string{
		"net.ipv4.conf.flannel0.forwarding":  "net/ipv4/conf/flannel0/forwarding",
		"net/ipv4/conf/flannel.1/forwarding": "net/ipv4/conf/flannel.1/forwarding",
		"net.ipv4.conf.flannel/1.forwarding": "net/ipv4/conf/flannel.1/forwarding",
	} {
		if got := sysctlPath(in); got != want {
			t.Errorf("sysctlPath(%q) = %q, want %q", in, got, want)
		}
	}
}
