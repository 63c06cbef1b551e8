package engine

import (
	"iter"
	"net/netip"
	"sync/atomic"

	"github.com/gaissmai/bart"

	"weft/encap"
	"weft/lease"
	"weft/tunnel"
)

// A peer is a remote node compiled for the hot path. It is immutable but for
// its path, which lives longer than any one table.
type peer struct {
	id     int // index in table.peers
	lease  lease.Lease
	outer  netip.Addr   // where its datagrams come from
	addr   *tunnel.Addr // where its datagrams go
	port   int          // which of the ports: 0 IPv4, 1 IPv6; noPort
	prefix []byte       // the encapsulation's bytes in front of each packet
	path   *path
}

// noPort is the port of a peer whose address is of a family that this node does
// not use. Its subnet is known, its packets have nowhere to go.
const noPort = -1

// A path is what was learnt about the way to an outer address.
type path struct {
	inner atomic.Int32 // longest inner packet that fits, in bytes; 0: no limit known
}

// A table is a snapshot of the cluster: who owns which inner addresses.
type table struct {
	known  bool // made from a listing; before the first one, silence means nothing
	routes bart.Fast[*peer]
	peers  []*peer
	outers map[netip.Addr]bool // every outer address that holds a lease
	own    [2]netip.Prefix     // our own subnets, IPv4 and IPv6
}

// lookup returns the peer that owns the inner address a, or nil.
func (t *table) lookup(a netip.Addr) *peer {
	p, _ := t.routes.Lookup(a)
	return p
}

// owns tells whether a is in our own subnets.
func (t *table) owns(a netip.Addr) bool {
	if a.Is4() {
		return t.own[0].Contains(a)
	}
	return t.own[1].Contains(a)
}

// A builder makes tables. It remembers paths by outer address, so that what
// was learnt about a path survives changes of the leases.
type builder struct {
	codec encap.Encapsulator
	udp   uint16               // the peers' UDP port
	own   lease.Lease          // our own
	ports [2]bool              // which families have a port here
	limit [2]int               // longest inner packet by family; 0: the device's MTU holds
	paths map[netip.Addr]*path // by outer address
	addrs map[netip.Addr]*tunnel.Addr
}

func newBuilder(codec encap.Encapsulator, port uint16, own lease.Lease, ports [2]bool) *builder {
	return &builder{codec: codec, udp: port, own: own, ports: ports,
		paths: map[netip.Addr]*path{}, addrs: map[netip.Addr]*tunnel.Addr{}}
}

// build makes a table of leases. A lease that cannot be used is reported to
// refused.
func (b *builder) build(leases iter.Seq[lease.Lease], refused func(lease.Lease, error)) *table {
	t := &table{known: true, outers: map[netip.Addr]bool{}, own: [2]netip.Prefix{b.own.Subnet, b.own.Subnet6}}
	for l := range leases {
		p, err := b.compile(l)
		if err != nil {
			refused(l, err)
		}
		if p == nil {
			continue
		}
		p.id = len(t.peers)
		t.peers = append(t.peers, p)
		t.outers[p.outer] = true
		for _, subnet := range [...]netip.Prefix{l.Subnet, l.Subnet6} {
			if subnet.IsValid() {
				t.routes.Insert(subnet.Masked(), p)
			}
		}
	}
	b.forget(t)
	return t
}

// compile turns a lease into a peer; nil if that makes no sense. Its IPv4 address is preferred outside;
// its IPv6 address is used when it has no other or we have no IPv4 port.
func (b *builder) compile(l lease.Lease) (*peer, error) {
	prefix, err := b.codec.Prefix(l)
	if err != nil {
		return nil, err
	}
	outer, port := l.Attrs.PublicIP, 0
	if !outer.IsValid() || outer.IsUnspecified() || (!b.ports[0] && l.Attrs.PublicIPv6.IsValid()) {
		outer, port = l.Attrs.PublicIPv6, 1
	}
	if !outer.IsValid() {
		return nil, errNoAddress
	}
	if !b.ports[port] {
		return &peer{lease: l, outer: outer, port: noPort, path: &path{}}, errNoPort
	}
	p := &peer{lease: l, outer: outer, port: port, prefix: prefix, path: b.paths[outer], addr: b.addrs[outer]}
	if p.path == nil {
		p.path = &path{}
		p.path.inner.Store(int32(b.limit[port]))
		b.paths[outer] = p.path
		p.addr = tunnel.NewAddr(netip.AddrPortFrom(outer, b.udp))
		b.addrs[outer] = p.addr
	}
	return p, nil
}

// forget drops what is known of addresses that t no longer has.
func (b *builder) forget(t *table) {
	for a := range b.paths {
		if !t.outers[a] {
			delete(b.paths, a)
			delete(b.addrs, a)
		}
	}
}
