package wg

import "encoding/binary"

// A note is what an end writes behind a packet in the device's buffer, for the
// other end to read.
type note struct {
	ord  uint64 // inward: the datagram's number in its session, from 1
	lane uint32 // outward: the peer, see Lane; 0: none
	ecn  uint8  // congestion bits of the outer header (RFC 3168)
}

// Overhead is what WireGuard adds to a packet: header and tag (whitepaper,
// section 5.4.6), in bytes, besides padding.
const Overhead = headerBytes + tagBytes

const (
	noteBytes   = 16
	headerBytes = 16
	tagBytes    = 16
)

// notePlace is where notes stand for a device with that MTU: in the next cache
// line behind the longest datagram that peers with the same MTU send.
func notePlace(mtu int) int { return min((mtu+Overhead+63)&^63, maxMessage-noteBytes) }

// put writes n into the buffer behind b, which begins where the buffer does
// and holds a datagram of size bytes. A datagram that is longer than ours are
// has its note at the very end; one that leaves no room has none.
func (n *note) put(b []byte, at, size int) {
	b = b[:cap(b)]
	if size > at {
		at = len(b) - noteBytes
	}
	if at < size || at+noteBytes > len(b) {
		return
	}
	b = b[at : at+noteBytes]
	binary.LittleEndian.PutUint64(b, n.ord)
	binary.LittleEndian.PutUint32(b[8:], n.lane)
	b[12] = n.ecn
}

// mark marks congestion in place of a drop, if the packet's ends understand
// that (RFC 3168), and tells whether they do.
func (n *note) mark() bool {
	if n.ecn == 0 {
		return false
	}
	n.ecn = 3
	return true
}

// noteOf reads the note behind b at the place at; size is how many bytes the
// datagram has at least. Whether there ever was one is for the reader to tell:
// numbers that make no sense come from elsewhere.
func noteOf(b []byte, at, size int) note {
	b = b[:cap(b)]
	if size > at {
		at = len(b) - noteBytes
	}
	if at < size || at+noteBytes > len(b) {
		return note{}
	}
	b = b[at : at+noteBytes]
	return note{ord: binary.LittleEndian.Uint64(b), lane: binary.LittleEndian.Uint32(b[8:]), ecn: b[12] & 3}
}
