package encap

import "encoding/binary"

// The ECN codepoints (RFC 3168 section 5): the lower two bits of the IPv4 TOS
// byte and of the IPv6 traffic class.
const (
	ecnNotECT = 0 // the transport cannot be told of congestion
	ecnECT1   = 1
	ecnECT0   = 2
	ecnCE     = 3 // congestion experienced
	ecnMask   = 3
)

// ECN returns the ECN bits of the packet p, which [Parse] has accepted. On the
// way up they are the outer header's, unchanged (RFC 6040 normal mode). The
// kernel's VXLAN does the same, except that it still sends ECT(0) for CE as
// RFC 3168 had it; a receiver ends up with the same packet.
func ECN(p []byte) uint8 {
	if p[0]>>4 == 6 {
		return p[1] >> 4 & ecnMask
	}
	return p[1] & ecnMask
}

// DecapECN combines the ECN bits of an outer header (the other six bits of
// outer are ignored) with those of its inner packet p, which [Parse] has
// accepted, as RFC 6040 figure 4 and the kernel's INET_ECN_decapsulate do:
//
//	inner    │ outer Not-ECT  ECT(0)   ECT(1)   CE
//	─────────┼──────────────────────────────────────
//	Not-ECT  │ Not-ECT        Not-ECT  Not-ECT  drop
//	ECT(0)   │ ECT(0)         ECT(0)   ECT(1)   CE
//	ECT(1)   │ ECT(1)         ECT(1)   ECT(1)   CE
//	CE       │ CE             CE       CE       CE
//
// p is changed in place, and its IPv4 header checksum with it. Nothing is
// changed when the result is ECNNotECT.
func DecapECN(p []byte, outer uint8) Drop {
	inner := ECN(p)
	switch outer & ecnMask {
	case ecnCE:
		if inner == ecnNotECT {
			return ECNNotECT
		}
		setECN(p, ecnCE)
	case ecnECT1:
		if inner == ecnECT0 {
			setECN(p, ecnECT1)
		}
	}
	return Delivered
}

// setECN sets p's ECN bits, and brings the IPv4 header checksum up to date by
// equation 3 of RFC 1624.
func setECN(p []byte, ecn uint8) {
	if p[0]>>4 == 6 {
		p[1] = p[1]&^(ecnMask<<4) | ecn<<4
		return
	}
	was := binary.BigEndian.Uint16(p)
	p[1] = p[1]&^ecnMask | ecn
	sum := uint32(^binary.BigEndian.Uint16(p[10:])) + uint32(^was) + uint32(binary.BigEndian.Uint16(p))
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum>>16+sum))
}
