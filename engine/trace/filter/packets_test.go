package filter

import (
	"encoding/binary"
	"math/rand/v2"
)

// Few addresses and ports, so that packets and expressions meet.
var (
	someV4 = []uint32{0x0af40102, 0x0af40103, 0x0af40202, 0xc0a80001, 0, 0xffffffff, 0xe0000001}
	someV6 = []string{
		"\xfd\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02",
		"\xfd\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x02",
		"\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
		"\xff\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
	}
	somePorts = []uint16{20, 21, 22, 53, 80, 443, 8080, 0, 65535}
	someProto = []byte{1, 2, 6, 6, 6, 17, 17, 17, 47, 50, 51, 58, 132}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// randomPacket makes a packet, whole or broken, and the length it had on the
// wire, which may be more than its bytes.
func randomPacket(r *rand.Rand) (b []byte, length int) {
	if r.IntN(2) == 0 {
		b = randomV4(r)
	} else {
		b = randomV6(r)
	}
	length = len(b)
	switch r.IntN(8) {
	case 0: // its first bytes
		b = b[:r.IntN(len(b)+1)]
	case 1: // cut short, and nobody knows
		b = b[:r.IntN(len(b)+1)]
		length = len(b)
	case 2: // broken
		for range 1 + r.IntN(4) {
			b[r.IntN(min(len(b), 64))] = byte(r.Uint32())
		}
	case 3:
		b[0] = b[0]&15 | byte(r.IntN(16))<<4
	}
	return b, length
}

func randomV4(r *rand.Rand) []byte {
	words := 5
	if r.IntN(4) == 0 {
		words = r.IntN(16)
	}
	proto := pick(r, someProto)
	b := make([]byte, max(words*4, 20))
	b[0] = 0x40 | byte(words)
	binary.BigEndian.PutUint16(b[4:], uint16(r.Uint32()))
	switch r.IntN(6) {
	case 0:
		binary.BigEndian.PutUint16(b[6:], uint16(r.Uint32()))
	case 1:
		b[6] = 0x20 // more fragments
	}
	b[8], b[9] = 64, proto
	binary.BigEndian.PutUint32(b[12:], pick(r, someV4))
	binary.BigEndian.PutUint32(b[16:], pick(r, someV4))
	b = append(b, randomPayload(r, proto)...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

func randomV6(r *rand.Rand) []byte {
	b := make([]byte, 40)
	b[0], b[7] = 0x60, 64
	copy(b[8:], pick(r, someV6))
	copy(b[24:], pick(r, someV6))
	next := &b[6]
	for r.IntN(4) == 0 {
		*next = pick(r, []byte{hopByHop, routing, protoFrag, authenticate, destination})
		units := r.IntN(3)
		size := (units + 1) * 8
		switch *next {
		case protoFrag:
			units, size = 0, 8
		case authenticate:
			units, size = 4, 24
		}
		at := len(b)
		b = append(b, make([]byte, size)...)
		b[at+1] = byte(units)
		next = &b[at]
	}
	*next = pick(r, someProto)
	b = append(b, randomPayload(r, *next)...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	return b
}

// randomPayload makes a header that may be taken for any protocol's.
func randomPayload(r *rand.Rand, proto byte) []byte {
	b := make([]byte, 20+r.IntN(60))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	if proto == 1 || proto == 58 {
		b[0] = pick(r, []byte{0, 3, 8, 128, 129, 135})
		return b
	}
	binary.BigEndian.PutUint16(b, pick(r, somePorts))
	binary.BigEndian.PutUint16(b[2:], pick(r, somePorts))
	b[12] = 5 << 4
	return b[:r.IntN(len(b)+1)]
}
