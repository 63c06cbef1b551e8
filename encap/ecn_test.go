package encap

import (
	"bytes"
	"slices"
	"testing"
)

// marked returns q's packet with the ECN bits ecn; its DSCP is all ones, so
// that a bit too many would show.
func (q packet) marked(ecn byte) []byte {
	q.tos = 0xfc | ecn
	return q.build()
}

func TestECN(t *testing.T) {
	for _, q := range []packet{tcp4, tcp4.six()} {
		for ecn := range byte(4) {
			for _, dscp := range []byte{0, 0xfc} {
				q.tos = dscp | ecn
				if got := ECN(q.build()); got != ecn {
					t.Errorf("IPv%d, traffic class %02x: %d", q.v, q.tos, got)
				}
			}
		}
	}
}

// RFC 6040 figure 4, all of it: for each inner and outer codepoint the one
// that goes on, or 4 for a drop.
func TestDecapECN(t *testing.T) {
	const N, E1, E0, CE, drop = 0, 1, 2, 3, 4
	table := [4][4]byte{ // by inner, then outer
		N:  {N: N, E0: N, E1: N, CE: drop},
		E0: {N: E0, E0: E0, E1: E1, CE: CE},
		E1: {N: E1, E0: E1, E1: E1, CE: CE},
		CE: {N: CE, E0: CE, E1: CE, CE: CE},
	}
	for _, q := range []packet{tcp4.with(9, 1), udp4.six().with(9, 1)} {
		for inner := range byte(4) {
			for outer := range byte(4) {
				want, verdict := table[inner][outer], Delivered
				if want == drop {
					want, verdict = inner, ECNNotECT
				}
				for _, dscp := range []byte{0, 0xfc} {
					p, intact := guarded(q.marked(inner))
					if got := DecapECN(p, dscp|outer); got != verdict || !bytes.Equal(p, q.marked(want)) || !intact() {
						t.Errorf("IPv%d, %02b in %02b: %v, %x; want %v, %x", q.v, inner, dscp|outer, got, p, verdict, q.marked(want))
					}
				}
			}
		}
	}
}

// Whatever the checksum was: what was right stays right, and what was wrong
// stays wrong by as much.
func TestDecapECNKeepsEveryChecksum(t *testing.T) {
	change := []struct{ inner, outer byte }{{ecnECT0, ecnCE}, {ecnECT1, ecnCE}, {ecnECT0, ecnECT1}}
	for id := range 1 << 16 {
		for _, c := range change {
			q := packet{v: 4, proto: 6, id: uint16(id), ttl: 64, tos: 0xb8 | c.inner}
			p := q.network()
			refFix4(p)
			was := slices.Clone(p)
			if DecapECN(p, c.outer) != Delivered || !refIPSound(p) || p[1] != 0xb8|c.outer {
				t.Fatalf("%02b: %x became %x", c.outer, was, p)
			}
			if id%251 == 0 {
				wrong := set(was, 11, was[11]^4)
				if DecapECN(wrong, c.outer); refIPSound(wrong) {
					t.Fatalf("%x: a wrong checksum was mended", was)
				}
			}
		}
	}
}
