package trace

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/encap"
	engine "weft/engine/trace"
)

func TestWords(t *testing.T) {
	unreachable := ping4("10.244.9.9", "10.244.1.5")
	unreachable[20], unreachable[21] = 3, 4
	binary.BigEndian.PutUint16(unreachable[26:], 1400)
	later := ping4("10.244.1.5", "10.244.2.7")
	binary.BigEndian.PutUint16(later[6:], 0x2000|185)
	for name, c := range map[string]struct {
		packet []byte
		want   string
	}{
		"tcp":                {tcp4("10.0.0.1", "10.0.0.2", 1, 2, true, true, 0), "10.0.0.1.1 > 10.0.0.2.2 tcp S."},
		"tcp, flags cut off": {tcp4("10.0.0.1", "10.0.0.2", 1, 2, true, true, 0)[:33], "10.0.0.1.1 > 10.0.0.2.2 tcp"},
		"tcp, ports cut off": {tcp4("10.0.0.1", "10.0.0.2", 1, 2, true, true, 0)[:23], "10.0.0.1 > 10.0.0.2 tcp"},
		"ip header only":     {tcp4("10.0.0.1", "10.0.0.2", 1, 2, true, true, 0)[:20], "10.0.0.1 > 10.0.0.2 tcp"},
		"udp over IPv6":      {udp6("fd00::1", "fd00::2"), "fd00::1.40000 > fd00::2.40001 udp"},
		"echo":               {ping4("10.0.0.1", "10.0.0.2"), "10.0.0.1 > 10.0.0.2 icmp echo request id 7 seq 1"},
		"frag-needed":        {unreachable, "10.244.9.9 > 10.244.1.5 icmp frag-needed mtu 1400"},
		"later fragment":     {later, "10.244.1.5 > 10.244.2.7 icmp fragment at 1480+"},
		"a protocol by number": {func() []byte {
			b := ping4("10.0.0.1", "10.0.0.2")
			b[9] = 200
			return b
		}(), "10.0.0.1 > 10.0.0.2 proto 200"},
	} {
		p, ok := decode(c.packet)
		if got := p.flow() + " " + p.kind(); !ok || got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	for name, b := range map[string][]byte{"nothing": nil, "19 bytes": make([]byte, 19), "version 5": append([]byte{0x50}, make([]byte, 60)...),
		"39 bytes of IPv6": udp6("fd00::1", "fd00::2")[:39]} {
		if p, ok := decode(b); ok {
			t.Errorf("%s is a packet: %+v", name, p)
		}
	}
}

// What the decoder says of random packets is what gopacket says, at every length
// that has the headers whole.
func TestDecodeAgreesWithGopacket(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		a, b := netip.AddrFrom4([4]byte{10, byte(rnd.Uint32()), 2, 3}), netip.AddrFrom4([4]byte{10, 9, byte(rnd.Uint32()), 1})
		raw := tcp4(a.String(), b.String(), rnd.IntN(65536), rnd.IntN(65536), rnd.IntN(2) == 0, rnd.IntN(2) == 0, rnd.IntN(300))
		first := gopacket.LayerType(layers.LayerTypeIPv4)
		if rnd.IntN(2) == 0 {
			raw, first = udp6("fd00::"+string('1'+rune(rnd.IntN(9))), "fd00:2::1"), layers.LayerTypeIPv6
		}
		cut := raw[:min(len(raw), 52+rnd.IntN(20))] // 52 bytes are the headers of either
		p, ok := decode(cut)
		if !ok {
			t.Fatalf("not decoded: % x", cut)
		}
		compare(t, gopacket.NewPacket(raw, first, gopacket.Default), &p)
	}
}

func compare(t *testing.T, want gopacket.Packet, p *packet) {
	t.Helper()
	src, dst := want.NetworkLayer().NetworkFlow().Endpoints()
	if src.String() != p.src.String() || dst.String() != p.dst.String() {
		t.Errorf("%v > %v, want %v > %v", p.src, p.dst, src, dst)
	}
	sport, dport, ok := p.ports()
	head := len(want.NetworkLayer().LayerContents()) + len(want.TransportLayer().LayerContents())
	switch l := want.TransportLayer().(type) {
	case *layers.TCP:
		if !ok || sport != uint16(l.SrcPort) || dport != uint16(l.DstPort) || p.headers != head {
			t.Errorf("ports %d %d, headers %d; want %v, headers %d", sport, dport, p.headers, l, head)
		}
	case *layers.UDP:
		if !ok || sport != uint16(l.SrcPort) || dport != uint16(l.DstPort) || p.headers != head {
			t.Errorf("ports %d %d, headers %d; want %v, headers %d", sport, dport, p.headers, l, head)
		}
	}
}

// Extension headers are passed over, and a packet that has nothing but them, or
// is cut off in them, is told as far as it goes.
func TestExtensionHeaders(t *testing.T) {
	plain := udp6("fd00::1", "fd00::2")
	with := append([]byte{}, plain[:40]...)
	with[6] = 60
	with = append(with, 0x2c, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // 16 bytes of destination options, then a fragment header
	with = append(with, udp, 0, 0, 1, 0, 0, 0, 9)
	with = append(with, plain[40:]...)
	p, ok := decode(with)
	if got := p.flow() + " " + p.kind(); !ok || got != "fd00::1.40000 > fd00::2.40001 udp fragment at 0+" || p.headers != 40+16+8+8 {
		t.Errorf("%q, headers %d", got, p.headers)
	}
	for n := 40; n < len(with); n++ {
		if _, ok := decode(with[:n]); !ok {
			t.Errorf("cut to %d bytes it is no packet", n)
		}
	}
	loop := append(append([]byte{}, plain[:40]...), make([]byte, 400)...) // hop-by-hop options for ever
	loop[6] = 0
	if _, ok := decode(loop); !ok {
		t.Error("options without an end are no packet")
	}
}

func TestLength(t *testing.T) {
	p, _ := decode(tcp4("10.0.0.1", "10.0.0.2", 1, 2, false, true, 0))
	for _, c := range []struct {
		r    engine.Record
		want string
	}{
		{engine.Record{Packets: 1, Len: 60}, "len 60"},
		{engine.Record{Packets: 40, Len: 52 + 40*1448, Size: 1448}, "len 57972 = 52 + 40 × 1448"},
		{engine.Record{Packets: 3, Len: 52 + 2*1448 + 1, Size: 1448}, "len 2949 = 52 + 2 × 1448 + 1"},
		{engine.Record{Packets: 3, Len: 2949}, "len 2949 = 3 packets"},
		{engine.Record{Packets: 3, Len: 10, Size: 1448}, "len 10 = 3 packets"},
	} {
		if got := length(&c.r, &p); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// Each reason fails at a stage that the way of its direction has, or at none.
func TestVerdicts(t *testing.T) {
	for d := encap.Delivered + 1; d < encap.NumDrops; d++ {
		r := engine.Record{Drop: d, Way: engine.Read}
		want := dropped
		if d == encap.TooBig {
			want = tooBig
		}
		if got := judge(&r); got != want {
			t.Errorf("%v: %v, want %v", d, got, want)
		}
		n := names{}
		if n.reason(&r) == "" {
			t.Errorf("%v: no words", d)
		}
	}
	for way, want := range map[engine.Way]verdict{engine.Read: unknown, outWay: sent, engine.Read | engine.Sealed: sealed, inWay: delivered,
		engine.Received | engine.Consumed: consumed} {
		if got := judge(&engine.Record{Way: way}); got != want {
			t.Errorf("%v: %v, want %v", way.Names(), got, want)
		}
	}
	for v := range map[verdict]bool{sent: true, sealed: true, delivered: true, consumed: true, reported: true, tooBig: true, dropped: true, unknown: true} {
		if shown[v] == "" {
			t.Errorf("%v has no word on screens", v)
		}
	}
}

// The rebuilt headers are those that gopacket would make, checksums included.
func TestRebuild(t *testing.T) {
	for _, r := range []engine.Record{allRecords()[0], allRecords()[1], allRecords()[3], allRecords()[6]} {
		b := rebuild(nil, &r, true)
		first := gopacket.LayerType(layers.LayerTypeIPv4)
		if b[0]>>4 == 6 {
			first = layers.LayerTypeIPv6
		}
		p := gopacket.NewPacket(b, first, gopacket.Default)
		u, ok := p.TransportLayer().(*layers.UDP)
		if !ok {
			t.Fatalf("no UDP in % x", b)
		}
		var again []byte
		if ip, ok := p.NetworkLayer().(*layers.IPv4); ok {
			again = build(ip, gopacket.Payload(ip.LayerPayload()))
		} else {
			must(u.SetNetworkLayerForChecksum(p.NetworkLayer()))
			ip := p.NetworkLayer().(*layers.IPv6)
			again = build(ip, u, gopacket.Payload(u.LayerPayload()))
		}
		if string(again) != string(b) {
			t.Errorf("% x\nwant % x", b, again)
		}
	}
}

// A datagram beyond what IP can carry has the length that the kernel gives such:
// none.
func TestRebuildHuge(t *testing.T) {
	r := allRecords()[2]
	r.Len = 65535
	b := rebuild(nil, &r, false)
	if b[2] != 0 || b[3] != 0 || binary.BigEndian.Uint16(b[24:]) != 65535 {
		t.Errorf("IP length % x, UDP length % x", b[2:4], b[24:26])
	}
}
