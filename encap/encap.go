package encap

import "weft/lease"

// An Encapsulator knows the bytes that stand in front of an inner packet in a
// datagram. It holds no sockets and no state that changes: one value serves
// all workers at once.
type Encapsulator interface {
	// Overhead is the number of bytes in front of the inner packet; outer IP
	// and UDP headers are not counted.
	Overhead() int
	// Prefix compiles a lease into the Overhead bytes that stand in front of
	// each inner packet of an IP version, 4 or 6, for that peer. Errors name
	// the field of the lease that is wrong.
	Prefix(l lease.Lease, version uint8) ([]byte, error)
	// Open returns the inner packet of a datagram, or why there is none.
	Open(datagram []byte) ([]byte, Drop)
	// Routes tells whether the tunnel is a router hop: then the TTL is taken
	// down on the way up and again on the way down.
	Routes() bool
	// ECN tells whether the outer header bears the inner one's congestion
	// bits, and gives them back (RFC 6040 normal mode). If not, the outer
	// header says that it cannot (compatibility mode).
	ECN() bool
}
