package encap

import "weft/lease"

// UDP is flannel's udp encapsulation: the datagram is the inner packet,
// nothing stands in front of it. Both ends use the same port, 8285 unless the
// network configuration says otherwise.
//
//	+----------+-----------+-------------------------+
//	| outer IP | outer UDP | inner IPv4 or IPv6      |
//	+----------+-----------+-------------------------+
//
// Overhead with IPv4 outside: 28 bytes, with IPv6 outside 48. flannel's own
// proxy carries IPv4 only and takes one off the TTL on each side of the
// tunnel (pkg/backend/udp/proxy_amd64.c); so does weft, which makes a weft
// node count as the same two hops for traceroute.
type UDP struct{}

// Overhead is 0.
func (UDP) Overhead() int { return 0 }

// Prefix is empty for every peer.
func (UDP) Prefix(lease.Lease, uint8) ([]byte, error) { return nil, nil }

// Open returns the datagram itself.
func (UDP) Open(d []byte) ([]byte, Drop) { return d, Delivered }

// Routes reports true.
func (UDP) Routes() bool { return true }

// ECN reports false: flannel's proxy does not look at the outer header.
func (UDP) ECN() bool { return false }
