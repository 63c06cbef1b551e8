package encap

import (
	"encoding/binary"
	"math/bits"
)

// Sum adds b to a running Internet checksum (RFC 1071). The accumulator is 64
// bits wide and in the machine's byte order, as is what [Fold] makes of it:
// ones' complement addition does not care in which order bytes are paired as
// long as the result is stored in the same order ([putSum]). b must begin at
// an even offset of the checksummed data.
//
// One chain of add-with-carry consumes 8 bytes a cycle; 64 bytes a turn keep
// the loop's own cost out of sight.
func Sum(b []byte, acc uint64) uint64 {
	var c uint64
	for len(b) >= 64 {
		p := (*[64]byte)(b)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[0:]), 0)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[8:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[16:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[24:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[32:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[40:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[48:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[56:]), c)
		acc += c
		b = b[64:]
	}
	for len(b) >= 8 {
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(b), 0)
		acc += c
		b = b[8:]
	}
	if len(b) >= 4 { // an IPv4 header ends here
		acc, c = bits.Add64(acc, uint64(binary.NativeEndian.Uint32(b)), 0)
		acc += c
		b = b[4:]
	}
	if len(b) == 0 {
		return acc
	}
	var tail [8]byte
	copy(tail[:], b)
	acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(tail[:]), 0)
	return acc + c
}

// Fold reduces an accumulator to 16 bits, in the machine's byte order.
func Fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return uint16(acc>>16 + acc&0xffff)
}

// putSum stores a folded sum, and getSum reads one.
func putSum(b []byte, v uint16) { binary.NativeEndian.PutUint16(b, v) }
func getSum(b []byte) uint16    { return binary.NativeEndian.Uint16(b) }

// pseudo sums the pseudo header of TCP, UDP and ICMPv6 (RFC 793, 768, 8200)
// without the length: the addresses of p and the protocol.
func pseudo(p []byte, version, proto uint8) uint64 {
	acc := uint64(sum16(uint16(proto)))
	if version == 4 {
		return Sum(p[12:20], acc)
	}
	return Sum(p[8:40], acc)
}

// sum16 gives a 16-bit number in network byte order as a summand.
func sum16(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// setIPv4Sum computes the header checksum of the IPv4 header h.
func setIPv4Sum(h []byte) {
	putSum(h[10:], 0)
	putSum(h[10:], ^Fold(Sum(h, 0)))
}
