package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/tunnel"
)

// Packets by hand, and what must become of them, computed the slow way: one
// byte after the other, nothing shared with package encap.

const (
	tcp    = 6
	udp    = 17
	icmp   = 1
	icmp6  = 58
	ttl    = 64
	tcpCsu = 16
	udpCsu = 6
)

// onesum is the ones' complement sum of b on top of acc (RFC 1071).
func onesum(acc uint32, b []byte) uint32 {
	for i, x := range b {
		acc += uint32(x) << (8 * (1 - i%2))
	}
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return acc
}

// ip puts an IP header in front of a transport segment.
func ip(src, dst string, proto uint8, l4 []byte) []byte {
	from, to := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	var h []byte
	if from.Is4() {
		h = make([]byte, 12, 20+len(l4))
		h[0], h[6], h[8], h[9] = 0x45, 0x40, ttl, proto
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(l4)))
	} else {
		h = make([]byte, 8, 40+len(l4))
		h[0], h[6], h[7] = 0x60, proto, ttl
		binary.BigEndian.PutUint16(h[4:], uint16(len(l4)))
	}
	h = append(append(h, from.AsSlice()...), to.AsSlice()...)
	return append(seal4(h), l4...)
}

// seal4 sets the IPv4 header checksum of p.
func seal4(p []byte) []byte {
	if p[0]>>4 == 4 {
		p[10], p[11] = 0, 0
		binary.BigEndian.PutUint16(p[10:], ^uint16(onesum(0, p[:ipLen(p)])))
	}
	return p
}

func ipLen(p []byte) int {
	if p[0]>>4 == 6 {
		return 40
	}
	return int(p[0]&15) * 4
}

func protoOf(p []byte) uint8 {
	if p[0]>>4 == 6 {
		return p[6]
	}
	return p[9]
}

func ttlAt(p []byte) int {
	if p[0]>>4 == 6 {
		return 7
	}
	return 8
}

func csumAt(p []byte) int {
	if protoOf(p) == tcp {
		return ipLen(p) + tcpCsu
	}
	return ipLen(p) + udpCsu
}

// pseudo is the sum of p's pseudo header.
func pseudo(p []byte) uint32 {
	l4, addrs := ipLen(p), p[12:20]
	if p[0]>>4 == 6 {
		addrs = p[8:40]
	}
	return onesum(uint32(protoOf(p))+uint32(len(p)-l4), addrs)
}

// partial leaves the pseudo header's sum in the checksum field of a TCP or UDP
// packet, and says so.
func partial(p []byte) tunnel.Packet {
	at := csumAt(p)
	binary.BigEndian.PutUint16(p[at:], uint16(pseudo(p)))
	return tunnel.Packet{Data: p, Offload: tunnel.Offload{Flags: 1, CsumStart: uint16(ipLen(p)), CsumOffset: uint16(at - ipLen(p))}}
}

// finished completes the checksums of a TCP or UDP packet.
func finished(p []byte) []byte {
	at := csumAt(p)
	p[at], p[at+1] = 0, 0
	c := ^uint16(onesum(pseudo(p), p[ipLen(p):]))
	if c == 0 && protoOf(p) == udp {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(p[at:], c)
	return seal4(p)
}

// tcpSegment is a TCP header with a timestamp option, and payload.
func tcpSegment(sport, dport uint16, seq uint32, flags uint8, payload []byte) []byte {
	b := make([]byte, 32, 32+len(payload))
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint32(b[4:], seq)
	b[12], b[13] = 0x80, flags
	copy(b[20:], []byte{1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 7})
	return append(b, payload...)
}

func udpDatagram(sport, dport uint16, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return append(b, payload...)
}

// super makes a superpacket of a packet.
func superpacket(p []byte, size int) tunnel.Packet {
	pk := partial(p)
	pk.Offload.GSOSize = uint16(size)
	switch {
	case protoOf(p) == udp:
		pk.Offload.GSO, pk.Offload.HdrLen = 5, uint16(ipLen(p)+8)
	case p[0]>>4 == 4:
		pk.Offload.GSO, pk.Offload.HdrLen = 1, uint16(ipLen(p)+32)
	default:
		pk.Offload.GSO, pk.Offload.HdrLen = 4, uint16(ipLen(p)+32)
	}
	return pk
}

// cutSlow returns the finished packets that pk stands for.
func cutSlow(pk tunnel.Packet) (out [][]byte) {
	p := pk.Data
	if pk.Offload.GSO == 0 {
		p = bytes.Clone(p)
		if pk.Offload.Flags != 0 {
			p = finished(p)
		}
		return [][]byte{p}
	}
	l4 := ipLen(p)
	head := l4 + 8
	if protoOf(p) == tcp {
		head = l4 + int(p[l4+12]>>4)*4
	}
	for off := head; off < len(p); off += int(pk.Offload.GSOSize) {
		end := min(off+int(pk.Offload.GSOSize), len(p))
		one := append(bytes.Clone(p[:head]), p[off:end]...)
		if one[0]>>4 == 4 {
			binary.BigEndian.PutUint16(one[2:], uint16(len(one)))
			binary.BigEndian.PutUint16(one[4:], binary.BigEndian.Uint16(p[4:])+uint16(len(out)))
		} else {
			binary.BigEndian.PutUint16(one[4:], uint16(len(one)-40))
		}
		if protoOf(p) == udp {
			binary.BigEndian.PutUint16(one[l4+4:], uint16(len(one)-l4))
		} else {
			binary.BigEndian.PutUint32(one[l4+4:], binary.BigEndian.Uint32(p[l4+4:])+uint32(off-head))
			if end < len(p) {
				one[l4+13] &^= 0x09 // FIN, PSH
			}
			if off > head {
				one[l4+13] &^= 0x80 // CWR
			}
		}
		out = append(out, finished(one))
	}
	return out
}

// hops takes n off the TTL of a finished packet.
func hops(p []byte, n int) []byte {
	p = bytes.Clone(p)
	p[ttlAt(p)] -= byte(n)
	return seal4(p)
}

func hopsAll(ps [][]byte, n int) (out [][]byte) {
	for _, p := range ps {
		out = append(out, hops(p, n))
	}
	return out
}

// pattern fills n bytes that depend on seed and position.
func pattern(seed, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8 + seed*31)
	}
	return b
}

// pod is the address of pod m on node n; pod6 its other one.
func pod(n, m int) string  { return fmt.Sprintf("10.5.%d.%d", n, m) }
func pod6(n, m int) string { return fmt.Sprintf("fd00:10:5:%x::%x", n, m) }

func udpFrom(src, dst string, payload []byte) []byte {
	return finished(ip(src, dst, udp, udpDatagram(4000, 5000, payload)))
}

func tcpFrom(src, dst string, seq uint32, payload []byte) []byte {
	return finished(ip(src, dst, tcp, tcpSegment(4000, 5000, seq, 0x10, payload)))
}

// normal is p without its IPv4 ID where that means nothing (RFC 6864): on a
// packet with DF. A header whose checksum is wrong stays as it is.
func normal(p []byte) []byte {
	if len(p) < 20 || p[0] != 0x45 || p[6]&0x40 == 0 || onesum(0, p[:20]) != 0xffff {
		return p
	}
	p = bytes.Clone(p)
	p[4], p[5] = 0, 0
	return seal4(p)
}

func samePackets(t testing.TB, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i := range want {
		if got, want := normal(got[i]), normal(want[i]); !bytes.Equal(got, want) {
			t.Fatalf("packet %d:\n got %d bytes % x\nwant %d bytes % x", i,
				len(got), got[:min(80, len(got))], len(want), want[:min(80, len(want))])
		}
	}
}

// flowOf is what keeps its order: addresses and, of whole packets, protocol
// and ports.
func flowOf(p []byte) string {
	l4, key := ipLen(p), string(p[12:20])+string(p[9])
	if p[0]>>4 == 6 {
		return string(p[6:7]) + string(p[8:44])
	}
	if p[6]&0x3f|p[7] == 0 {
		key += string(p[l4 : l4+4])
	}
	return key
}

// sameFlows is samePackets for packets of several flows, between which there
// is no order.
func sameFlows(t testing.TB, got, want [][]byte) {
	t.Helper()
	sorted := func(ps [][]byte) [][]byte {
		ps = slices.Clone(ps)
		slices.SortStableFunc(ps, func(a, b []byte) int { return strings.Compare(flowOf(a), flowOf(b)) })
		return ps
	}
	samePackets(t, sorted(got), sorted(want))
}
