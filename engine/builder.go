package engine

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"

	"weft/lease"
	"weft/tunnel"
)

// A builder makes tables. It remembers paths, so that what was learnt about
// them survives changes of the leases.
type builder struct {
	framings []*framing
	own      lease.Lease // our own
	mtu      int         // of the device, in bytes
	families [2]bool     // the outer families this node has
	outlets  []port      // of the present ends
	spans    [][2]span   // of outlets, by framing and family
	ways     map[end]way
}

// An end is where datagrams of a framing go.
type end struct {
	framing int
	outer   netip.Addr
}

// A way is what is kept of an end for as long as a lease names it.
type way struct {
	path *path
	addr *tunnel.Addr
}

func newBuilder(framings []*framing, own lease.Lease, mtu int, families [2]bool) *builder {
	return &builder{framings: framings, own: own, mtu: mtu, families: families,
		spans: make([][2]span, len(framings)), ways: map[end]way{}}
}

// build makes a table of leases. A lease that cannot be used, or not in full,
// is reported to refused.
func (b *builder) build(leases iter.Seq[lease.Lease], refused func(lease.Lease, error)) *table {
	t := &table{known: true, outers: map[netip.Addr]*peer{}, sealed: map[netip.Addr]bool{}, outlets: b.outlets,
		own: [2]netip.Prefix{b.own.Subnet, b.own.Subnet6}}
	for l := range leases {
		peers, err := b.compile(l)
		if err != nil {
			refused(l, err)
		}
		for i, subnet := range [...]netip.Prefix{l.Subnet, l.Subnet6} {
			p := peers[i]
			if p == nil {
				continue
			}
			if p.key == "" {
				p.key = wayKey(l, i == 1 && peers[0] != nil)
			}
			t.routes.Insert(subnet.Masked(), p)
			if i == 0 || p != peers[0] {
				t.add(p)
			}
		}
	}
	b.forget(t)
	return t
}

// wayKey names a way to the node that holds a lease: its only one or that for
// IPv4, or a second one that is for IPv6 alone.
func wayKey(l lease.Lease, second bool) string {
	if second {
		return l.Key() + " IPv6"
	}
	return l.Key()
}

// add gives p its run slots and its outer addresses a name.
func (t *table) add(p *peer) {
	if !p.sealed {
		p.slot = t.slots
		t.slots += p.out.n
		t.peers = append(t.peers, p)
	}
	for _, a := range [...]netip.Addr{p.outer, p.other} {
		switch {
		case !a.IsValid():
		case p.sealed:
			t.sealed[a] = true
		default:
			t.outers[a] = p
		}
	}
}

// framing returns what a lease asks to be spoken to in.
func (b *builder) framing(a lease.Attrs) (*framing, error) {
	for _, f := range b.framings {
		if f.speaks(a.BackendType) {
			return f, nil
		}
	}
	return nil, fmt.Errorf("BackendType: %q is not spoken here", a.BackendType)
}

// compile turns a lease into the peers for its IPv4 and its IPv6 subnet, which
// are one unless they are reached in different ways; nil where there is no such
// subnet or no way to it.
func (b *builder) compile(l lease.Lease) (peers [2]*peer, err error) {
	f, err := b.framing(l.Attrs)
	switch {
	case err != nil && l.Attrs.Sealed():
		return b.seal(l)
	case err != nil:
		return peers, err
	}
	var errs [2]error
	if l.Subnet.IsValid() {
		peers[0], errs[0] = b.peer(f, l, 0)
	}
	switch {
	case l.Subnet6.IsValid() && !f.split && l.Subnet.IsValid():
		peers[1] = peers[0]
	case l.Subnet6.IsValid():
		peers[1], errs[1] = b.peer(f, l, 1)
	}
	return peers, errors.Join(errs[0], errs[1])
}

// seal makes the sealed peer of a lease. Only its addresses are looked at: it is
// sealed whatever else the lease says or fails to say. The error tells that it is
// out of reach.
func (b *builder) seal(l lease.Lease) (peers [2]*peer, err error) {
	addrs := outers(l.Attrs)
	p := &peer{lease: l, outer: addrs[0], other: addrs[1], path: &path{}, sealed: true}
	for i, subnet := range [...]netip.Prefix{l.Subnet, l.Subnet6} {
		if subnet.IsValid() {
			peers[i] = p
		}
	}
	return peers, fmt.Errorf("BackendType: %q: this node speaks %s and sends it nothing in the clear",
		l.Attrs.BackendType, b.framings[0].kind)
}

// peer makes the peer for l's inner packets of a family.
func (b *builder) peer(f *framing, l lease.Lease, inner int) (*peer, error) {
	prefix, err := f.codec.Prefix(l, [...]uint8{4, 6}[inner])
	if err != nil {
		return nil, err
	}
	addrs, family := b.reach(f, l.Attrs, inner)
	p := &peer{lease: l, framing: f, outer: addrs[family], other: addrs[1-family], family: family, prefix: prefix}
	if !p.outer.IsValid() {
		return nil, errNoAddress
	}
	if p.out = b.spans[f.id][family]; p.out.n == 0 {
		p.path, err = &path{}, errNoPort
		return p, err
	}
	at := end{f.id, p.outer}
	w, ok := b.ways[at]
	if !ok {
		w = way{path: &path{}, addr: tunnel.NewAddr(netip.AddrPortFrom(p.outer, f.port))}
		if limit := f.inner[family]; limit < b.mtu {
			w.path.bound = int32(limit)
			w.path.limit()
		}
		b.ways[at] = w
	}
	p.path, p.addr = w.path, w.addr
	return p, nil
}

// reach chooses the outer family for inner packets of a family: IPv4 where both
// ends have it, but for a framing that keeps the families apart the inner one,
// unless the peer has no such address: a kernel peer has, and listens there only.
func (b *builder) reach(f *framing, a lease.Attrs, inner int) (addrs [2]netip.Addr, family int) {
	addrs = outers(a)
	if f.split {
		family = inner
	}
	usable := func(i int) bool { return addrs[i].IsValid() && b.families[i] }
	if !usable(family) && (usable(1-family) && !f.split || !addrs[family].IsValid()) {
		family = 1 - family
	}
	return addrs, family
}

// outers returns the outer addresses of a node, IPv4 and IPv6, as far as it has
// them.
func outers(a lease.Attrs) (addrs [2]netip.Addr) {
	for i, x := range [...]netip.Addr{a.PublicIP, a.PublicIPv6} {
		if x.IsValid() && !x.IsUnspecified() {
			addrs[i] = x
		}
	}
	return addrs
}

// forget drops what is known of ends that no peer of t has.
func (b *builder) forget(t *table) {
	used := make(map[end]bool, len(t.peers))
	for _, p := range t.peers {
		used[end{p.framing.id, p.outer}] = true
	}
	for at := range b.ways {
		if !used[at] {
			delete(b.ways, at)
		}
	}
}
