package probe

import (
	"encoding/binary"
	"net/netip"

	"weft/encap"
)

// IP protocol numbers (IANA).
const (
	protoICMP   = 1
	protoUDP    = 17
	protoICMPv6 = 58
	protoTest   = 253 // for experimentation, RFC 3692
)

// An ipPacket is what matters here of an IP packet.
type ipPacket struct {
	src, dst netip.Addr
	proto    uint8
	size     int    // bytes, as the header says
	body     []byte // what follows the IP header
}

// parseIP reads the IP header of b. Fragments and IPv6 extension headers are
// refused: nothing that is ours has any. A quote, as ICMP errors have it, may
// be shorter than its header says; anything else may not.
func parseIP(b []byte, quote bool) (p ipPacket, ok bool) {
	if len(b) < 20 {
		return p, false
	}
	head := 40
	switch b[0] >> 4 {
	case 4:
		head = int(b[0]&15) * 4
		p.size = int(binary.BigEndian.Uint16(b[2:]))
		if head < 20 || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
			return p, false
		}
		p.src, p.dst, p.proto = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:])), b[9]
	case 6:
		if len(b) < 40 {
			return p, false
		}
		p.size = 40 + int(binary.BigEndian.Uint16(b[4:]))
		p.src, p.dst, p.proto = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:])), b[6]
	default:
		return p, false
	}
	if p.size < head || head > len(b) || (p.size > len(b) && !quote) {
		return p, false
	}
	p.body = b[head:min(p.size, len(b))]
	return p, true
}

// ipHead is the length of the IP header in front of a's packets.
func ipHead(a netip.Addr) int {
	if a.Is4() {
		return 20
	}
	return 40
}

// putIP writes the IP header of the packet b, with DF and no options. The
// addresses are of one family.
func putIP(b []byte, src, dst netip.Addr, proto, ttl uint8) {
	clear(b[:ipHead(src)])
	if src.Is4() {
		b[0], b[6], b[8], b[9] = 0x45, 0x40, ttl, proto
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		s, d := src.As4(), dst.As4()
		copy(b[12:], s[:])
		copy(b[16:], d[:])
		binary.NativeEndian.PutUint16(b[10:], ^encap.Fold(encap.Sum(b[:20], 0)))
		return
	}
	b[0], b[6], b[7] = 0x60, proto, ttl
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	s, d := src.As16(), dst.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
}

// sum is the checksum over body and, but for ICMP, the pseudo header (RFC 8200
// section 8.1). It is 0 if body bears a right one. It is in the machine's byte
// order.
func (p *ipPacket) sum() uint16 {
	var acc uint64
	if p.proto != protoICMP {
		var tail [4]byte // the length has no more than 16 bits
		binary.BigEndian.PutUint16(tail[:], uint16(len(p.body)))
		tail[3] = p.proto
		acc = encap.Sum(tail[:], 0)
		if p.src.Is4() {
			s, d := p.src.As4(), p.dst.As4()
			acc = encap.Sum(d[:], encap.Sum(s[:], acc))
		} else {
			s, d := p.src.As16(), p.dst.As16()
			acc = encap.Sum(d[:], encap.Sum(s[:], acc))
		}
	}
	return ^encap.Fold(encap.Sum(p.body, acc))
}

// putSum computes the checksum of the packet b and stores it at the offset at
// behind the IP header.
func putSum(b []byte, src, dst netip.Addr, proto uint8, at int) {
	p := ipPacket{src: src, dst: dst, proto: proto, body: b[ipHead(src):]}
	binary.NativeEndian.PutUint16(p.body[at:], 0)
	sum := p.sum()
	if sum == 0 && proto == protoUDP {
		sum = 0xffff // 0 would mean that there is none
	}
	binary.NativeEndian.PutUint16(p.body[at:], sum)
}
