package engine

import (
	"testing"

	"weft/encap"
	"weft/tunnel"
)

// lost sums all drops and forgets them.
func (r *rig) lost() (n uint64) {
	for i := range r.counts {
		for d := range r.counts[i].drops {
			n += r.counts[i].drops[d].Swap(0)
		}
	}
	return n
}

// sent returns what a direction has carried since the last call.
func (c *counters) sent() uint64 { return c.packets.Swap(0) }

// FuzzDown throws datagrams at the down loop. Nothing panics; each datagram is
// delivered or counted under one reason; and what is delivered bears an
// address of the lease of him who sent it and is for us.
func FuzzDown(f *testing.F) {
	rigs := map[bool]*rig{}
	for _, vnet := range []bool{true, false} {
		o := usual()
		if !vnet {
			o.tun = 0
		}
		rigs[vnet] = newRig(f, o)
	}
	for _, p := range [][]byte{
		toUs(2, 1, 40), tcpFrom(pod(2, 2), pod(1, 2), 1, pattern(0, 100)), udpFrom(pod6(2, 2), pod6(1, 2), pattern(1, 9)),
		partial(ip(pod(2, 2), pod(1, 2), tcp, tcpSegment(1, 2, 3, 2, nil))).Data, ip(pod(2, 2), pod(1, 2), icmp, make([]byte, 30)),
		{}, {0x45}, {0x60, 39: 1}, toUs(3, 1, 5),
	} {
		f.Add(p, uint16(len(p)), byte(2), true)
		f.Add(append(append([]byte{}, p...), p...), uint16(len(p)), byte(2), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, size uint16, from byte, vnet bool) {
		r := rigs[vnet]
		r.t = t
		m := tunnel.Received{Data: data, Size: len(data), From: outer(int(from%4) + 2)}
		n := uint64(1)
		if s := int(size); s > 0 && s < len(data) {
			m.Size, n = s, uint64((len(data)+s-1)/s)
		}
		r.receive(m)
		if got := r.counts[1].sent() + r.lost(); got != n {
			t.Errorf("%d datagrams came in, %d are accounted for", n, got)
		}
		for _, w := range r.dev.Take() {
			h, drop := encap.Parse(w.Data)
			if drop != encap.Delivered {
				t.Fatalf("a packet that is %v is delivered", drop)
			}
			l := node(int(from%4) + 2)
			if src := h.Src(w.Data); !l.Subnet.Contains(src) && !l.Subnet6.Contains(src) || !r.table.Load().owns(h.Dst(w.Data)) {
				t.Fatalf("a packet %v → %v from node %d is delivered", src, h.Dst(w.Data), from%4+2)
			}
			if !vnet && w.Offload != (tunnel.Offload{}) {
				t.Fatalf("%+v is written to a device without a header", w.Offload)
			}
		}
	})
}

// FuzzUp throws packets with offloads at the up loop. Nothing panics, no
// message breaks the rules (the port in memory sees to that), each packet
// leaves a trace in the counters, and what goes out is whole.
func FuzzUp(f *testing.F) {
	r := newRig(f, usual())
	const limit = 600
	r.table.Load().lookup(node(3).Subnet.Addr().Next()).path.inner.Store(limit)
	peers := []*rig{newRig(f, peerOptions(r, 2)), newRig(f, peerOptions(r, 3))}
	add := func(pk tunnel.Packet) {
		o := pk.Offload
		f.Add(pk.Data, o.Flags, o.GSO, o.HdrLen, o.GSOSize, o.CsumStart, o.CsumOffset)
	}
	add(superpacket(tcpFrom(pod(1, 2), pod(2, 2), 1, pattern(0, 500)), 100))
	add(superpacket(tcpFrom(pod6(1, 2), pod6(2, 2), 1, pattern(0, 500)), 100))
	add(superpacket(ip(pod(1, 2), pod(3, 2), udp, udpDatagram(1, 2, pattern(0, 2000))), 700))
	add(partial(ip(pod(1, 2), pod(2, 2), udp, udpDatagram(1, 2, pattern(0, 50)))))
	add(one(unfragmented(udpFrom(pod(1, 2), pod(3, 2), pattern(0, 1000)))))
	for _, tc := range upCases() {
		add(tc.packet)
	}
	f.Fuzz(func(t *testing.T, data []byte, flags, gso uint8, hdrLen, gsoSize, csumStart, csumOffset uint16) {
		r.t = t
		r.sendUp(tunnel.Packet{Data: data, Offload: tunnel.Offload{Flags: flags, GSO: gso, HdrLen: hdrLen, GSOSize: gsoSize, CsumStart: csumStart, CsumOffset: csumOffset}})
		sent, lost := r.counts[0].sent(), r.lost()
		if sent+lost == 0 {
			t.Error("a packet vanished without a trace")
		}
		if gso == 0 && lost > 1 {
			t.Errorf("one packet was lost %d times", lost)
		}
		var out uint64
		for i, p := range peers {
			for _, d := range arrived(t, p.ports[0]) {
				out++
				h, drop := encap.Parse(d)
				if drop != encap.Delivered || h.Len != len(d) {
					t.Fatalf("%d bytes go out as a packet of %d, %v", len(d), h.Len, drop)
				}
				if i == 1 && len(d) > limit {
					t.Fatalf("%d bytes go where %d fit", len(d), limit)
				}
			}
		}
		if out > sent {
			t.Errorf("%d datagrams went out, %d were counted", out, sent)
		}
		for _, w := range r.dev.Take() {
			if h, drop := encap.Parse(w.Data); drop != encap.Delivered || h.Proto != icmp && h.Proto != icmp6 {
				t.Fatalf("what is written to the device is no answer: %v", drop)
			}
		}
	})
}
