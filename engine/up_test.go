package engine

import (
	"testing"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// one is a finished single packet from the device.
func one(p []byte) tunnel.Packet { return tunnel.Packet{Data: p} }

// An upCase is a packet that must not go up.
type upCase struct {
	name   string
	packet tunnel.Packet
	drop   encap.Drop
	lost   uint64 // packets; 0: one
	answer string // what the pod is told; "": nothing
}

func upCases() []upCase {
	src := pod(1, 2)
	good := func() []byte { return tcpFrom(src, pod(2, 2), 1, pattern(0, 3000)) }
	edit := func(p []byte, f func([]byte)) []byte { f(p); return p }
	expired := func(p []byte, ttl byte) []byte {
		return edit(p, func(p []byte) { p[ttlAt(p)] = ttl; seal4(p) })
	}
	super := superpacket(tcpFrom(src, "10.6.0.1", 1, pattern(0, 3000)), 1000)
	offload := func(f func(*tunnel.Packet)) tunnel.Packet {
		pk := superpacket(good(), 1000)
		f(&pk)
		return pk
	}
	return []upCase{
		{"no lease covers it", one(udpFrom(src, "10.6.0.1", nil)), encap.NoRoute, 0, "3/0"},
		{"no lease covers it, IPv6", one(udpFrom(pod6(1, 2), "fd11::1", nil)), encap.NoRoute, 0, "1/0"},
		{"no lease covers all of it", super, encap.NoRoute, 3, "3/0"},
		{"our own subnet", one(udpFrom(src, pod(1, 9), nil)), encap.OwnSubnet, 0, "3/0"},
		{"our own subnet, IPv6", one(udpFrom(pod6(1, 2), pod6(1, 9), nil)), encap.OwnSubnet, 0, "1/0"},
		{"multicast", one(udpFrom(src, "224.0.0.251", nil)), encap.Multicast, 0, ""},
		{"broadcast", one(udpFrom(src, "255.255.255.255", nil)), encap.Multicast, 0, ""},
		{"multicast, IPv6", one(udpFrom("fe80::1", "ff02::16", nil)), encap.Multicast, 0, ""},
		{"to link-local", one(udpFrom(src, "169.254.1.1", nil)), encap.LinkLocal, 0, ""},
		{"from link-local", one(udpFrom("fe80::1", "fd11::1", nil)), encap.LinkLocal, 0, ""},
		{"TTL 1", one(expired(udpFrom(src, pod(2, 2), nil), 1)), encap.TTLExceeded, 0, "11/0"},
		{"TTL 0", one(expired(udpFrom(src, pod(2, 2), nil), 0)), encap.TTLExceeded, 0, "11/0"},
		{"hop limit 1", one(expired(udpFrom(pod6(1, 2), pod6(2, 2), nil), 1)), encap.TTLExceeded, 0, "3/0"},
		{"TTL 1, many", tunnel.Packet{Data: expired(good(), 1), Offload: superpacket(good(), 1000).Offload}, encap.TTLExceeded, 3, "11/0"},
		{"nothing", one(nil), encap.Runt, 0, ""},
		{"19 bytes", one(good()[:19]), encap.Runt, 0, ""},
		{"39 bytes of IPv6", one(udpFrom(pod6(1, 2), pod6(2, 2), nil)[:39]), encap.Runt, 0, ""},
		{"version 5", one(edit(good(), func(p []byte) { p[0] = 0x55 })), encap.NotIP, 0, ""},
		{"header of 16 bytes", one(edit(good(), func(p []byte) { p[0] = 0x44 })), encap.BadIPHeader, 0, ""},
		{"longer than it is", one(good()[:100]), encap.IPLenMismatch, 0, ""},
		{"gso_size 0", offload(func(p *tunnel.Packet) { p.Offload.GSOSize = 0 }), encap.BadOffload, 0, ""},
		{"UFO", offload(func(p *tunnel.Packet) { p.Offload.GSO = 3 }), encap.BadOffload, 0, ""},
		{"an unknown type", offload(func(p *tunnel.Packet) { p.Offload.GSO = 0x7f }), encap.BadOffload, 0, ""},
		{"USO of TCP", offload(func(p *tunnel.Packet) { p.Offload.GSO = 5 }), encap.BadOffload, 0, ""},
		{"a checksum beyond the end", tunnel.Packet{Data: good(), Offload: tunnel.Offload{Flags: 1, CsumStart: 20, CsumOffset: 9999}}, encap.BadOffload, 0, ""},
		{"a checksum in the IP header", tunnel.Packet{Data: good(), Offload: tunnel.Offload{Flags: 1, CsumStart: 0, CsumOffset: 16}}, encap.BadOffload, 0, ""},
		{"TCP header beyond the end", tunnel.Packet{Data: ip(src, pod(2, 2), tcp, make([]byte, 12)), Offload: tunnel.Offload{Flags: 1, GSO: 1, GSOSize: 4}}, encap.BadOffload, 0, ""},
	}
}

// Each packet that cannot go up is counted under its reason, answered if a
// router would answer it, and harms no other of its batch.
func TestUpDrops(t *testing.T) {
	for _, tc := range upCases() {
		r := newRig(t, usual())
		peer := newRig(t, peerOptions(r, 2))
		before, after := udpFrom(pod(1, 2), pod(2, 2), []byte("before")), udpFrom(pod(1, 2), pod(2, 2), []byte("after"))
		r.sendUp(one(before), tc.packet, one(after))
		t.Log(tc.name)
		samePackets(t, arrived(t, peer.ports[0]), hopsAll([][]byte{before, after}, 1))
		r.wantDrops(map[encap.Drop]uint64{tc.drop: max(1, tc.lost)})
		checkAnswer(t, r.dev.Take(), tc.answer, tc.packet.Data, 0)
		if got := r.counts[0].traffic(); got.Packets != 2 || got.Bytes != uint64(len(before)+len(after)) || got.Calls == 0 || got.Batches != 1 {
			t.Errorf("counted %+v", got)
		}
	}
}

// peerOptions makes node n a neighbour of r on the same wire.
func peerOptions(r *rig, n int) rigOptions {
	o := usual()
	o.own, o.wire, o.peers = node(n), r.ports[0].Wire(), nil
	for i := 1; i <= 3; i++ {
		if i != n {
			o.peers = append(o.peers, node(i))
		}
	}
	return o
}

// What goes up goes whole, one hop older, in runs that are as few as can be.
func TestUpRuns(t *testing.T) {
	r := newRig(t, usual())
	peers := [...]*rig{2: newRig(t, peerOptions(r, 2)), 3: newRig(t, peerOptions(r, 3))}
	var batch []tunnel.Packet
	want := map[int][][]byte{}
	add := func(to int, pk tunnel.Packet) {
		want[to] = append(want[to], hopsAll(cutSlow(pk), 1)...)
		batch = append(batch, pk)
	}
	add(2, superpacket(tcpFrom(pod(1, 2), pod(2, 2), 1, pattern(1, 20*1420)), 1420))
	add(2, superpacket(tcpFrom(pod(1, 2), pod(2, 2), 1+20*1420, pattern(2, 20*1420+7)), 1420))
	for i := range 5 { // pods of two nodes take turns
		add(2, one(udpFrom(pod(1, 3), pod(2, 3), pattern(i, 100))))
		add(3, one(udpFrom(pod6(1, 3), pod6(3, 3), pattern(i, 80))))
	}
	add(3, superpacket(ip(pod6(1, 2), pod6(3, 2), udp, udpDatagram(1, 2, pattern(3, 5000))), 1000))
	r.sendUp(batch...)
	for to, packets := range want {
		samePackets(t, arrived(t, peers[to].ports[0]), packets)
	}
	r.wantDrops(nil)
	// Of 1420+32+20 bytes 44 datagrams fit one run, so the two superpackets
	// become one run; a run of small ones for each peer, and one of USO.
	if got := r.counts[0].traffic(); got.Calls != 4 || got.Packets != uint64(len(want[2])+len(want[3])) {
		t.Errorf("counted %+v, want 4 calls and %d packets", got, len(want[2])+len(want[3]))
	}
}

// What the kernel refuses to send is counted by its reason, and only that.
func TestUpSendRefused(t *testing.T) {
	for err, drop := range map[error]encap.Drop{
		unix.ENOBUFS: encap.SockFull, unix.ENOMEM: encap.SockFull,
		unix.ENETUNREACH: encap.SockError, unix.EPERM: encap.SockError, unix.EINVAL: encap.SockError,
	} {
		r := newRig(t, usual())
		two, three := newRig(t, peerOptions(r, 2)), newRig(t, peerOptions(r, 3))
		r.ports[0].Refuse = func(m *tunnel.Message) error {
			if m.To.AddrPort() == two.ports[0].Local() {
				return err
			}
			return nil
		}
		good := udpFrom(pod(1, 2), pod(3, 2), pattern(1, 50))
		r.sendUp(one(udpFrom(pod(1, 2), pod(2, 2), nil)), one(good), superpacket(tcpFrom(pod(1, 2), pod(2, 2), 1, pattern(0, 3000)), 1000))
		r.wantDrops(map[encap.Drop]uint64{drop: 4})
		samePackets(t, arrived(t, three.ports[0]), [][]byte{hops(good, 1)})
		if got := r.counts[0].traffic(); got.Packets != 1 || got.Bytes != uint64(len(good)) {
			t.Errorf("%v: counted %+v", err, got)
		}
	}
}

// A stop ends the loop at either of its ends.
func TestUpRunEnds(t *testing.T) {
	r := newRig(t, usual())
	ended := make(chan error, 1)
	go func() { ended <- r.up.run() }()
	r.dev.Feed(one(udpFrom(pod(1, 2), pod(2, 2), nil)))
	must(t, r.dev.Close())
	if err := <-ended; err != tunnel.ErrClosed {
		t.Errorf("run: %v", err)
	}
	r = newRig(t, usual())
	r.table.Load().outlets[0] = closedPort{r.ports[0]}
	r.dev.Feed(one(udpFrom(pod(1, 2), pod(2, 2), nil)))
	if err := r.up.run(); err != tunnel.ErrClosed {
		t.Errorf("run: %v", err)
	}
}

// A closedPort is one that was stopped while it waited for room.
type closedPort struct{ *tunneltest.Port }

func (closedPort) Send(*tunnel.Outbox, []tunnel.Message) (int, error) { return 0, tunnel.ErrClosed }
