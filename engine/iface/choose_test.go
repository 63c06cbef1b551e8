package iface

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const perm = unix.IFA_F_PERMANENT

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// at makes permanent addresses.
func at(list ...string) (out []address) {
	for _, s := range list {
		out = append(out, address{ip(s), perm})
	}
	return out
}

// host is a machine with two networks, a tunnel from an earlier run, and
// IPv6 on the second network only.
func host() snapshot {
	return snapshot{
		links: []link{
			{name: "lo", index: 1, mtu: 65536, up: true, loopback: true, addrs: at("127.0.0.1", "::1", "203.0.113.77")},
			{name: "eth0", index: 2, mtu: 1500, up: true, addrs: at("10.0.2.15", "fe80::2")},
			{name: "eth1", index: 3, mtu: 9000, up: true, addrs: at("192.168.50.1", "192.168.50.2", "fd00:50::1", "fe80::3")},
			{name: "eth2", index: 4, mtu: 1500, addrs: at("192.168.60.1")},
			{name: "flannel0", index: 5, mtu: 1472, up: true, addrs: at("10.5.1.0")},
			{name: "bare", index: 6, mtu: 1500, up: true},
		},
		defaults: [2][]nexthop{{{index: 2}, {index: 3}}, {{index: 3}}},
		lookup: func(a netip.Addr) (nexthop, error) {
			switch a {
			case ip("192.168.50.9"):
				return nexthop{index: 3, src: ip("192.168.50.2")}, nil
			case ip("fd00:50::9"):
				return nexthop{index: 3, src: ip("fd00:50::1")}, nil
			}
			return nexthop{}, errors.New("network is unreachable")
		},
	}
}

// A result is what the table tests look at.
type result struct{ name, addr, addr6, public, public6 string }

func show(u Underlay) result {
	s := func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	return result{u.Name, s(u.Addr), s(u.Addr6), s(u.Public), s(u.Public6)}
}

func v4only(name, addr string) result { return result{name: name, addr: addr, public: addr} }

var eth1dual = result{"eth1", "192.168.50.1", "fd00:50::1", "192.168.50.1", "fd00:50::1"}

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name   string
		o      Options
		on     string // 4, 6 or 46; empty is 4
		change func(*snapshot)
		want   result
		why    []string // parts of Why
	}{
		{name: "default route", want: v4only("eth0", "10.0.2.15"), why: []string{"default route through eth0"}},
		{name: "default route, IPv6 only", on: "6", want: result{"eth1", "", "fd00:50::1", "", "fd00:50::1"}},
		{name: "default routes meet on one interface", on: "46", want: eth1dual, why: []string{"default route through eth1"}},
		{name: "default routes do not meet", on: "46",
			change: func(s *snapshot) { s.defaults = [2][]nexthop{{{index: 3}}, {{index: 2}}} },
			want:   eth1dual, why: []string{"warning: there is no IPv6 default route through it"}},
		{name: "no IPv6 default route", on: "46",
			change: func(s *snapshot) { s.defaults = [2][]nexthop{{{index: 3}}, nil} },
			want:   eth1dual, why: []string{"warning: there is no IPv6 default route"}},
		{name: "multipath: a dead hop, one without address, one that is down, one that is gone",
			change: func(s *snapshot) {
				s.defaults[ip4] = []nexthop{{index: 2, dead: true}, {index: 6}, {index: 4}, {index: 99}, {index: 3}}
			},
			want: v4only("eth1", "192.168.50.1")},
		{name: "public address is local", o: Options{PublicIP: "192.168.50.2"},
			want: v4only("eth1", "192.168.50.2"), why: []string{"--public-ip=192.168.50.2 is an address of eth1"}},
		{name: "public address is translated", o: Options{PublicIP: "198.51.100.7"},
			want: result{name: "eth0", addr: "10.0.2.15", public: "198.51.100.7"},
			why:  []string{"default route through eth0", "warning: --public-ip=198.51.100.7 is no address of this host"}},
		{name: "public address on the loopback device", o: Options{PublicIP: "203.0.113.77"},
			want: v4only("eth0", "203.0.113.77"), why: []string{"default route through eth0", "--public-ip=203.0.113.77 is on lo"}},
		{name: "nothing but the loopback device", o: Options{PublicIP: "127.0.0.1"},
			change: func(s *snapshot) { s.defaults = [2][]nexthop{} },
			want:   v4only("lo", "127.0.0.1")},
		{name: "public IPv6 address chooses, IPv6 only", on: "6", o: Options{PublicIPv6: "fd00:50::1"},
			want: result{"eth1", "", "fd00:50::1", "", "fd00:50::1"}, why: []string{"--public-ipv6=fd00:50::1 is an address of eth1"}},
		{name: "public address of a family that is off is of no account", o: Options{PublicIPv6: "fd00:50::1"},
			want: v4only("eth0", "10.0.2.15")},
		{name: "both public addresses, IPv6 translated", on: "46", o: Options{PublicIP: "192.168.50.2", PublicIPv6: "2001:db8::7"},
			want: result{"eth1", "192.168.50.2", "fd00:50::1", "192.168.50.2", "2001:db8::7"},
			why:  []string{"warning: --public-ipv6=2001:db8::7"}},
		{name: "iface by name", o: Options{Iface: []string{"eth1"}}, want: v4only("eth1", "192.168.50.1"), why: []string{"--iface=eth1"}},
		{name: "iface by address", o: Options{Iface: []string{"192.168.50.2"}}, want: v4only("eth1", "192.168.50.2"),
			why: []string{"--iface=192.168.50.2 is an address of eth1"}},
		{name: "iface by mapped address", o: Options{Iface: []string{"::ffff:192.168.50.2"}}, want: v4only("eth1", "192.168.50.2")},
		{name: "iface by IPv6 address, both families", on: "46", o: Options{Iface: []string{"fd00:50::1"}}, want: eth1dual},
		{name: "iface by IPv4 address, both families", on: "46", o: Options{Iface: []string{"192.168.50.2"}},
			want: result{"eth1", "192.168.50.2", "fd00:50::1", "192.168.50.2", "fd00:50::1"}},
		{name: "iface by link-local address keeps the zone for the socket only", on: "6", o: Options{Iface: []string{"fe80::3%eth1"}},
			want: result{"eth1", "", "fe80::3%eth1", "", "fe80::3"}},
		{name: "iface on loopback, asked for", o: Options{Iface: []string{"127.0.0.1"}}, want: v4only("lo", "127.0.0.1")},
		{name: "iface that is down", o: Options{Iface: []string{"eth2"}}, want: v4only("eth2", "192.168.60.1"), why: []string{"warning: it is down"}},
		{name: "second iface", o: Options{Iface: []string{"nonesuch", "bare", "eth1"}}, want: v4only("eth1", "192.168.50.1")},
		{name: "iface before regex before reach",
			o:    Options{Iface: []string{"nonesuch"}, IfaceRegex: []string{"eth0"}, CanReach: "192.168.50.9"},
			want: v4only("eth0", "10.0.2.15"), why: []string{"--iface-regex=eth0 matches the name eth0"}},
		{name: "iface with a public address elsewhere binds the public one", o: Options{Iface: []string{"eth0"}, PublicIP: "192.168.50.2"},
			want: v4only("eth0", "192.168.50.2"), why: []string{"--public-ip=192.168.50.2 is on eth1"}},
		{name: "iface with a translated public address", o: Options{Iface: []string{"eth1"}, PublicIP: "198.51.100.7"},
			want: result{name: "eth1", addr: "192.168.50.1", public: "198.51.100.7"}},
		{name: "regex: addresses before names", o: Options{IfaceRegex: []string{`eth0|^192\.168`}}, want: v4only("eth1", "192.168.50.1")},
		{name: "regex is not anchored and takes the address that matches", o: Options{IfaceRegex: []string{`50\.2`}},
			want: v4only("eth1", "192.168.50.2"), why: []string{`--iface-regex=50\.2 matches 192.168.50.2 of eth1`}},
		{name: "regex leaves our own tunnel out", o: Options{IfaceRegex: []string{`^10\.`}}, want: v4only("eth0", "10.0.2.15")},
		{name: "regex prefers a link that is up", o: Options{IfaceRegex: []string{`^192\.168\.60|^192\.168\.50`}}, want: v4only("eth1", "192.168.50.1")},
		{name: "regex by name, address of the same interface", o: Options{IfaceRegex: []string{"h1$"}}, want: v4only("eth1", "192.168.50.1")},
		{name: "regex, both families, one matches", on: "46", o: Options{IfaceRegex: []string{`50\.2$`}},
			want: result{"eth1", "192.168.50.2", "fd00:50::1", "192.168.50.2", "fd00:50::1"}},
		{name: "regex, both families match on a later interface", on: "46", o: Options{IfaceRegex: []string{`^10\.|^192|^fd00`}}, want: eth1dual},
		{name: "reach", o: Options{CanReach: "192.168.50.9"}, want: v4only("eth1", "192.168.50.2"),
			why: []string{"--iface-can-reach=192.168.50.9 is reached through eth1"}},
		{name: "reach, IPv6, both families", on: "46", o: Options{CanReach: "fd00:50::9"}, want: eth1dual},
		{name: "reach of an own address", o: Options{CanReach: "192.168.50.2"}, want: v4only("eth1", "192.168.50.2")},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := host()
			if c.change != nil {
				c.change(&s)
			}
			w, err := parse(c.o, c.on == "" || strings.Contains(c.on, "4"), strings.Contains(c.on, "6"))
			if err != nil {
				t.Fatal(err)
			}
			u, err := choose(s, w)
			if err != nil {
				t.Fatal(err)
			}
			if got := show(u); got != c.want {
				t.Errorf("got  %+v\nwant %+v (%s)", got, c.want, u.Why)
			}
			l, _ := s.byName(u.Name)
			if u.Index != l.index || u.MTU != l.mtu {
				t.Errorf("index %d, MTU %d are not those of %s", u.Index, u.MTU, u.Name)
			}
			for _, part := range c.why {
				if !strings.Contains(u.Why, part) {
					t.Errorf("Why %q lacks %q", u.Why, part)
				}
			}
			if !strings.Contains(strings.Join(c.why, " "), "warning") && len(c.why) > 0 && strings.Contains(u.Why, "warning") {
				t.Errorf("Why warns without need: %q", u.Why)
			}
		})
	}
}

func TestChooseRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		o      Options
		on     string
		change func(*snapshot)
		want   []string
	}{
		{name: "no default route", change: func(s *snapshot) { s.defaults = [2][]nexthop{} },
			want: []string{"there is no IPv4 default route (name an interface with --iface)", "eth0 (10.0.2.15, fe80::2)",
				"lo (127.0.0.1 is loopback", "eth2 (down, 192.168.60.1)", "bare (no address)"}},
		{name: "no default route and a translated address", o: Options{PublicIP: "198.51.100.7"},
			change: func(s *snapshot) { s.defaults = [2][]nexthop{} }, want: []string{"there is no IPv4 default route"}},
		{name: "no default route of either family", on: "46", change: func(s *snapshot) { s.defaults = [2][]nexthop{} },
			want: []string{"no IPv4 default route", "no IPv6 default route"}},
		{name: "no interface of the default routes has both families", on: "46",
			change: func(s *snapshot) { s.defaults = [2][]nexthop{{{index: 6}}, {{index: 6}}} },
			want:   []string{"default route through bare: bare has no usable IPv4 address"}},
		{name: "all rules fail, each with its reason",
			o: Options{Iface: []string{"nonesuch", "198.51.100.1", "bare"}, IfaceRegex: []string{"^none"}, CanReach: "198.51.100.9"},
			want: []string{"--iface=nonesuch: there is no such interface", "--iface=198.51.100.1: no interface has this address",
				"--iface=bare: bare has no usable IPv4 address", "--iface-regex=^none: no usable address and no name matches",
				"--iface-can-reach=198.51.100.9: network is unreachable"}},
		{name: "only loopback addresses", o: Options{Iface: []string{"lo"}},
			change: func(s *snapshot) { s.links[0].addrs = at("127.0.0.1") }, want: []string{"lo has no usable IPv4 address"}},
		{name: "MTU 0", o: Options{Iface: []string{"eth0"}}, change: func(s *snapshot) { s.links[1].mtu = 0 },
			want: []string{"--iface=eth0: its MTU is 0"}},
		{name: "regex match without the other family", on: "46", o: Options{IfaceRegex: []string{"eth2"}},
			want: []string{"--iface-regex=eth2 matches the name eth2: eth2 has no usable IPv6 address"}},
		{name: "no interfaces at all", change: func(s *snapshot) { *s = snapshot{} }, want: []string{"interfaces here: none"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := host()
			if c.change != nil {
				c.change(&s)
			}
			w, err := parse(c.o, c.on == "" || strings.Contains(c.on, "4"), strings.Contains(c.on, "6"))
			if err != nil {
				t.Fatal(err)
			}
			u, err := choose(s, w)
			if err == nil {
				t.Fatalf("chose %+v", u)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q\nlacks %q", err, part)
				}
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		o      Options
		v4, v6 bool
		want   []string
	}{
		{"no family", Options{}, false, false, []string{"neither IPv4 nor IPv6 is on"}},
		{"IPv6 literal, IPv4 only", Options{Iface: []string{"eth0", "fd00::1"}}, true, false, []string{"--iface=fd00::1: this is an IPv6 address, and IPv6 is off"}},
		{"IPv4 literal, IPv6 only", Options{Iface: []string{"10.0.0.1"}}, false, true, []string{"--iface=10.0.0.1: this is an IPv4 address, and IPv4 is off"}},
		{"empty name", Options{Iface: []string{""}}, true, false, []string{"--iface=: the name is empty"}},
		{"bad expression", Options{IfaceRegex: []string{"eth(["}}, true, false, []string{"--iface-regex=eth([: error parsing regexp"}},
		{"reach of a name", Options{CanReach: "gateway.example"}, true, false, []string{"--iface-can-reach=gateway.example: this is no IP address"}},
		{"reach of the other family", Options{CanReach: "fd00::1"}, true, false, []string{"--iface-can-reach=fd00::1: this is an IPv6 address, and IPv6 is off"}},
		{"public IPv6 in the IPv4 flag", Options{PublicIP: "fd00::1"}, true, true, []string{"--public-ip=fd00::1: this is no IPv4 address"}},
		{"public IPv4 in the IPv6 flag", Options{PublicIPv6: "192.0.2.1"}, true, true, []string{"--public-ipv6=192.0.2.1: this is no IPv6 address"}},
		{"public address is a name", Options{PublicIP: "here"}, true, false, []string{"--public-ip=here: this is no IP address"}},
		{"unspecified", Options{PublicIP: "0.0.0.0"}, true, false, []string{"--public-ip=0.0.0.0: peers cannot send"}},
		{"multicast", Options{PublicIPv6: "ff02::1"}, true, true, []string{"--public-ipv6=ff02::1: peers cannot send"}},
		{"several at once", Options{CanReach: "x", PublicIP: "y", IfaceRegex: []string{"("}}, true, false,
			[]string{"--iface-can-reach=x", "--public-ip=y", "--iface-regex=("}},
	} {
		_, err := parse(c.o, c.v4, c.v6)
		for _, part := range c.want {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %v lacks %q", c.name, err, part)
			}
		}
	}
}

func TestUsableOrder(t *testing.T) {
	l := link{name: "eth0", addrs: []address{
		{ip("fe80::1"), perm},
		{ip("fd00::dead"), perm | unix.IFA_F_DEPRECATED},
		{ip("fd00::7"), perm | unix.IFA_F_TENTATIVE},
		{ip("fd00::8"), perm | unix.IFA_F_DADFAILED},
		{ip("ff02::1"), perm},
		{ip("fd00::3"), unix.IFA_F_TEMPORARY},
		{ip("fd00::2"), 0},
		{ip("fd00::1"), perm | unix.IFA_F_TENTATIVE | unix.IFA_F_OPTIMISTIC},
		{ip("10.0.0.2"), perm | unix.IFA_F_SECONDARY},
		{ip("169.254.1.1"), perm},
		{ip("10.0.0.9"), 0},
		{ip("10.0.0.1"), perm},
	}}
	for f, want := range [2]string{
		"[10.0.0.1 10.0.0.2 10.0.0.9 169.254.1.1]",
		"[fd00::1 fd00::2 fd00::3 fe80::1%eth0]",
	} {
		var got []string
		for _, a := range l.usable(family(f)) {
			got = append(got, a.String())
		}
		if s := "[" + strings.Join(got, " ") + "]"; s != want {
			t.Errorf("%s: %s, want %s", family(f), s, want)
		}
	}
}
