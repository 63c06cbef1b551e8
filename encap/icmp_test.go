package encap

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	router4 = netip.MustParseAddr("10.5.1.0")
	router6 = netip.MustParseAddr("fd00:5:1::")
)

func routerOf(version uint8) netip.Addr {
	if version == 4 {
		return router4
	}
	return router6
}

// answer calls ICMP with guarded memory and returns what it wrote.
func answer(t *testing.T, p []byte, kind ICMPKind, mtu int) []byte {
	t.Helper()
	h := parsed(t, p)
	buf, intact := guarded(bytes.Repeat([]byte{0x99}, MaxICMP)) // what an earlier answer left
	was := slices.Clone(p)
	n := ICMP(buf, p, &h, kind, routerOf(h.Version), mtu)
	if !intact() || !bytes.Equal(p, was) {
		t.Fatal("bytes outside the buffer were written")
	}
	return buf[:n]
}

// An independent decoder reads from the answer what a host would.
func TestICMPAnswersAsDecodedByGopacket(t *testing.T) {
	for _, c := range []struct {
		kind       ICMPKind
		mtu        int
		four       layers.ICMPv4TypeCode
		six        layers.ICMPv6TypeCode
		mtu4, mtu6 uint32
	}{
		{NetUnreachable, 0, layers.CreateICMPv4TypeCode(3, 0), layers.CreateICMPv6TypeCode(1, 0), 0, 0},
		{TimeExceeded, 0, layers.CreateICMPv4TypeCode(11, 0), layers.CreateICMPv6TypeCode(3, 0), 0, 0},
		{PacketTooBig, 1472, layers.CreateICMPv4TypeCode(3, 4), layers.CreateICMPv6TypeCode(2, 0), 1472, 1472},
		{NetUnreachable, 1472, layers.CreateICMPv4TypeCode(3, 0), layers.CreateICMPv6TypeCode(1, 0), 0, 0},
	} {
		for _, q := range []packet{tcp4, udp4} {
			for _, n := range []int{0, 1, 100, 1400, 60000} {
				p := q.with(n, 1).build()
				b := answer(t, p, c.kind, c.mtu)
				if len(b) != min(len(p)+28, 576) || !refIPSound(b) || refSum(b[20:]) != 0xffff {
					t.Fatalf("%d bytes, checksums %04x %04x", len(b), refSum(b[:20]), refSum(b[20:]))
				}
				decoded := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.Default)
				ip := decoded.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
				icmp := decoded.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
				if ip.SrcIP.String() != "10.5.1.0" || ip.DstIP.String() != "10.5.1.2" || int(ip.Length) != len(b) ||
					ip.TTL < 32 || ip.Flags != 0 || ip.FragOffset != 0 || ip.Protocol != layers.IPProtocolICMPv4 {
					t.Errorf("IP header %+v", ip)
				}
				if icmp.TypeCode != c.four || icmp.Id != 0 || uint32(icmp.Seq) != c.mtu4 || !bytes.Equal(icmp.Payload, p[:len(b)-28]) {
					t.Errorf("kind %d: %v, %d, MTU %d, %d bytes quoted", c.kind, icmp.TypeCode, icmp.Id, icmp.Seq, len(icmp.Payload))
				}

				p = q.six().with(n, 1).build()
				b = answer(t, p, c.kind, c.mtu)
				if len(b) != min(len(p)+48, 1280) || !refSound(b) {
					t.Fatalf("%d bytes, sound %v", len(b), refSound(b))
				}
				decoded = gopacket.NewPacket(b, layers.LayerTypeIPv6, gopacket.Default)
				ip6 := decoded.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
				icmp6 := decoded.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
				if ip6.SrcIP.String() != "fd00:5:1::" || ip6.DstIP.String() != "fd00:5:1::2" || int(ip6.Length) != len(b)-40 || ip6.HopLimit < 32 {
					t.Errorf("IPv6 header %+v", ip6)
				}
				if icmp6.TypeCode != c.six || binary.BigEndian.Uint32(icmp6.Payload) != c.mtu6 || !bytes.Equal(icmp6.Payload[4:], p[:len(b)-48]) {
					t.Errorf("kind %d: %v, MTU %d, %d bytes quoted", c.kind, icmp6.TypeCode, icmp6.Payload[:4], len(icmp6.Payload)-4)
				}
			}
		}
	}
}

// The captured answer of flannel's C proxy to the same offender: weft says the
// same, but quotes more, lives longer and is marked as control traffic.
func TestICMPAgainstTheCapturedUnreachable(t *testing.T) {
	captured := unhex("4500003800000000 08019cba0a050100 0a050102 0300a2fe00000000 45000021773f40003f11627f0a0501020a054d02 b5c8270f000d7d1c")
	offender := append(slices.Clone(captured[28:]), 'h', 'e', 'l', 'l', 'o')
	b := answer(t, offender, NetUnreachable, 0)
	if !bytes.Equal(b[12:22], captured[12:22]) || !bytes.Equal(b[24:56], captured[24:56]) || !bytes.Equal(b[56:], []byte("hello")) {
		t.Errorf("%x", b)
	}
}

func TestICMPQuotesThePacketWithoutPadding(t *testing.T) {
	p := udp4.with(5, 1).build()
	b := answer(t, append(slices.Clone(p), 0, 0, 0, 0), TimeExceeded, 0)
	if !bytes.Equal(b[28:], p) {
		t.Errorf("quoted %x, want %x", b[28:], p)
	}
}

// icmpPacket returns an ICMP or ICMPv6 message of the given type.
func icmpPacket(v int, kind byte) []byte {
	q := packet{v: v, proto: map[int]byte{4: 1, 6: 58}[v], src: 2, dst: 9, ttl: 64, payload: make([]byte, 8)}
	q.payload[0] = kind
	return q.build()
}

func TestICMPIsNeverSentAbout(t *testing.T) {
	u4, u6 := udp4.with(30, 1).build(), udp4.six().with(30, 1).build()
	frag6 := chained(1, 8, 44)
	multicast6, loop6 := unhex("ff020000000000000000000000000001"), unhex("00000000000000000000000000000001")
	cases := map[string][]byte{
		"a later fragment":                  set(u4, 6, 0, 1),
		"a later fragment that has more":    set(u4, 6, 0x20, 1),
		"a later IPv6 fragment":             set(frag6, 43, 8),
		"a packet to a multicast group":     set(u4, 16, 224, 0, 0, 251),
		"a broadcast":                       set(u4, 16, 255, 255, 255, 255),
		"a packet from a multicast group":   set(u4, 12, 239, 1, 1, 1),
		"a packet from the broadcast":       set(u4, 12, 255, 255, 255, 255),
		"a packet from nobody":              set(u4, 12, 0, 0, 0, 0),
		"a packet to nobody":                set(u4, 16, 0, 0, 0, 0),
		"a packet from loopback":            set(u4, 12, 127, 0, 0, 1),
		"an IPv6 packet to a group":         set(u6, 24, multicast6...),
		"an IPv6 packet from a group":       set(u6, 8, multicast6...),
		"an IPv6 packet from nobody":        set(u6, 8, make([]byte, 16)...),
		"an IPv6 packet from loopback":      set(u6, 8, loop6...),
		"ICMP that is cut before its type":  set(icmpPacket(4, 8)[:20], 2, 0, 20),
		"ICMPv6 that is cut before its own": set(icmpPacket(6, 128)[:40], 4, 0, 0),
	}
	for _, kind := range []byte{3, 4, 5, 11, 12} {
		cases["ICMP error "+string('0'+kind/10)+string('0'+kind%10)] = icmpPacket(4, kind)
	}
	for _, kind := range []byte{1, 2, 3, 4, 127, 133, 134, 135, 136, 137} {
		cases["ICMPv6 "+string('0'+kind/100)+string('0'+kind/10%10)+string('0'+kind%10)] = icmpPacket(6, kind)
	}
	for name, p := range cases {
		for kind := range ICMPKind(3) {
			if b := answer(t, p, kind, 1000); len(b) != 0 {
				t.Errorf("%s: answered with %x", name, b)
			}
		}
	}
}

func TestICMPIsSentAboutQueriesAndFirstFragments(t *testing.T) {
	for name, p := range map[string][]byte{
		"echo request":        icmpPacket(4, 8),
		"echo reply":          icmpPacket(4, 0),
		"timestamp request":   icmpPacket(4, 13),
		"ICMPv6 echo request": icmpPacket(6, 128),
		"ICMPv6 echo reply":   icmpPacket(6, 129),
		"first fragment":      set(udp4.with(30, 1).build(), 6, 0x20),
		"IPv6 first fragment": set(chained(1, 8, 44), 43, 1),
		"unknown protocol":    packet{v: 4, proto: 200, src: 2, dst: 3, ttl: 1}.with(9, 1).build(),
	} {
		if len(answer(t, p, TimeExceeded, 0)) == 0 {
			t.Errorf("%s: no answer", name)
		}
	}
}

func TestICMPNeedsASourceOfThePacketsFamily(t *testing.T) {
	for _, q := range []packet{tcp4, tcp4.six()} {
		p := q.build()
		h := parsed(t, p)
		if n := ICMP(make([]byte, MaxICMP), p, &h, TimeExceeded, routerOf(10-h.Version), 0); n != 0 {
			t.Errorf("IPv%d: an answer from the other family, %d bytes", q.v, n)
		}
	}
}

func FuzzICMP(f *testing.F) {
	f.Add(tcp4.with(600, 1).build(), uint8(0), 1400)
	f.Add(icmpPacket(4, 3), uint8(1), 0)
	f.Add(icmpPacket(6, 135), uint8(2), 1280)
	f.Add(chained(2, 8, 44, 60), uint8(2), 70000)
	f.Fuzz(func(t *testing.T, p []byte, kind uint8, mtu int) {
		h, drop := Parse(p)
		if drop != Delivered {
			t.Skip()
		}
		b := answer(t, p, ICMPKind(kind%3), mtu)
		l := refWalk(p)
		isError := l.version == 4 && l.proto == 1 && slices.Contains([]byte{3, 4, 5, 11, 12}, p[min(l.l4, len(p)-1)]) ||
			l.version == 6 && l.proto == 58 && p[min(l.l4, len(p)-1)] < 128
		if len(b) == 0 {
			return
		}
		if isError || h.Later || h.Src(p).IsMulticast() || h.Dst(p).IsMulticast() {
			t.Fatalf("an answer about %x", p[:min(len(p), 60)])
		}
		own := parsed(t, b)
		if own.Len != len(b) || own.Src(b) != routerOf(h.Version) || own.Dst(b) != h.Src(p) || !refSound(b) {
			t.Fatalf("not a sound answer to its sender: %x", b[:48])
		}
		if head := map[uint8]int{4: 28, 6: 48}[h.Version]; !bytes.HasPrefix(p[:h.Len], b[head:]) || h.Version == 4 && refSum(b[20:]) != 0xffff {
			t.Fatalf("quote or checksum is wrong: %x", b)
		}
	})
}

func TestEchoReply(t *testing.T) {
	packet := func(version, proto, kind byte, frag bool) ([]byte, Header) {
		p := make([]byte, 60)
		h := Header{Version: version, Proto: proto, Frag: frag, L4: 40, Len: 60}
		p[h.L4] = kind
		return p, h
	}
	for _, tc := range []struct {
		version, proto, kind byte
		frag, want           bool
	}{
		{4, 1, 0, false, true}, {4, 1, 8, false, false}, {4, 1, 0, true, false}, {4, 17, 0, false, false}, {4, 58, 129, false, false},
		{6, 58, 129, false, true}, {6, 58, 128, false, false}, {6, 58, 129, true, false}, {6, 1, 0, false, false}, {6, 17, 129, false, false},
	} {
		p, h := packet(tc.version, tc.proto, tc.kind, tc.frag)
		if got := EchoReply(p, &h); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
	if h := (Header{Version: 4, Proto: 1, L4: 20, Len: 20}); EchoReply(make([]byte, 20), &h) {
		t.Error("a packet without a transport header is an echo reply")
	}
}
