package engine

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"weft/encap"
	"weft/engine/trace"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
	"weft/tunnel/wg"
)

// A nearRig is the side of the pods of node 1, whose peers are 2 and 3. Node 4
// does not encrypt.
type nearRig struct {
	t        testing.TB
	dev      *tunneltest.Device
	near     *wgNear
	table    atomic.Pointer[wgTable]
	peers    map[int]*wgPeer
	hub      trace.Hub
	up, down counters
}

func newNearRig(t testing.TB, f tunnel.Feature) *nearRig {
	t.Helper()
	r := &nearRig{t: t, dev: tunneltest.NewDevice(f), peers: map[int]*wgPeer{}}
	own := node(1)
	tab := &wgTable{known: true, own: [2]netip.Prefix{own.Subnet, own.Subnet6}}
	for n := 2; n <= 4; n++ {
		p := &wgPeer{lease: node(n), seen: &path{}}
		if n < 4 {
			p.key, p.lane = wg.PublicKey{byte(n)}, new(wg.Lane)
		}
		r.peers[n] = p
		tab.hold(p)
	}
	r.table.Store(tab)
	answer := newAnswerer(tunnelAddr(own.Subnet), tunnelAddr(own.Subnet6))
	answer.trusted.Store(true)
	stop, err := tunnel.NewStopper()
	must(t, err)
	t.Cleanup(func() { must(t, stop.Close()) })
	r.near = newWGNear(r.dev, stop, &r.table, answer, &r.hub, &r.up, &r.down)
	return r
}

// read reads with so many buffers at a time until n packets came.
func (r *nearRig) read(n, bufs int) (packets [][]byte, out []wg.Outgoing) {
	r.t.Helper()
	const offset = 16
	for len(packets) < n {
		b, o := make([][]byte, bufs), make([]wg.Outgoing, bufs)
		for i := range b {
			b[i] = make([]byte, 1<<16)
		}
		k, err := r.near.Read(b, offset, o)
		must(r.t, err)
		for i := range k {
			packets = append(packets, b[i][offset:offset+o[i].Size])
		}
		out = append(out, o[:k]...)
	}
	return packets, out
}

func wantCounted(t testing.TB, c *counters, want map[encap.Drop]uint64) {
	t.Helper()
	for d := range c.drops {
		if got := c.drops[d].Load(); got != want[encap.Drop(d)] {
			t.Errorf("%d dropped as %v, want %d", got, encap.Drop(d), want[encap.Drop(d)])
		}
	}
}

// Superpackets become the packets they stand for, however few buffers there
// are at a time, each for its peer and with its congestion bits.
func TestNearRead(t *testing.T) {
	for _, bufs := range []int{1, 3, 20, 128} {
		r := newNearRig(t, allTUN)
		big := tcpFrom(pod(1, 2), pod(2, 2), 1, pattern(1, 20*1000+7))
		big[1] |= 2 // ECT(0)
		marked := udpFrom(pod6(1, 2), pod6(3, 2), pattern(2, 300))
		marked[1] |= 1 << 4
		batch := []tunnel.Packet{
			superpacket(seal4(big), 1000), one(udpFrom(pod(1, 3), pod(3, 3), pattern(3, 100))), one(marked),
			superpacket(ip(pod6(1, 2), pod6(2, 2), udp, udpDatagram(1, 2, pattern(3, 5000))), 1000),
			partial(udpFrom(pod(1, 3), pod(2, 3), pattern(4, 90))),
		}
		var want [][]byte
		var to []int
		for i, n := range []int{2, 3, 3, 2, 2} {
			cut := cutSlow(batch[i])
			want, to = append(want, cut...), append(to, slices.Repeat([]int{n}, len(cut))...)
		}
		r.dev.Feed(batch...)
		got, out := r.read(len(want), bufs)
		samePackets(t, got, want)
		for i, o := range out {
			if o.Lane != r.peers[to[i]].lane || o.ECN != encap.ECN(want[i]) || o.Size != len(want[i]) {
				t.Errorf("%d buffers, packet %d: %+v", bufs, i, o)
			}
		}
		wantCounted(t, &r.up, nil)
	}
}

// What has no way is counted and answered as a router would, and harms no other.
func TestNearDrops(t *testing.T) {
	src := pod(1, 2)
	runt := udpFrom(src, pod(2, 2), nil)
	for _, tc := range []upCase{
		{"no lease covers it", one(udpFrom(src, "10.6.0.1", nil)), encap.NoRoute, 0, "3/0"},
		{"no lease covers all of it", superpacket(tcpFrom(src, "10.6.0.1", 1, pattern(0, 3000)), 1000), encap.NoRoute, 3, "3/0"},
		{"no lease covers it, IPv6", one(udpFrom(pod6(1, 2), "fd11::1", nil)), encap.NoRoute, 0, "1/0"},
		{"our own subnet", one(udpFrom(src, pod(1, 9), nil)), encap.OwnSubnet, 0, "3/0"},
		{"our own subnet, IPv6", one(udpFrom(pod6(1, 2), pod6(1, 9), nil)), encap.OwnSubnet, 0, "1/0"},
		{"a peer in the clear", one(udpFrom(src, pod(4, 2), nil)), encap.NotWireGuard, 0, "3/0"},
		{"a peer in the clear, IPv6", one(udpFrom(pod6(1, 2), pod6(4, 2), nil)), encap.NotWireGuard, 0, "1/0"},
		{"multicast", one(udpFrom(src, "224.0.0.251", nil)), encap.Multicast, 0, ""},
		{"multicast, IPv6", one(udpFrom("fe80::1", "ff02::16", nil)), encap.Multicast, 0, ""},
		{"link-local", one(udpFrom(src, "169.254.1.1", nil)), encap.LinkLocal, 0, ""},
		{"nothing", one(nil), encap.Runt, 0, ""},
		{"19 bytes", one(runt[:19]), encap.Runt, 0, ""},
		{"version 5", one(append([]byte{0x55}, runt[1:]...)), encap.NotIP, 0, ""},
		{"longer than it is", one(udpFrom(src, pod(2, 2), make([]byte, 99))[:100]), encap.IPLenMismatch, 0, ""},
		{"no segment size", func() tunnel.Packet {
			pk := superpacket(tcpFrom(src, pod(2, 2), 1, pattern(0, 3000)), 1000)
			pk.Offload.GSOSize = 0
			return pk
		}(), encap.BadOffload, 0, ""},
	} {
		r := newNearRig(t, allTUN)
		good := udpFrom(src, pod(2, 2), []byte("good"))
		r.dev.Feed(one(good), tc.packet, one(good))
		got, _ := r.read(2, 128)
		t.Log(tc.name)
		samePackets(t, got, [][]byte{good, good})
		wantCounted(t, &r.up, map[encap.Drop]uint64{tc.drop: max(1, tc.lost)})
		checkAnswer(t, r.dev.Take(), tc.answer, tc.packet.Data, 0)
	}
}

// Before the first listing silence means nothing, and nobody is told anything.
func TestNearUnlisted(t *testing.T) {
	r := newNearRig(t, allTUN)
	r.table.Store(&wgTable{own: r.table.Load().own})
	r.near.t = r.table.Load()
	pk := one(udpFrom(pod(1, 2), pod(2, 2), nil))
	r.near.packet(&pk)
	wantCounted(t, &r.up, map[encap.Drop]uint64{encap.NoRoute: 1})
	checkAnswer(t, r.dev.Take(), "", nil, 0)
	must(t, r.dev.Close())
	if _, err := r.near.Read(make([][]byte, 1), 0, make([]wg.Outgoing, 1)); err != tunnel.ErrClosed {
		t.Errorf("a device that is closed: %v", err)
	}
}

// Without a session a peer's packets wait, 128 of them, and one superpacket
// goes whole or not at all.
func TestNearNoSession(t *testing.T) {
	r := newNearRig(t, allTUN)
	super := superpacket(tcpFrom(pod(1, 2), pod(2, 2), 1, pattern(0, 50*1000)), 1000)
	other := udpFrom(pod(1, 2), pod(3, 2), []byte("other"))
	r.dev.Feed(super, super, super, one(other))
	got, _ := r.read(101, 128)
	samePackets(t, got[100:], [][]byte{other})
	wantCounted(t, &r.up, map[encap.Drop]uint64{encap.WGNoSession: 50})
}

// On a path that is too narrow the sender is told, or the packet is cut.
func TestNearTooBig(t *testing.T) {
	r := newNearRig(t, allTUN)
	r.peers[2].seen.inner.Store(1280)
	df := udpFrom(pod(1, 2), pod(2, 2), pattern(1, 1400))
	six := udpFrom(pod6(1, 2), pod6(2, 2), pattern(1, 1400))
	for _, tc := range []struct {
		p      []byte
		answer string
	}{{df, "3/4"}, {six, "2/0"}} {
		fits := udpFrom(pod(1, 2), pod(2, 2), pattern(2, 1280-28))
		r.dev.Feed(one(tc.p), one(fits))
		got, _ := r.read(1, 128)
		samePackets(t, got, [][]byte{fits})
		checkAnswer(t, r.dev.Take(), tc.answer, tc.p, 1280)
	}
	super := superpacket(tcpFrom(pod(1, 2), pod(2, 2), 1, pattern(0, 5000)), 1350)
	narrow := superpacket(tcpFrom(pod(1, 2), pod(2, 2), 1, pattern(0, 5000)), 1000)
	r.dev.Feed(super, narrow)
	got, _ := r.read(5, 128)
	samePackets(t, got, cutSlow(narrow))
	checkAnswer(t, r.dev.Take(), "3/4", super.Data, 1280)
	wantCounted(t, &r.up, map[encap.Drop]uint64{encap.TooBig: 1 + 1 + 4})

	may := udpFrom(pod(1, 2), pod(2, 2), pattern(1, 1400))
	may[6] = 0 // may be fragmented
	r.dev.Feed(one(seal4(may)))
	got, out := r.read(2, 1)
	var payload []byte
	for i, f := range got {
		if len(f) > 1280 || onesum(0, f[:20]) != 0xffff || out[i].Lane != r.peers[2].lane {
			t.Errorf("fragment %d: %d bytes", i, len(f))
		}
		payload = append(payload, f[20:]...)
	}
	if string(payload) != string(may[20:]) {
		t.Error("the fragments are not the packet")
	}
	wantCounted(t, &r.up, map[encap.Drop]uint64{encap.TooBig: 6})
}

// written is what was written to the device, cut back into packets.
func (r *nearRig) written() (packets [][]byte, calls int) {
	for _, w := range r.dev.Take() {
		packets = append(packets, cutSlow(tunnel.Packet{Data: w.Data, Offload: w.Offload})...)
		calls++
	}
	return packets, calls
}

func (r *nearRig) write(ecn []uint8, packets ...[]byte) {
	r.t.Helper()
	const offset = 16
	var bufs [][]byte
	for _, p := range packets {
		b := make([]byte, 1<<16)
		bufs = append(bufs, b[:offset+copy(b[offset:], p)])
	}
	must(r.t, r.near.Write(bufs, offset, append(ecn, make([]uint8, len(packets))...)))
}

// What comes in is joined into superpackets if the device takes them.
func TestNearWrite(t *testing.T) {
	for _, f := range []tunnel.Feature{allTUN, 0} {
		r := newNearRig(t, f)
		var in [][]byte
		for i := range 10 {
			in = append(in, tcpFrom(pod(2, 2), pod(1, 2), uint32(1+i*1000), pattern(i, 1000)))
		}
		in = append(in, udpFrom(pod(2, 3), pod(1, 3), pattern(0, 50)), udpFrom(pod6(2, 3), pod6(1, 3), pattern(0, 50)))
		r.write(nil, in...)
		got, calls := r.written()
		samePackets(t, got, in)
		if f == allTUN && calls != 3 || f == 0 && calls != len(in) {
			t.Errorf("%v: %d writes", f, calls)
		}
		bytes := 0
		for _, p := range in {
			bytes += len(p)
		}
		if c := r.down.traffic(); c.Packets != uint64(len(in)) || c.Bytes != uint64(bytes) || c.Calls != uint64(calls) || c.Batches != 1 {
			t.Errorf("%v: counted %+v, want %d packets, %d bytes", f, c, len(in), bytes)
		}
		wantCounted(t, &r.down, nil)
	}
}

// What is not for our pods, or no packet, goes no further; congestion that the
// wire marked reaches those who understand it, and others lose the packet.
func TestNearWriteDrops(t *testing.T) {
	r := newNearRig(t, allTUN)
	good := udpFrom(pod(2, 2), pod(1, 2), []byte("good"))
	able := udpFrom(pod(2, 2), pod(1, 3), []byte("able"))
	able[1] |= 2
	seal4(able)
	r.write([]uint8{0, 0, 0, 0, 3, 3},
		udpFrom(pod(2, 2), "192.168.50.1", nil), udpFrom(pod(2, 2), pod(3, 1), nil), udpFrom(pod6(2, 2), "fd00::1", nil), good[:15],
		udpFrom(pod(2, 2), pod(1, 2), []byte("not able")), able, good)
	got, _ := r.written()
	marked := slices.Clone(able)
	marked[1] |= 3
	samePackets(t, got, [][]byte{seal4(marked), good})
	wantCounted(t, &r.down, map[encap.Drop]uint64{encap.InnerDstNotLocal: 3, encap.Runt: 1, encap.ECNNotECT: 1})
}

// A device that is gone ends the writing; one that is full loses a packet.
func TestNearWriteRefused(t *testing.T) {
	r := newNearRig(t, allTUN)
	r.dev.Refuse = func(tunnel.Offload, []byte) error { return tunnel.ErrClosed }
	b := append(make([]byte, 16), udpFrom(pod(2, 2), pod(1, 2), nil)...)
	if err := r.near.Write([][]byte{b}, 16, []uint8{0}); err != tunnel.ErrClosed {
		t.Errorf("a device that is gone: %v", err)
	}
}
