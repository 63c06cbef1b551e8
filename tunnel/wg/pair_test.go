package wg

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
)

// numbered makes n packets of one length that bear their numbers.
func numbered(from, to netip.Addr, first, n, size int) (out [][]byte) {
	for i := range n {
		out = append(out, packet(from, to, binary.BigEndian.AppendUint32(make([]byte, size-4), uint32(first+i))))
	}
	return out
}

// Packets of both inner families go both ways in both outer families, whole,
// in order, and counted exactly.
func TestBothWays(t *testing.T) {
	for family := range 2 {
		t.Run([]string{"ipv4", "ipv6"}[family], func(t *testing.T) {
			a, b := pair(t, family, nil)
			a.meet(b)
			var want [2]counted
			for round, size := range []int{4, 100, 1372, 1380, 1385, 5} {
				for i, way := range [][2]*node{{a, b}, {b, a}} {
					from, to := way[0], way[1]
					batch := numbered(inner4(from.n), inner4(to.n), round, 40, size)
					batch = append(batch, numbered(inner6(from.n), inner6(to.n), round, 40, min(size, 1380))...)
					from.feed(to, batch...)
					for k, p := range batch {
						if got := to.get(); !bytes.Equal(got.data, p) {
							t.Fatalf("round %d, packet %d: got %x, want %x", round, k, got.data, p)
						}
						want[i].packets++
						want[i].bytes += padded(len(p), 1420) + Overhead
					}
				}
			}
			want[0].packets, want[0].bytes = want[0].packets+1, want[0].bytes+32+Overhead // hello
			for i, way := range [][2]*node{{a, b}, {b, a}} {
				from, to := way[0], way[1]
				from.awaitCount(from.Lane(to.key()), func(c *counted) bool { return c.packets >= want[i].packets })
				from.counted(from.Lane(to.key()), func(c *counted) {
					if c.packets != want[i].packets || c.bytes != want[i].bytes || c.messages >= c.packets || c.refused != 0 {
						t.Errorf("node %d counted %+v, want %+v and fewer messages than packets", from.n, *c, want[i])
					}
				})
				if got := from.Losses(); got != [NumLosses]uint64{} {
					t.Errorf("node %d lost %v", from.n, got)
				}
				if used := inUse(from.outward) + inUse(from.inward); used != 0 {
					t.Errorf("node %d has %d packets inside", from.n, used)
				}
				if l := from.Lane(to.key()); l.inside.Load() != 0 || l.stuck.Load() != 0 || !l.open.Load() {
					t.Errorf("node %d: %d inside, %d stuck, open %v", from.n, l.inside.Load(), l.stuck.Load(), l.open.Load())
				}
			}
		})
	}
}

func inUse(r *room) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used
}

// Congestion bits pass both ways, each packet's own.
func TestECN(t *testing.T) {
	for family := range 2 {
		a, b := pair(t, family, nil)
		a.meet(b)
		for _, way := range [][2]*node{{a, b}, {b, a}} {
			from, to := way[0], way[1]
			var batch []item
			for i := range 64 {
				p := numbered(inner4(from.n), inner4(to.n), i, 1, 200)[0]
				batch = append(batch, item{data: p, lane: from.Lane(to.key()), ecn: uint8(i / 3 % 4)})
			}
			from.put(batch)
			for i, p := range batch {
				if got := to.get(); got.ecn != p.ecn || !bytes.Equal(got.data, p.data) {
					t.Fatalf("family %d, packet %d: congestion bits %d, want %d", family, i, got.ecn, p.ecn)
				}
			}
		}
	}
}

// A packet that is longer than the MTU, as when somebody raised the device's,
// is padded in another way; its note is found all the same.
func TestLongPackets(t *testing.T) {
	a, b := pair(t, 0, nil)
	a.meet(b)
	for size := 1385; size < 1520; size++ { // 20 bytes less than the packet
		p := numbered(inner4(1), inner4(2), size, 1, size)[0]
		a.put([]item{{data: p, lane: a.Lane(b.key()), ecn: uint8(size & 3)}})
		if got := b.get(); !bytes.Equal(got.data, p) || got.ecn != uint8(size&3) {
			t.Fatalf("%d bytes: got %d, congestion bits %d", len(p), len(got.data), got.ecn)
		}
	}
	if l := a.Lane(b.key()); l.inside.Load() != 0 || inUse(a.outward) != 0 || inUse(b.inward) != 0 {
		t.Errorf("inside: lane %d, out %d, in %d", l.inside.Load(), inUse(a.outward), inUse(b.inward))
	}
	wantLost(t, b, lost(0, 0))
}

// A peer that does not answer gets its share of packets and no more, and keeps
// nobody else's waiting.
func TestSilentPeer(t *testing.T) {
	a, b := pair(t, 0, nil)
	silent := newNode(t, 3, nil)
	quiet := silent.as(0)
	quiet.Key = NewPrivateKey().Public() // nobody there has it
	must(t, a.SetPeers([]Peer{b.as(0), quiet}))
	a.meet(b)
	lane := a.Lane(quiet.Key)
	for i := range 8 {
		var batch []item
		for k := range 100 {
			batch = append(batch, item{data: numbered(inner4(1), inner4(3), i*100+k, 1, 64)[0], lane: lane})
		}
		a.put(batch)
		p := fmt.Appendf(nil, "%d", i)
		a.feed(b, packet(inner4(1), inner4(2), p))
		if got := b.get(); !bytes.HasSuffix(got.data, p) {
			t.Fatalf("got %x", got.data)
		}
	}
	if got, refused := lane.inside.Load(), a.near.refused.Load(); got != staged || refused != 800-staged {
		t.Errorf("%d packets wait, %d were refused; want %d and %d", got, refused, staged, 800-staged)
	}
	must(t, a.SetPeers([]Peer{b.as(0)}))
	if got := a.Losses(); got[NoSession] != staged {
		t.Errorf("lost %v, want %d for no session", got, staged)
	}
	if a.Lane(quiet.Key) != nil {
		t.Error("the lane of a peer that was removed is still there")
	}
}
