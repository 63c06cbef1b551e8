package encap

import (
	"encoding/binary"
	"math/bits"
)

// More IP protocol numbers whose headers begin with two ports (IANA).
const (
	protoDCCP    = 33
	protoSCTP    = 132
	protoUDPLite = 136
)

// Odd numbers without structure: the fractions of the square roots of 3, 7, 11,
// 13 and 17 (FIPS 180-4 sections 5.3.3 and 5.3.5).
const (
	mix0 = 0xbb67ae8584caa73b
	mix1 = 0xa54ff53a5f1d36f1
	mix2 = 0x510e527fade682d1
	mix3 = 0x9b05688c2b3e6c1f
	mix4 = 0x1f83d9abfb41bd6b
)

// FlowHash gives all packets of a flow the same number, and different flows
// numbers that differ in every bit half of the time, so that any few of its
// bits choose an outer source port by which routers and network cards tell
// flows apart (RFC 7348 section 5). h is p's header as [Parse] gave it. A
// superpacket has the number of the packets that it stands for.
//
// A flow is the addresses, the protocol and, where the protocol has them, the
// ports, in one direction. Fragments have no ports here, not even the first,
// so that all of a packet go the same way. The IPv6 flow label is left out:
// Linux gives a connection another one after a timeout, and a port that
// changed then would let packets overtake each other.
//
// The hash has no secret: who chooses addresses and ports to meet in one
// outer port harms only the spreading of his own flows.
func FlowHash(p []byte, h *Header) uint32 {
	last := uint64(h.Proto)
	if !h.Frag && hasPorts(h.Proto) && h.L4+4 <= h.Len {
		last |= uint64(binary.BigEndian.Uint32(p[h.L4:])) << 8
	}
	var addrs uint64
	if h.Version == 4 {
		addrs = binary.BigEndian.Uint64(p[12:])
	} else {
		q := (*[40]byte)(p)
		addrs = mix(binary.BigEndian.Uint64(q[8:])^mix1, binary.BigEndian.Uint64(q[16:])^mix2) +
			mix(binary.BigEndian.Uint64(q[24:])^mix3, binary.BigEndian.Uint64(q[32:])^mix4)
	}
	x := mix(mix(addrs^mix1, last^mix2), mix0)
	return uint32(x >> 32)
}

// mix multiplies to 128 bits and folds them: each bit of the result depends on
// many of a and b.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func hasPorts(proto uint8) bool {
	switch proto {
	case protoTCP, protoUDP, protoDCCP, protoSCTP, protoUDPLite:
		return true
	}
	return false
}
