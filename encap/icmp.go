package encap

import (
	"encoding/binary"
	"net/netip"
)

// ICMPKind is an answer that a router owes to the sender of a packet it could
// not forward.
type ICMPKind uint8

// The answers, with their ICMP and ICMPv6 types and codes (RFC 792, RFC 4443).
const (
	NetUnreachable ICMPKind = iota // 3/0; 1/0 no route to destination
	TimeExceeded                   // 11/0; 3/0
	PacketTooBig                   // 3/4 fragmentation needed; 2/0
)

var icmpTypes = [...][2][2]uint8{ // kind → {ICMP, ICMPv6} → {type, code}
	NetUnreachable: {{3, 0}, {1, 0}},
	TimeExceeded:   {{11, 0}, {3, 0}},
	PacketTooBig:   {{3, 4}, {2, 0}},
}

// MaxICMP is the size of the largest answer: RFC 1812 4.3.2.3 allows 576 bytes
// for IPv4, RFC 4443 2.4 allows 1280 for IPv6.
const MaxICMP = 1280

// EchoReply tells whether p, whose header is h, is an ICMP echo reply that is no
// fragment (RFC 792, RFC 4443).
func EchoReply(p []byte, h *Header) bool {
	if h.Frag || h.L4 >= h.Len {
		return false
	}
	return h.Proto == protoICMP && h.Version == 4 && p[h.L4] == 0 || h.Proto == protoICMPv6 && h.Version == 6 && p[h.L4] == 129
}

// ICMP writes into buf (at least [MaxICMP] bytes) the answer of kind to the
// packet p with header h, from the address src, and returns its length. mtu,
// in bytes, goes into PacketTooBig. It returns 0 when no answer may be sent
// (RFC 1122 3.2.2, RFC 4443 2.4 e): about an ICMP error, a later fragment, or
// a sender or receiver that is not one host.
func ICMP(buf, p []byte, h *Header, kind ICMPKind, src netip.Addr, mtu int) int {
	if !answerable(p, h) || src.Is4() != (h.Version == 4) {
		return 0
	}
	p = p[:h.Len]
	if h.Version == 4 {
		return icmp4(buf, p, kind, src, mtu)
	}
	return icmp6(buf, p, kind, src, mtu)
}

// answerable tells whether p's sender may be told about p.
func answerable(p []byte, h *Header) bool {
	if h.Later || !unicast(h.Src(p)) || !unicast(h.Dst(p)) {
		return false
	}
	switch {
	case h.Proto == protoICMP && h.Version == 4:
		if h.L4 >= h.Len {
			return false
		}
		switch p[h.L4] {
		case 0, 8, 13, 14: // echo, timestamp: queries and their replies
			return true
		}
		return false
	case h.Proto == protoICMPv6 && h.Version == 6:
		return h.L4 < h.Len && p[h.L4] >= 128 && p[h.L4] < 133 // informational, not neighbour discovery
	}
	return true
}

func unicast(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

//	0                   1                   2                   3
//
// +---------------+---------------+-------------------------------+
// |     type      |     code      |           checksum            |
// +---------------+---------------+-------------------------------+
// |            unused             |   MTU (3/4 only, RFC 1191)    |
// +-------------------------------+-------------------------------+
// |   the packet that was not forwarded, as much of it as fits    |
func icmp4(buf, p []byte, kind ICMPKind, src netip.Addr, mtu int) int {
	quote := min(len(p), 576-28)
	b := buf[:28+quote]
	clear(b[:28])
	b[0], b[8], b[9] = 0x45, 64, protoICMP
	b[1] = 0xc0 // internetwork control, RFC 1812 4.3.2.5
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	from := src.As4()
	copy(b[12:], from[:])
	copy(b[16:], p[12:16])
	setIPv4Sum(b[:20])
	b[20], b[21] = icmpTypes[kind][0][0], icmpTypes[kind][0][1]
	if kind == PacketTooBig {
		binary.BigEndian.PutUint16(b[26:], uint16(mtu))
	}
	copy(b[28:], p[:quote])
	putSum(b[20+icmpCsumAt:], ^Fold(Sum(b[20:], 0)))
	return len(b)
}

//	0                   1                   2                   3
//
// +---------------+---------------+-------------------------------+
// |     type      |     code      |           checksum            |
// +---------------+---------------+-------------------------------+
// |              unused, or MTU (type 2, RFC 4443)                |
// +---------------------------------------------------------------+
// |   the packet that was not forwarded, as much of it as fits    |
func icmp6(buf, p []byte, kind ICMPKind, src netip.Addr, mtu int) int {
	quote := min(len(p), MaxICMP-48)
	b := buf[:48+quote]
	clear(b[:48])
	b[0], b[6], b[7] = 0x60, protoICMPv6, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	from := src.As16()
	copy(b[8:], from[:])
	copy(b[24:], p[8:24])
	b[40], b[41] = icmpTypes[kind][1][0], icmpTypes[kind][1][1]
	if kind == PacketTooBig {
		binary.BigEndian.PutUint32(b[44:], uint32(mtu))
	}
	copy(b[48:], p[:quote])
	sum := pseudo(b, 6, protoICMPv6) + uint64(sum16(uint16(len(b)-40)))
	putSum(b[40+icmpCsumAt:], ^Fold(Sum(b[40:], sum)))
	return len(b)
}
