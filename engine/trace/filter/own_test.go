package filter

import (
	"net/netip"
	"slices"
	"testing"

	"weft/encap"
)

// with returns tcpSYN's packet after a change.
func with(change func(*Packet)) *Packet {
	p := tcpSYN()
	if change != nil {
		change(p)
	}
	return p
}

func dropped(d encap.Drop) func(*Packet) { return func(p *Packet) { p.Drop = d } }

func from(p *Packet) { p.In = true }

func nothing(p *Packet) { *p = Packet{Drop: encap.Runt} }

var ownCases = []struct {
	text   string
	change func(*Packet)
	want   bool
	outer  bool
}{
	{text: "", want: true},
	{text: " \n", change: nothing, want: true},
	{text: "drop"},
	{text: "not drop", want: true},
	{text: "drop", change: dropped(encap.NoRoute), want: true},
	{text: "(drop)", change: dropped(encap.QueueDelay), want: true},
	{text: "drop", change: dropped(63), want: true}, // a reason that is not known yet
	{text: "drop no_route", change: dropped(encap.NoRoute), want: true},
	{text: "drop no_route", change: dropped(encap.TooBig)},
	{text: "drop no_route"},
	{text: "drop no_route or too_big", change: dropped(encap.TooBig), want: true},
	{text: "drop no_route or multicast", change: dropped(encap.Multicast), want: true},
	{text: "drop multicast", change: dropped(encap.Multicast), want: true},
	{text: "drop (no_route or multicast or runt) and tcp", change: dropped(encap.Multicast), want: true},
	{text: "drop and not drop no_route or multicast", change: dropped(encap.TooBig), want: true},
	{text: "drop or tcp", change: nothing, want: true},
	{text: "tcp or drop", change: nothing}, // a load beyond the packet rejects
	{text: "not tcp", change: nothing},

	{text: "dir out", want: true},
	{text: "dir in"},
	{text: "dir in", change: from, want: true},
	{text: "dir in or out", want: true},
	{text: "inbound", change: from, want: true},
	{text: "outbound", change: from},

	{text: "vni 1", want: true},
	{text: "vni 2"},
	{text: "vni 2 or 1", want: true},
	{text: "vni 0x000001", want: true},
	{text: "vni 1", change: func(p *Packet) { p.HasVNI = false }},
	{text: "vni 0", change: func(p *Packet) { p.HasVNI, p.VNI = false, 0 }},
	{text: "not vni 1", change: func(p *Packet) { p.HasVNI = false }, want: true},

	{text: "peer 192.168.0.2", want: true},
	{text: "peer 192.168.0.1"},
	{text: "peer fd00::2", want: true},
	{text: "peer ::ffff:192.168.0.2", want: true},
	{text: "peer 192.168.0.2", want: true,
		change: func(p *Packet) { p.Remote = netip.MustParseAddr("::ffff:192.168.0.2") }},
	{text: "peer 10.244.2.77", want: true},
	{text: "peer fd00:0:0:2::9", want: true},
	{text: "peer 10.244.1.2"},
	{text: "peer 1.1.1.1 or 192.168.0.2", want: true},
	{text: "peer 192.168.0.2", change: func(p *Packet) { p.Remote, p.Other = netip.Addr{}, netip.Addr{} }},

	{text: "lease 10.244.2.0/24", want: true},
	{text: "lease 10.244.0.0/16", want: true},
	{text: "lease 10.244.2.128/25", want: true},
	{text: "lease 10.244.2.1/24", want: true}, // as subnet.env has it
	{text: "lease 10.244.2.7", want: true},
	{text: "lease 10.244.3.0/24"},
	{text: "lease fd00:0:0:2::/64", want: true},
	{text: "lease fd00:0:0:3::/64 or fd00:0:0:2::1", want: true},
	{text: "lease 0.0.0.0/0", change: func(p *Packet) { p.Subnets = [2]netip.Prefix{} }},

	{text: "outer udp port 8472", want: true, outer: true},
	{text: "udp port 8472"},
	{text: "outer tcp", outer: true},
	{text: "outer host 192.168.0.1 and host 10.244.1.2", want: true, outer: true},
	{text: "outer host 9.9.9.9 or 192.168.0.1", want: true, outer: true},
	{text: "outer not host 10.244.1.2", want: true, outer: true},
	{text: "not outer (udp and inner tcp)", outer: true},
	{text: "outer (udp and inner (tcp port 80) and src 192.168.0.1)", want: true, outer: true},
	{text: "outer (udp) and tcp", want: true, outer: true},
	{text: "inner tcp", want: true},
	{text: "outer udp[8:4] = 0x08000000 and outer udp[12:4] >> 8 = 1", want: true, outer: true},
	{text: "outer len = 76 and len = 40", want: true, outer: true},
	{text: "outer greater 76 and less 40", want: true, outer: true},
	{text: "outer proto 17", change: func(p *Packet) { p.Outer = nil }, outer: true},
	{text: "outer (peer 192.168.0.2 and vni 1)", want: true},
	{text: "inner (outer udp) or tcp", want: true, outer: true},
	{text: "outer protochain 17 and protochain 6", want: true, outer: true},
}

func TestOwnWords(t *testing.T) {
	for _, tt := range ownCases {
		f, err := Compile(tt.text)
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		if got := f.Match(with(tt.change)); got != tt.want {
			t.Errorf("%q matches %+v: %v, want %v", tt.text, with(tt.change), got, tt.want)
		}
		if f.Outer() != tt.outer {
			t.Errorf("%q: Outer is %v, want %v", tt.text, f.Outer(), tt.outer)
		}
	}
}

// Every reason that there is can be asked for, and finds its own packets alone.
func TestEveryDrop(t *testing.T) {
	names := Drops()
	if len(names) != int(encap.NumDrops)-1 {
		t.Fatalf("%d names for %d reasons", len(names), encap.NumDrops-1)
	}
	for i, name := range names {
		f, err := Compile("drop " + name)
		if err != nil {
			t.Error(err)
			continue
		}
		for d := encap.Delivered; d < encap.NumDrops; d++ {
			if got := f.Match(&Packet{Drop: d}); got != (int(d) == i+1) {
				t.Errorf("drop %s matches %s: %v", name, d, got)
			}
		}
	}
}

func TestWordsAreInHelp(t *testing.T) {
	for _, word := range Words() {
		if !slices.Contains(helpWords(), word) {
			t.Errorf("Help does not tell of %q", word)
		}
	}
}

func TestString(t *testing.T) {
	f, err := Compile("  tcp  and drop ")
	if err != nil || f.String() != "tcp  and drop" {
		t.Errorf("%q, %v", f, err)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	p := tcpSYN()
	for _, tt := range ownCases {
		f, err := Compile(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(10, func() { f.Match(p) }); n != 0 {
			t.Errorf("%q allocates %v times", tt.text, n)
		}
	}
	for _, text := range manExamples {
		f, err := Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(10, func() { f.Match(p) }); n != 0 {
			t.Errorf("%q allocates %v times", text, n)
		}
	}
}

// A filter says what it looks at, so that nobody has to find it out in vain.
func TestNodes(t *testing.T) {
	for text, want := range map[string]bool{"": false, "tcp": false, "drop": false, "vni 1": false, "outer host 192.0.2.1": false,
		"peer 192.0.2.1": true, "tcp and not lease 10.5.2.0/24": true, "(udp or peer 192.0.2.1) and drop": true} {
		f, err := Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Nodes(); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
