package engine

import (
	"net/netip"
	"sync/atomic"

	"github.com/gaissmai/bart"

	"weft/lease"
	"weft/tunnel"
)

// A peer is a remote node compiled for the hot path: where the packets for one
// of its subnets go, and what stands in front of them. It is immutable but for
// its path, which lives longer than any one table. A node whose subnets are
// reached in the same way is one peer.
//
// A sealed peer is one that encrypts while this node does not. It stands in the
// routes so that what is for its subnet and what claims to come from there is
// found and dropped; it has neither framing nor outlet, and is not among the
// table's peers.
type peer struct {
	lease   lease.Lease
	key     string // names it to the prober: its lease's key, with a mark if the lease has another peer
	framing *framing
	outer   netip.Addr   // where its datagrams go, and come from
	other   netip.Addr   // where they may come from as well: its address of the other family
	addr    *tunnel.Addr // outer and the framing's port
	family  int          // of outer: 0 IPv4, 1 IPv6
	out     span         // the outlets its flows are spread over; none: its packets have nowhere to go
	slot    int          // its first run slot; it has one for each outlet
	prefix  []byte       // the framing's bytes in front of each packet
	path    *path
	sealed  bool // nothing goes to it or comes from it in the clear
}

// A span is a part of a table's outlets. n is a power of two, or 0.
type span struct{ first, n int }

// A path is what was learnt about the way to an outer address, and what it was
// used for.
type path struct {
	inner atomic.Int32 // longest inner packet that fits, in bytes: the least of the next three; 0: no limit known

	bound  int32        // what the framing leaves of the underlay's MTU, if that is less than the device's; 0: it is not
	learnt atomic.Int32 // what the kernel was told by the network; 0: nothing
	probed atomic.Int32 // what the prober found; 0: nothing

	sent, got flow
	noted     uint64       // packets of got as hear saw them last
	heard     atomic.Int64 // when hear saw got grow last, nanoseconds since the Unix epoch; 0: never
}

// told is the longest inner packet that fits as far as the kernel knows, whatever
// the prober found; 0: no limit.
func (p *path) told() int {
	if learnt := p.learnt.Load(); learnt > 0 && (p.bound == 0 || learnt < p.bound) {
		return int(learnt)
	}
	return int(p.bound)
}

// limit makes inner the least of the limits there are, and returns it and
// whether it was another before.
func (p *path) limit() (inner int, changed bool) {
	least := p.bound
	for _, n := range [...]int32{p.learnt.Load(), p.probed.Load()} {
		if n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	return int(least), p.inner.Swap(least) != least
}

// A table is a snapshot of the cluster: who owns which inner addresses, and
// through which sockets they are reached.
type table struct {
	known   bool // made from a listing; before the first one, silence means nothing
	routes  bart.Fast[*peer]
	peers   []*peer
	outers  map[netip.Addr]*peer // every outer address that holds a lease and may speak in the clear, with one of its peers
	sealed  map[netip.Addr]bool  // every outer address of a sealed peer; what is in outers as well may speak
	own     [2]netip.Prefix      // our own subnets, IPv4 and IPv6
	outlets []port
	slots   int // run slots of all peers
}

// lookup returns the peer that owns the inner address a, or nil.
func (t *table) lookup(a netip.Addr) *peer {
	p, _ := t.routes.Lookup(a)
	return p
}

// reached returns those of the leases, which t was made of, that packets can be
// sent to.
func (t *table) reached(leases []lease.Lease) (out []lease.Lease) {
	peers := make(map[string]bool, len(t.peers))
	for _, p := range t.peers {
		if p.out.n > 0 {
			peers[p.lease.Key()] = true
		}
	}
	for _, l := range leases {
		if peers[l.Key()] {
			out = append(out, l)
		}
	}
	return out
}

// owns tells whether a is in our own subnets.
func (t *table) owns(a netip.Addr) bool { return holds(t.own, a) }

// sends tells whether a datagram from a can come from p.
func (p *peer) sends(a netip.Addr) bool { return p.outer == a || p.other == a }
