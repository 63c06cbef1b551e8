package trace

import (
	"encoding/binary"
	"net/netip"
)

// IP protocol numbers that are looked into (IANA).
const (
	icmp4 = 1
	tcp   = 6
	udp   = 17
	icmp6 = 58
)

// A packet is what can be read of the first bytes of an IP packet. What was cut
// off is zero.
type packet struct {
	version  uint8
	proto    uint8 // of the transport; of IPv6 behind the extension headers
	ttl      uint8 // or hop limit
	tos      uint8 // DSCP and ECN
	df       bool  // may not be fragmented; of IPv6 always
	frag     bool  // is a fragment
	offset   int   // of the fragment, in bytes
	more     bool  // is not the last fragment
	src, dst netip.Addr

	transport []byte // from the transport header on; nil for later fragments, and if it was cut off
	headers   int    // bytes of all headers, that of the transport included; 0: not known
}

// be is the order of bytes of the network.
var be = binary.BigEndian

// decode reads as much of b as there is. It reports false if b has no whole IP
// header.
func decode(b []byte) (p packet, ok bool) {
	if len(b) == 0 {
		return p, false
	}
	var rest int
	switch p.version = b[0] >> 4; {
	case p.version == 4 && len(b) >= 20:
		rest = p.decode4(b)
	case p.version == 6 && len(b) >= 40:
		rest = p.decode6(b)
	default:
		return packet{}, false
	}
	if p.offset == 0 && rest < len(b) {
		p.transport = b[rest:]
		if n := p.transportLen(); n > 0 {
			p.headers = rest + n
		}
	}
	return p, true
}

func (p *packet) decode4(b []byte) (rest int) {
	p.tos, p.ttl, p.proto = b[1], b[8], b[9]
	frag := be.Uint16(b[6:])
	p.df, p.more, p.offset = frag&0x4000 != 0, frag&0x2000 != 0, int(frag&0x1fff)*8
	p.frag = p.more || p.offset != 0
	p.src, p.dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	return max(20, int(b[0]&15)*4)
}

// maxExtensions bounds the walk over extension headers.
const maxExtensions = 8

func (p *packet) decode6(b []byte) (rest int) {
	p.tos, p.ttl, p.proto, p.df = uint8(be.Uint16(b)>>4), b[7], b[6], true
	p.src, p.dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	rest = 40
	for range maxExtensions {
		if rest+8 > len(b) {
			return rest
		}
		size := 8
		switch p.proto {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			size += int(b[rest+1]) * 8
		case 44: // fragment
			frag := be.Uint16(b[rest+2:])
			p.frag, p.more, p.offset = true, frag&1 != 0, int(frag&^7)
		default:
			return rest
		}
		p.proto = b[rest]
		rest += size
	}
	return rest
}

// transportLen returns the bytes of the transport header; 0 if it is not known.
func (p *packet) transportLen() int {
	switch p.proto {
	case tcp:
		if len(p.transport) > 12 && p.transport[12]>>4 >= 5 {
			return int(p.transport[12]>>4) * 4
		}
		return 0
	case udp, icmp4, icmp6:
		return 8
	}
	return 0
}

// ports returns the ports of TCP, UDP and their like.
func (p *packet) ports() (src, dst uint16, ok bool) {
	switch p.proto {
	case tcp, udp, 33, 132, 136: // and DCCP, SCTP, UDP-Lite
		if len(p.transport) >= 4 {
			return be.Uint16(p.transport), be.Uint16(p.transport[2:]), true
		}
	}
	return 0, 0, false
}

// echo returns the identifier and number of an ICMP echo.
func (p *packet) echo() (request bool, id, seq uint16, ok bool) {
	kind, _, known := p.message()
	if !known || len(p.transport) < 8 {
		return false, 0, 0, false
	}
	switch {
	case p.proto == icmp4 && (kind == 8 || kind == 0), p.proto == icmp6 && (kind == 128 || kind == 129):
		return kind == 8 || kind == 128, be.Uint16(p.transport[4:]), be.Uint16(p.transport[6:]), true
	}
	return false, 0, 0, false
}

// message returns type and code of an ICMP message.
func (p *packet) message() (kind, code uint8, ok bool) {
	if (p.proto != icmp4 && p.proto != icmp6) || len(p.transport) < 2 {
		return 0, 0, false
	}
	return p.transport[0], p.transport[1], true
}
