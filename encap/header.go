package encap

import (
	"encoding/binary"
	"net/netip"
)

// IP protocol numbers used here (IANA).
const (
	protoHopOpts  = 0
	protoICMP     = 1
	protoTCP      = 6
	protoUDP      = 17
	protoRouting  = 43
	protoFragment = 44
	protoICMPv6   = 58
	protoDstOpts  = 60
)

// Header is what the data plane needs to know of an inner packet. It is
// filled by [Parse] and holds offsets into the packet, never copies.
type Header struct {
	Version uint8 // 4 or 6
	Proto   uint8 // of the bytes at L4; for IPv6 after the extension headers
	Frag    bool  // one fragment of a packet; L4 is then only right for the first
	Later   bool  // not the first fragment: there is no L4 header at L4
	L4      int   // offset of the transport header; equal to Len when there is none
	Len     int   // bytes of the packet as its IP header says; ≤ len of the slice
}

// Parse reads the IP header of p. What follows the packet in p (padding of a
// short Ethernet frame) is tolerated: Len tells where the packet ends. A
// packet that is shorter than its header says is refused.
func Parse(p []byte) (Header, Drop) {
	if len(p) < 20 {
		return Header{}, Runt
	}
	switch p[0] >> 4 {
	case 4:
		return parse4(p)
	case 6:
		return parse6(p)
	}
	return Header{}, NotIP
}

func parse4(p []byte) (Header, Drop) {
	ihl := int(p[0]&15) * 4
	n := int(binary.BigEndian.Uint16(p[2:]))
	if ihl < 20 || n < ihl {
		return Header{}, BadIPHeader
	}
	if n > len(p) {
		return Header{}, IPLenMismatch
	}
	frag := binary.BigEndian.Uint16(p[6:])
	return Header{Version: 4, Proto: p[9], L4: ihl, Len: n,
		Frag: frag&0x3fff != 0, Later: frag&0x1fff != 0}, Delivered
}

// maxExtensions bounds the walk over IPv6 extension headers.
const maxExtensions = 8

func parse6(p []byte) (Header, Drop) {
	if len(p) < 40 {
		return Header{}, Runt
	}
	n := 40 + int(binary.BigEndian.Uint16(p[4:]))
	if n > len(p) {
		return Header{}, IPLenMismatch
	}
	h := Header{Version: 6, Proto: p[6], L4: 40, Len: n}
	for range maxExtensions + 1 {
		var size int
		switch h.Proto {
		case protoHopOpts, protoRouting, protoDstOpts:
			if h.L4+8 > n {
				return Header{}, BadIPHeader
			}
			size = 8 + int(p[h.L4+1])*8
		case protoFragment:
			if h.L4+8 > n {
				return Header{}, BadIPHeader
			}
			size = 8
			h.Frag = true
			h.Later = binary.BigEndian.Uint16(p[h.L4+2:])&0xfff8 != 0
		default:
			return h, Delivered
		}
		if h.L4+size > n {
			return Header{}, BadIPHeader
		}
		h.Proto = p[h.L4]
		h.L4 += size
		if h.Later {
			return h, Delivered // what follows is payload, not a header
		}
	}
	return Header{}, BadIPHeader
}

// Src and Dst return the packet's addresses.
func (h *Header) Src(p []byte) netip.Addr { return h.addr(p, 12, 8) }

// Dst returns the packet's destination address.
func (h *Header) Dst(p []byte) netip.Addr { return h.addr(p, 16, 24) }

func (h *Header) addr(p []byte, at4, at6 int) netip.Addr {
	if h.Version == 4 {
		return netip.AddrFrom4([4]byte(p[at4:]))
	}
	return netip.AddrFrom16([16]byte(p[at6:]))
}

// DF tells whether the packet must not be fragmented on its way: IPv4 with
// the DF bit, and IPv6 always.
func (h *Header) DF(p []byte) bool { return h.Version == 6 || p[6]&0x40 != 0 }

// DecrementTTL takes one off the TTL or hop limit and keeps the IPv4 header
// checksum right (RFC 1624). It reports false, and leaves p alone, when the
// packet may go no further: a router must not forward a packet that arrives
// with 0 or 1.
func DecrementTTL(p []byte) bool {
	if p[0]>>4 == 6 {
		if p[7] <= 1 {
			return false
		}
		p[7]--
		return true
	}
	if p[8] <= 1 {
		return false
	}
	p[8]--
	// The TTL is the high byte of its word, so the sum grows by 0x0100 with
	// the carry going round the end.
	s := uint32(binary.BigEndian.Uint16(p[10:])) + 0x0100
	binary.BigEndian.PutUint16(p[10:], uint16(s+s>>16))
	return true
}
