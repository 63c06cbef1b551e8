package filter

import "net/netip"

// An op is how an instruction gets its number from a packet. A load beyond the
// bytes that there are ends the program.
type op uint8

const (
	opByte     op = iota // the byte at off
	opHalf               // the two bytes at off
	opWord               // the four bytes at off
	opHasPorts           // whether the byte at off is TCP's, UDP's or SCTP's number
	opLen                // the packet's length on the wire
	opRelation           // whether rel holds
	opChain              // whether an IP header, or an extension header, says protocol off
	opIn                 // whether the packet came from the wire
	opVNI                // the network's number, noVNI if there is none
	opDrop               // whether the verdict is in set
	opPeer               // whether prefix, one address, is the other node's
	opLease              // whether prefix overlaps the other node's lease
)

// noVNI is no network's number: those have 24 bits.
const noVNI = 1<<32 - 1

// A test tells whether low ≤ number&mask ≤ low+span.
type test struct {
	op        op
	outer     bool   // look at the outer packet
	after     bool   // off counts from the end of the IPv4 header
	off       uint32 // bytes
	mask      uint32
	low, span uint32
	set       uint64 // bit n for encap.Drop(n)
	rel       *relation
	prefix    *netip.Prefix
}

// steps counts what the test costs, one for what is of an instruction's size.
func (t *test) steps() int {
	switch t.op {
	case opRelation:
		return 1 + len(t.rel.code)
	case opChain:
		return maxHeaders
	}
	return 1
}

// An insn is a test and the places in the program to go on from, or accept or
// reject.
type insn struct {
	test
	yes, no int32
}

// The ends of a program.
const (
	accept  int32 = -1 - iota
	reject        // the expression is false
	aborted       // a load beyond the packet
)

// A node is an expression's tree.
type node struct {
	kind nodeKind
	a, b *node // of a not, only a
	test test

	// The versions that the inner and the outer packet may have where the node
	// is true, and where it is false.
	ifTrue, ifFalse versions
}

// versions are sets of IP versions, of the inner and of the outer packet. A set
// that is not whole tells that the version was looked at, so that it is there and
// need not be looked at again.
type versions [2]uint8

const (
	version4 = 1 << iota
	version6
	versionOther
	versionAny = version4 | version6 | versionOther
)

var anyVersions = versions{versionAny, versionAny}

func (v versions) and(w versions) versions { return versions{v[0] & w[0], v[1] & w[1]} }
func (v versions) or(w versions) versions  { return versions{v[0] | w[0], v[1] | w[1]} }

type nodeKind uint8

const (
	nodeTest nodeKind = iota
	nodeAnd
	nodeOr
	nodeNot
	nodeNever
)

var neverNode = &node{kind: nodeNever, ifFalse: anyVersions}

func leaf(t test) *node {
	n := &node{test: t, ifTrue: anyVersions, ifFalse: anyVersions}
	if v := t.version(); v != 0 {
		n.ifTrue[truth(t.outer)] = v
		n.ifFalse[truth(t.outer)] = versionAny &^ v
	}
	return n
}

// version returns the version that t tests for, or 0 if t is another test.
func (t *test) version() uint8 {
	switch {
	case t.op != opByte || t.off != 0 || t.after || t.mask != 0xf0 || t.span != 0:
		return 0
	case t.low == 0x40:
		return version4
	case t.low == 0x60:
		return version6
	}
	return 0
}

// and returns the conjunction of nodes, from left to right; nil nodes are left out.
func and(nodes ...*node) *node { return join(nodeAnd, nodes) }

// or returns the disjunction of nodes, from left to right.
func or(nodes ...*node) *node { return join(nodeOr, nodes) }

func not(n *node) *node {
	return &node{kind: nodeNot, a: n, ifTrue: n.ifFalse, ifFalse: n.ifTrue}
}

func join(kind nodeKind, nodes []*node) *node {
	var all *node
	for _, n := range nodes {
		switch {
		case n == nil:
		case all == nil:
			all = n
		default:
			all = pair(kind, all, n)
		}
	}
	return all
}

func pair(kind nodeKind, a, b *node) *node {
	n := &node{kind: kind, a: a, b: b}
	if kind == nodeAnd {
		n.ifTrue = a.ifTrue.and(b.ifTrue)
		n.ifFalse = a.ifFalse.or(a.ifTrue.and(b.ifFalse))
	} else {
		n.ifTrue = a.ifTrue.or(a.ifFalse.and(b.ifTrue))
		n.ifFalse = a.ifFalse.and(b.ifFalse)
	}
	return n
}

// emit appends n's code to f, from its end to its beginning, and returns where
// it begins. It goes on at yes if n is true and at no if it is false. The packet
// is known to have one of some versions.
func (f *Filter) emit(n *node, yes, no int32, known versions) int32 {
	switch n.kind {
	case nodeAnd:
		return f.emit(n.a, f.emit(n.b, yes, no, known.and(n.a.ifTrue)), no, known)
	case nodeOr:
		return f.emit(n.a, yes, f.emit(n.b, yes, no, known.and(n.a.ifFalse)), known)
	case nodeNot:
		return f.emit(n.a, no, yes, known)
	case nodeNever:
		return no
	}
	if v := n.test.version(); v != 0 {
		switch known[truth(n.test.outer)] {
		case v:
			return yes
		case known[truth(n.test.outer)] &^ v:
			return no
		}
	}
	f.outer = f.outer || n.test.outer
	f.nodes = f.nodes || n.test.op == opPeer || n.test.op == opLease
	f.prog = append(f.prog, insn{n.test, yes, no})
	return int32(len(f.prog) - 1)
}
