package engine

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/tunnel"
)

// narrow makes the ports of r refuse what is longer than limit, as the kernel
// does for a path that it knows to be narrow.
func (r *rig) narrow(limit int) {
	r.limit = limit
	r.ports[0].Limit, r.ports[1].Limit = limit, limit
}

// unfragmented allows p to be fragmented.
func unfragmented(p []byte) []byte {
	p[6] &^= 0x40
	return seal4(p)
}

// reassemble puts the IPv4 fragments of one packet together (RFC 791), and
// fails if they overlap, leave gaps, or are longer than limit.
func reassemble(t testing.TB, frags [][]byte, limit int) []byte {
	t.Helper()
	slices.SortFunc(frags, func(a, b []byte) int {
		return int(binary.BigEndian.Uint16(a[6:])&0x1fff) - int(binary.BigEndian.Uint16(b[6:])&0x1fff)
	})
	whole := slices.Clone(frags[0][:20])
	for i, f := range frags {
		word := binary.BigEndian.Uint16(f[6:])
		if len(f) > limit || int(word&0x1fff)*8 != len(whole)-20 || (word&0x2000 != 0) != (i < len(frags)-1) ||
			onesum(0, f[:20]) != 0xffff || int(binary.BigEndian.Uint16(f[2:])) != len(f) {
			t.Fatalf("fragment %d of %d: %d bytes with % x, at %d", i, len(frags), len(f), f[:20], len(whole)-20)
		}
		whole = append(whole, f[20:]...)
	}
	whole[6], whole[7] = 0, 0
	binary.BigEndian.PutUint16(whole[2:], uint16(len(whole)))
	return seal4(whole)
}

// TestUpPathTooNarrow: the first packets that are too long for their path are
// refused by the kernel. They teach the limit; those that may be fragmented
// get through at once, the others are answered. After that the limit is known
// before the kernel is asked.
func TestUpPathTooNarrow(t *testing.T) {
	const limit = 1300
	for _, known := range []bool{false, true} {
		r := newRig(t, usual())
		two, three := newRig(t, peerOptions(r, 2)), newRig(t, peerOptions(r, 3))
		r.narrow(limit)
		if known {
			r.table.Load().lookup(node(2).Subnet.Addr().Next()).path.inner.Store(limit)
		}
		df := udpFrom(pod(1, 2), pod(2, 2), pattern(1, 1350))
		free := unfragmented(udpFrom(pod(1, 2), pod(2, 2), pattern(2, 1355)))
		small := udpFrom(pod(1, 2), pod(2, 2), pattern(3, 100))
		other := udpFrom(pod(1, 2), pod(3, 2), pattern(4, 200))
		want := reassemble(t, [][]byte{hops(free, 1)}, 2000)
		r.sendUp(one(df), one(other), one(free), one(small))

		checkAnswer(t, r.dev.Take(), "3/4", udpFrom(pod(1, 2), pod(2, 2), pattern(1, 1350)), limit)
		r.wantDrops(map[encap.Drop]uint64{encap.TooBig: 1})
		samePackets(t, arrived(t, three.ports[0]), [][]byte{hops(other, 1)})
		got := arrived(t, two.ports[0])
		i := slices.IndexFunc(got, func(p []byte) bool { return len(p) == len(small) && p[6]&0x40 != 0 })
		if i < 0 {
			t.Fatalf("the small packet did not arrive; %d others did", len(got))
		}
		samePackets(t, got[i:i+1], [][]byte{hops(small, 1)})
		samePackets(t, [][]byte{reassemble(t, slices.Delete(got, i, i+1), limit)}, [][]byte{want})
		if learnt := r.learned > 0; learnt == known {
			t.Errorf("known %v: the kernel was asked %d times", known, r.learned)
		}
		if sent := r.counts[0].traffic().Packets; sent != 4 { // two of them fragments
			t.Errorf("known %v: %d packets counted", known, sent)
		}
	}
}

// A superpacket whose packets are too long is answered once, whichever way
// that is found out, and every packet in it is counted. One that may be
// fragmented is cut first.
func TestUpNarrowSuperpacket(t *testing.T) {
	const limit = 1000
	for _, known := range []bool{false, true} {
		for _, v6 := range []bool{false, true} {
			src, dst, want := pod(1, 2), pod(2, 2), "3/4"
			if v6 {
				src, dst, want = pod6(1, 2), pod6(2, 2), "2/0"
			}
			r := newRig(t, usual())
			two := newRig(t, peerOptions(r, 2))
			r.narrow(limit)
			if known {
				r.table.Load().peers[0].path.inner.Store(limit)
			}
			pk := superpacket(tcpFrom(src, dst, 1, pattern(1, 3*1200+10)), 1200)
			about := slices.Clone(pk.Data)
			r.sendUp(pk)
			lost, through := uint64(3), 1 // the tail of 10 bytes fits
			if known {
				lost, through = 4, 0
			}
			r.wantDrops(map[encap.Drop]uint64{encap.TooBig: lost})
			answers := r.dev.Take()
			if len(answers) == 0 {
				t.Fatal("no answer")
			}
			checkAnswer(t, answers[:1], want, about, limit)
			if got := len(arrived(t, two.ports[0])); got != through {
				t.Errorf("known %v: %d packets got through", known, got)
			}
		}
	}
	r := newRig(t, usual())
	two := newRig(t, peerOptions(r, 2))
	r.table.Load().peers[0].path.inner.Store(limit)
	pk := superpacket(unfragmented(ip(pod(1, 2), pod(2, 2), udp, udpDatagram(1, 2, pattern(1, 2400)))), 1200)
	want := hopsAll(cutSlow(pk), 1)
	r.sendUp(pk)
	got := arrived(t, two.ports[0])
	if len(got) != 4 {
		t.Fatalf("%d fragments, want 2 of each datagram", len(got))
	}
	samePackets(t, [][]byte{reassemble(t, got[:2], limit), reassemble(t, got[2:], limit)}, want)
	r.wantDrops(nil)
}

// TestUpRefusedOnOnePort: while one port's packets are sent again, the other
// port's packets of the same batch must not be forgotten or sent twice.
func TestUpRefusedOnOnePort(t *testing.T) {
	for _, first := range []int{0, 1} {
		r := newRig(t, usual())
		four := peerOptions(r, 2)
		four.own = node(4)
		near, far := newRig(t, peerOptions(r, 2)), newRig(t, four)
		r.limit = 600
		r.ports[first].Limit = 600
		a := unfragmented(udpFrom(pod(1, 2), pod(2, 2), pattern(1, 900)))
		b := unfragmented(udpFrom(pod(1, 2), pod(4, 2), pattern(2, 901)))
		r.sendUp(one(a), one(b))
		for i, got := range [][][]byte{arrived(t, near.ports[0]), arrived(t, far.ports[1])} {
			if want := map[bool]int{true: 2, false: 1}[i == first]; len(got) != want {
				t.Fatalf("port %d refused: %d datagrams for peer %d, want %d", first, len(got), i, want)
			}
			samePackets(t, [][]byte{reassemble(t, got, 1000)}, [][]byte{reassemble(t, [][]byte{hops([][]byte{a, b}[i], 1)}, 1000)})
		}
		r.wantDrops(nil)
	}
}

// If the kernel says EMSGSIZE and knows no limit, there is nothing to learn
// and nobody to tell: the packet is lost, and counted.
func TestUpNarrowWithoutLimit(t *testing.T) {
	r := newRig(t, usual())
	r.narrow(100)
	r.limit = 0
	r.sendUp(one(udpFrom(pod(1, 2), pod(2, 2), pattern(1, 500))))
	r.wantDrops(map[encap.Drop]uint64{encap.SockError: 1})
	checkAnswer(t, r.dev.Take(), "", nil, 0)
}

// Fragments that are refused as well are counted and not tried for ever.
func TestUpNarrowTwice(t *testing.T) {
	r := newRig(t, usual())
	r.ports[0].Refuse = func(*tunnel.Message) error { return unix.EMSGSIZE }
	r.limit = 600
	r.sendUp(one(unfragmented(udpFrom(pod(1, 2), pod(2, 2), pattern(1, 1000)))))
	if got := r.drops(); len(got) != 1 {
		t.Errorf("drops %v, want the packet's under one reason", got)
	}
	if got := r.counts[0].traffic(); got.Packets != 0 || got.Bytes != 0 {
		t.Errorf("counted %+v", got)
	}
}

// An error of a path is no error of the table: ErrUnsupported and the like are
// not mistaken for a lack of room.
func TestSendDrop(t *testing.T) {
	for err, want := range map[error]encap.Drop{
		unix.ENOBUFS: encap.SockFull, errors.Join(errTest, unix.ENOMEM): encap.SockFull,
		unix.EPERM: encap.SockError, errTest: encap.SockError,
	} {
		if got := sendDrop(err); got != want {
			t.Errorf("%v counts as %v, want %v", err, got, want)
		}
	}
}
