package probe

import (
	"encoding/binary"
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
)

// A sealer recognises what this process sent when it comes back. A token is 64
// random bits that nobody can guess; that alone makes an answer believable. The
// seal over token, addresses and size tells without a lock or a look at any
// table that a packet is ours, also when it comes too late to matter; it is a
// keyed hash but no cryptographic one, and need not be.
type sealer struct{ seed maphash.Seed }

func newSealer() sealer { return sealer{maphash.MakeSeed()} }

// A mark is a token and its seal, as messages bear them.
type mark struct{ token, seal uint64 }

const markSize = 16

// What a mark is for; another use has another seal.
const (
	forEcho = iota + 1
	forQuery
	forUnderlay // and the form
)

func (s sealer) mark(use uint8, src, dst netip.Addr, size int) mark {
	m := mark{token: rand.Uint64()}
	m.seal = s.seal(m.token, use, src, dst, size)
	return m
}

// made tells whether m is our mark for a message from src to dst.
func (s sealer) made(m mark, use uint8, src, dst netip.Addr, size int) bool {
	return m.seal == s.seal(m.token, use, src, dst, size)
}

func (s sealer) seal(token uint64, use uint8, src, dst netip.Addr, size int) uint64 {
	var b [8 + 2*16 + 4 + 1]byte
	binary.BigEndian.PutUint64(b[0:], token)
	put16(b[8:], src)
	put16(b[24:], dst)
	binary.BigEndian.PutUint32(b[40:], uint32(size))
	b[44] = use
	return maphash.Bytes(s.seed, b[:])
}

func (m mark) put(b []byte) {
	binary.BigEndian.PutUint64(b, m.token)
	binary.BigEndian.PutUint64(b[8:], m.seal)
}

func getMark(b []byte) mark {
	return mark{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

// put16 writes an address into 16 bytes, IPv4 as ::ffff:a.b.c.d; none is all zero.
func put16(b []byte, a netip.Addr) {
	if !a.IsValid() {
		clear(b[:16])
		return
	}
	v := a.As16()
	copy(b, v[:])
}

func get16(b []byte) netip.Addr {
	a := netip.AddrFrom16([16]byte(b)).Unmap()
	if a == netip.IPv6Unspecified() {
		return netip.Addr{}
	}
	return a
}

// A noise is a stream of bytes that no link compresses and that looks like
// nothing in particular: splitmix64, of which every state is in order.
type noise uint64

func (n *noise) next() uint64 {
	*n += 0x9e3779b97f4a7c15
	z := uint64(*n)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (n *noise) fill(b []byte) {
	for len(b) >= 8 {
		binary.BigEndian.PutUint64(b, n.next())
		b = b[8:]
	}
	if len(b) > 0 {
		var last [8]byte
		binary.BigEndian.PutUint64(last[:], n.next())
		copy(b, last[:])
	}
}
