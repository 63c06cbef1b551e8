package filter

import (
	"net/netip"

	"weft/encap"
)

// from is the test of whether a packet came from the wire, or from a pod.
func (q *qualifiers) from(wire bool) *node {
	return leaf(test{op: opIn, mask: 1, low: truth(wire)})
}

// dir is the value of "dir".
func (p *parser) dir() (*node, error) {
	t := p.next()
	q := qualifiers{}
	switch t.text {
	case "in":
		return q.from(true), nil
	case "out":
		return q.from(false), nil
	}
	return nil, t.errorf("want in (from the wire) or out (from a pod)")
}

// vni is a network's number.
func (p *parser) vni() (*node, error) {
	t := p.next()
	if t.kind != tokNumber || t.num >= 1<<24 {
		return nil, t.errorf("want a network's number, up to %d", 1<<24-1)
	}
	return leaf(test{op: opVNI, mask: 1<<32 - 1, low: t.num}), nil
}

// drop is "drop", or "drop" and reasons.
func (p *parser) drop() (*node, qualifiers, error) {
	p.next()
	t := p.peek()
	if t.kind == tokEnd || t.is("and") || t.is("or") || t.is("!") || t.is(")") {
		return dropNode(^uint64(1 << encap.Delivered)), qualifiers{}, nil
	}
	q := qualifiers{outer: p.outer, kind: kindDrop}
	n, err := p.id(q)
	return n, q, err
}

func dropNode(set uint64) *node {
	return leaf(test{op: opDrop, set: set, mask: 1, low: 1})
}

// reason is the name of a reason for a drop.
func (p *parser) reason() (*node, error) {
	t := p.next()
	if t.kind != tokName && t.kind != tokWord {
		return nil, t.errorf("want the name of a reason, such as %s", encap.NoRoute)
	}
	if d := dropNamed(t.text); d != encap.Delivered {
		return dropNode(1 << d), nil
	}
	if t.text == encap.Delivered.String() {
		return nil, t.errorf("this is no reason for a drop; say not drop")
	}
	return nil, t.errorf("no packet is dropped for this reason; is it %s?", nearest(t.text, Drops()))
}

// dropNamed returns the reason with a name, or Delivered if none has it.
func dropNamed(name string) encap.Drop {
	for d := encap.Delivered + 1; d < encap.NumDrops; d++ {
		if d.String() == name {
			return d
		}
	}
	return encap.Delivered
}

// Drops returns the names that may stand after "drop".
func Drops() []string {
	var names []string
	for d := encap.Delivered + 1; d < encap.NumDrops; d++ {
		names = append(names, d.String())
	}
	return names
}

// node is the value of "peer", an address, and of "lease", an address or a network.
func (p *parser) node(q qualifiers) (*node, error) {
	t := p.next()
	addr, err := t.address()
	if err != nil {
		return nil, err
	}
	bits := addr.BitLen()
	if slash := p.peek(); p.accept("/") {
		if q.kind == kindPeer {
			return nil, slash.errorf("peer takes an address; say lease for a network")
		}
		n, err := p.bits(uint32(bits))
		if err != nil {
			return nil, err
		}
		bits = int(n)
	}
	prefix := netip.PrefixFrom(addr, bits).Masked()
	n := leaf(test{op: opLease, prefix: &prefix, mask: 1, low: 1})
	if q.kind == kindPeer {
		n.test.op = opPeer
	}
	return n, nil
}

// address is a whole IPv4 or IPv6 address.
func (t *token) address() (netip.Addr, error) {
	if t.kind == tokIPv4 || t.kind == tokIPv6 {
		if addr, err := netip.ParseAddr(t.text); err == nil {
			return addr.Unmap(), nil
		}
	}
	if t.kind == tokName {
		return netip.Addr{}, t.errorf("want an address; names are not looked up")
	}
	return netip.Addr{}, t.errorf("want a whole IPv4 or IPv6 address")
}
