package filter

import (
	"encoding/binary"
	"net/netip"

	"weft/encap"
)

// run interprets the program and returns how it ended. The loads are written out,
// for time: this loop is what a trace costs each packet that it does not show.
func (f *Filter) run(p *Packet) int32 {
	prog, pc := f.prog, f.start
	for uint(pc) < uint(len(prog)) {
		in := &prog[pc]
		b := p.Inner
		if in.outer {
			b = p.Outer
		}
		at := uint64(in.off)
		if in.after {
			if len(b) == 0 {
				return aborted
			}
			at += headerLen(b)
		}
		var v uint32
		switch in.op {
		case opByte:
			if at >= uint64(len(b)) {
				return aborted
			}
			v = uint32(b[at])
		case opHalf:
			if at+2 > uint64(len(b)) {
				return aborted
			}
			v = uint32(binary.BigEndian.Uint16(b[at:]))
		case opWord:
			if at+4 > uint64(len(b)) {
				return aborted
			}
			v = binary.BigEndian.Uint32(b[at:])
		default:
			var ok bool
			if v, ok = in.rest(p, b); !ok {
				return aborted
			}
		}
		if v&in.mask-in.low <= in.span {
			pc = in.yes
		} else {
			pc = in.no
		}
	}
	return pc
}

// rest does what is rarer: b are the bytes that the test looks at.
func (t *test) rest(p *Packet, b []byte) (v uint32, ok bool) {
	n := p.InnerLen
	if t.outer {
		n = p.OuterLen
	}
	switch t.op {
	case opHasPorts:
		v, ok = load8(b, uint64(t.off))
		return truth(v == protoTCP || v == protoUDP || v == protoSCTP), ok
	case opLen:
		return uint32(n), true
	case opRelation:
		return t.rel.holds(b, uint32(n))
	case opChain:
		return t.chain(b)
	case opIn:
		return truth(p.In), true
	case opVNI:
		if !p.HasVNI {
			return noVNI, true
		}
		return p.VNI, true
	case opDrop:
		return truth(p.Drop < 64 && t.set>>p.Drop&1 != 0), true
	case opPeer:
		return truth(p.isPeer(t.prefix.Addr())), true
	default: // opLease
		return truth(t.prefix.Overlaps(p.Subnets[0]) || t.prefix.Overlaps(p.Subnets[1])), true
	}
}

// isPeer tells whether a is the other node's, or a pod's there.
func (p *Packet) isPeer(a netip.Addr) bool {
	return p.Remote.Unmap() == a || p.Other.Unmap() == a ||
		p.Subnets[0].Contains(a) || p.Subnets[1].Contains(a)
}

// Each reason for a drop has a bit in test.set.
var _ [64 - encap.NumDrops]struct{}

// headerLen is the length of the IPv4 header that b begins with; b is not empty.
func headerLen(b []byte) uint64 { return uint64(b[0]&15) * 4 }

func load8(b []byte, at uint64) (uint32, bool) {
	if at >= uint64(len(b)) {
		return 0, false
	}
	return uint32(b[at]), true
}

func load16(b []byte, at uint64) (uint32, bool) {
	if at+2 > uint64(len(b)) {
		return 0, false
	}
	return uint32(binary.BigEndian.Uint16(b[at:])), true
}

func load32(b []byte, at uint64) (uint32, bool) {
	if at+4 > uint64(len(b)) {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[at:]), true
}

func truth(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
