package engine

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/lease"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// written cuts what the device got into finished packets.
func written(ws []tunneltest.Written) (out [][]byte) {
	for _, w := range ws {
		out = append(out, cutSlow(tunnel.Packet{Offload: w.Offload, Data: w.Data})...)
	}
	return out
}

// toUs is a good packet from a pod of node n to a pod of ours.
func toUs(n, seed, size int) []byte { return udpFrom(pod(n, 2), pod(1, 2), pattern(seed, size)) }

// Each datagram that is no good is counted under its reason and harms no
// other of its batch.
func TestDownDrops(t *testing.T) {
	good := func() []byte { return toUs(2, 1, 100) }
	edit := func(p []byte, f func([]byte)) []byte { f(p); return p }
	for _, tc := range []struct {
		name string
		data []byte
		from int // node
		drop encap.Drop
	}{
		{"empty", nil, 2, encap.Runt},
		{"one byte", []byte{0x45}, 2, encap.Runt},
		{"19 bytes", good()[:19], 2, encap.Runt},
		{"39 bytes of IPv6", udpFrom(pod6(2, 2), pod6(1, 2), nil)[:39], 2, encap.Runt},
		{"version 0", make([]byte, 64), 2, encap.NotIP},
		{"version 15", bytes.Repeat([]byte{0xff}, 65507), 2, encap.NotIP},
		{"a short header", edit(good(), func(p []byte) { p[0] = 0x41 }), 2, encap.BadIPHeader},
		{"shorter than its header", edit(good(), func(p []byte) { p[2], p[3] = 0, 19 }), 2, encap.BadIPHeader},
		{"truncated", good()[:50], 2, encap.IPLenMismatch},
		{"one byte missing", good()[:127], 2, encap.IPLenMismatch},
		{"IPv6, truncated", udpFrom(pod6(2, 2), pod6(1, 2), pattern(0, 9))[:41], 2, encap.IPLenMismatch},
		{"a stranger", good(), 9, encap.OuterSrcUnknown},
		{"a stranger with his own address", udpFrom("10.6.0.1", pod(1, 2), nil), 9, encap.OuterSrcUnknown},
		{"a neighbour's pod", toUs(3, 1, 10), 2, encap.InnerSrcNotLeased},
		{"our own pod", udpFrom(pod(1, 3), pod(1, 2), nil), 2, encap.InnerSrcNotLeased},
		{"nobody's pod", udpFrom("10.6.0.1", pod(1, 2), nil), 2, encap.InnerSrcNotLeased},
		{"a neighbour's pod, IPv6", udpFrom(pod6(3, 1), pod6(1, 2), nil), 2, encap.InnerSrcNotLeased},
		{"for a neighbour", udpFrom(pod(2, 2), pod(3, 2), nil), 2, encap.InnerDstNotLocal},
		{"for the world", udpFrom(pod(2, 2), "192.0.2.1", nil), 2, encap.InnerDstNotLocal},
		{"for everybody", udpFrom(pod(2, 2), "224.0.0.1", nil), 2, encap.InnerDstNotLocal},
		{"for a neighbour, IPv6", udpFrom(pod6(2, 2), pod6(3, 2), nil), 2, encap.InnerDstNotLocal},
	} {
		r := newRig(t, usual())
		t.Log(tc.name)
		before, after := toUs(2, 2, 33), toUs(2, 3, 44)
		r.ports[0].Inject(tunnel.Received{Data: before, Size: len(before), From: outer(2)})
		r.ports[0].Inject(tunnel.Received{Data: tc.data, Size: len(tc.data), From: outer(tc.from)})
		r.sendDown(2, after)
		r.wantDrops(map[encap.Drop]uint64{tc.drop: 1})
		samePackets(t, written(r.dev.Take()), hopsAll([][]byte{before, after}, 1))
		if got := r.counts[1].traffic(); got.Packets != 2 || got.Bytes != uint64(len(before)+len(after)) || got.Batches != 1 {
			t.Errorf("counted %+v", got)
		}
	}
}

// outer is where node n sends from.
func outer(n int) netip.AddrPort { return netip.AddrPortFrom(node(n).Attrs.PublicIP, 8285) }

func TestDownTruncated(t *testing.T) {
	r := newRig(t, usual())
	p := toUs(2, 1, 100)
	r.ports[0].Inject(tunnel.Received{Data: p, Size: len(p), From: outer(2), Truncated: true})
	r.sendDown(2, toUs(2, 2, 10))
	r.wantDrops(map[encap.Drop]uint64{encap.Truncated: 1})
	samePackets(t, written(r.dev.Take()), [][]byte{hops(toUs(2, 2, 10), 1)})
}

// What follows a packet in its datagram is not part of it.
func TestDownPadding(t *testing.T) {
	r := newRig(t, usual())
	p := toUs(2, 1, 10)
	r.sendDown(2, append(bytes.Clone(p), 1, 2, 3, 4))
	samePackets(t, written(r.dev.Take()), [][]byte{hops(p, 1)})
}

// A flood from strangers is counted, datagram by datagram, and leaves what
// friends send alone.
func TestDownFlood(t *testing.T) {
	r := newRig(t, usual())
	var want [][]byte
	for i := range 20 {
		for range 3 {
			r.ports[0].Inject(tunnel.Received{Data: pattern(i, 50*128-7), Size: 128, From: netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 8285)})
		}
		p := toUs(2, i, 100)
		want = append(want, hops(p, 1))
		r.sendDown(2, p)
	}
	r.wantDrops(map[encap.Drop]uint64{encap.OuterSrcUnknown: 20 * 3 * 50})
	samePackets(t, written(r.dev.Take()), want)
}

// The three ways of the source check. What is delivered and what is counted
// differ, the reasons do not.
func TestDownSourceCheck(t *testing.T) {
	type step struct {
		data []byte
		from int
		drop encap.Drop
	}
	steps := []step{
		{toUs(2, 1, 10), 2, encap.Delivered},
		{toUs(3, 2, 10), 2, encap.InnerSrcNotLeased},
		{toUs(2, 3, 10), 9, encap.OuterSrcUnknown},
		{toUs(2, 4, 10), 2, encap.Delivered},
	}
	for check, delivered := range map[SourceCheck]int{Strict: 2, Report: 4, Off: 4} {
		o := usual()
		o.check = check
		r := newRig(t, o)
		drops := map[encap.Drop]uint64{}
		for _, s := range steps {
			r.ports[0].Inject(tunnel.Received{Data: s.data, Size: len(s.data), From: outer(s.from)})
			if s.drop != encap.Delivered && check != Off {
				drops[s.drop]++
			}
		}
		must(t, r.ports[0].Recv(r.down.inbox))
		r.down.carry()
		r.wantDrops(drops)
		got := written(r.dev.Take())
		if len(got) != delivered || r.counts[1].traffic().Packets != uint64(delivered) {
			t.Errorf("source check %d delivers %d packets, counts %d; want %d", check, len(got), r.counts[1].traffic().Packets, delivered)
		}
	}
}

// A node with two leases may send from both; another node's address still
// covers only its own.
func TestDownOneNodeTwoLeases(t *testing.T) {
	second := node(7)
	second.Attrs = node(2).Attrs
	o := usual()
	o.peers = []lease.Lease{node(2), second, node(3)}
	r := newRig(t, o)
	a, b := toUs(2, 1, 10), udpFrom(pod(7, 2), pod(1, 2), nil)
	r.sendDown(2, a, b, a, toUs(3, 1, 1))
	r.sendDown(3, bytes.Clone(b))
	r.wantDrops(map[encap.Drop]uint64{encap.InnerSrcNotLeased: 2})
	sameFlows(t, written(r.dev.Take()), hopsAll([][]byte{toUs(2, 1, 10), udpFrom(pod(7, 2), pod(1, 2), nil), toUs(2, 1, 10)}, 1))
}

// A pair of addresses that was good is good no longer when its lease moves to
// another node, and again when it comes back: the check knows its table.
func TestDownTableSwap(t *testing.T) {
	r := newRig(t, usual())
	stolen := node(2)
	stolen.Attrs = node(3).Attrs
	for range 3 {
		r.sendDown(2, toUs(2, 1, 10))
		r.wantDrops(nil)
		r.setPeers(stolen)
		r.sendDown(2, toUs(2, 1, 10))
		r.wantDrops(map[encap.Drop]uint64{encap.OuterSrcUnknown: 1})
		r.sendDown(3, toUs(2, 1, 10))
		r.wantDrops(nil)
		r.setPeers(node(2), node(3))
		r.sendDown(3, toUs(2, 1, 10))
		r.wantDrops(map[encap.Drop]uint64{encap.InnerSrcNotLeased: 1})
	}
	if got := len(r.dev.Take()); got != 6 {
		t.Errorf("%d packets delivered, want 6", got)
	}
}

// A packet whose TTL ends here is counted, and its sender behind the peer is
// told through the tunnel, by the socket that it came in by.
func TestDownTTL(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, ttl := range []byte{0, 1} {
			r := newRig(t, usual())
			two := newRig(t, peerOptions(r, 2))
			p, want, src := toUs(2, 1, 40), "11/0", "10.5.1.0"
			if v6 {
				p, want, src = udpFrom(pod6(2, 2), pod6(1, 2), pattern(1, 40)), "3/0", "fd00:10:5:1::"
			}
			p[ttlAt(p)] = ttl
			r.sendDown(2, seal4(p))
			r.wantDrops(map[encap.Drop]uint64{encap.TTLExceeded: 1})
			got := arrived(t, two.ports[0])
			if len(got) != 1 {
				t.Fatalf("%d answers", len(got))
			}
			checkICMP(t, got[0], want, src, p, 0)
			if len(r.dev.Take()) != 0 || r.answer.sent.Load() != 1 {
				t.Error("something was written to the device, or the answer was not counted")
			}
		}
	}
}

// What the device does not take is counted by its reason; a device that is
// gone or closed ends the loop.
func TestDownWriteRefused(t *testing.T) {
	for err, drop := range map[error]encap.Drop{
		unix.ENOBUFS: encap.TunFull, unix.ENOMEM: encap.TunFull,
		unix.EIO: encap.TunError, unix.EINVAL: encap.TunError, errTest: encap.TunError,
	} {
		r := newRig(t, usual())
		r.dev.Refuse = func(_ tunnel.Offload, data []byte) error {
			if len(data) > 1000 {
				return err
			}
			return nil
		}
		small := toUs(2, 1, 50)
		r.sendDown(2, tcpFrom(pod(2, 2), pod(1, 2), 1, pattern(0, 600)), tcpFrom(pod(2, 2), pod(1, 2), 601, pattern(0, 600)), bytes.Clone(small))
		r.wantDrops(map[encap.Drop]uint64{drop: 2})
		samePackets(t, written(r.dev.Take()), [][]byte{hops(small, 1)})
		if got := r.counts[1].traffic(); got.Packets != 1 || got.Bytes != uint64(len(small)) {
			t.Errorf("%v: counted %+v", err, got)
		}
	}
	for _, err := range []error{tunnel.ErrClosed, unix.EBADFD, unix.EBADF} {
		r := newRig(t, usual())
		calls := 0
		r.dev.Refuse = func(tunnel.Offload, []byte) error { calls++; return err }
		for i := range 3 {
			r.ports[0].Inject(tunnel.Received{Data: toUs(2, i, 10), Size: len(toUs(2, i, 10)), From: outer(2)})
		}
		if got := r.down.run(); got != err || calls != 1 {
			t.Errorf("run: %v after %d writes, want %v after one", got, calls, err)
		}
	}
}

func TestDownRunEnds(t *testing.T) {
	r := newRig(t, usual())
	ended := make(chan error, 1)
	go func() { ended <- r.down.run() }()
	p := toUs(2, 1, 10)
	r.ports[0].Inject(tunnel.Received{Data: p, Size: len(p), From: outer(2)})
	samePackets(t, written(r.dev.Await()), [][]byte{hops(p, 1)})
	must(t, r.ports[0].Close())
	if err := <-ended; err != tunnel.ErrClosed {
		t.Errorf("run: %v", err)
	}
}
