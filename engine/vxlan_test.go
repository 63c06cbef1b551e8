package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"weft/encap"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// twoVTEPs are nodes 1 and 2 of a vxlan network, by a wire.
func twoVTEPs(t *testing.T) (a, b *rig) {
	nodes := newCluster(t, tunneltest.NewWire(), allTUN, allPort, "vxlan", "vxlan")
	return nodes[0], nodes[1]
}

// takes lets r take one message from an address.
func (r *rig) takes(from string, m tunnel.Received) {
	r.t.Helper()
	m.From = netip.MustParseAddrPort(from)
	if m.Size == 0 {
		m.Size = len(m.Data)
	}
	r.ports[0].Inject(m)
	r.drain()
}

// frame is what node 2 sends node 1 with the inner packet p.
func frame(p []byte) []byte {
	src, dst := vtep(2, p[0]>>4), vtep(1, p[0]>>4)
	b := append([]byte{8, 0, 0, 0, 0, 0, 1, 0}, dst.MAC[:]...)
	b = append(b, src.MAC[:]...)
	if p[0]>>4 == 6 {
		return append(append(b, 0x86, 0xdd), p...)
	}
	return append(append(b, 8, 0), p...)
}

// A flow keeps one source port, and flows are spread over all of them.
func TestUpSpreadsFlows(t *testing.T) {
	a, b := twoVTEPs(t)
	seen := map[uint16]map[int]bool{}
	for range 3 {
		for flow := range 64 {
			p := ip(pod(1, 2), pod(2, 2), udp, udpDatagram(uint16(1000+flow), 53, []byte("query")))
			a.sendUp(one(finished(p)))
			for _, m := range b.ports[0].Take() {
				port := m.From.Port()
				if seen[port] == nil {
					seen[port] = map[int]bool{}
				}
				seen[port][flow] = true
			}
		}
	}
	flows := 0
	for port, of := range seen {
		flows += len(of)
		if len(of) < 4 {
			t.Errorf("port %d has %d of 64 flows", port, len(of))
		}
	}
	if len(seen) != 4 || flows != 64 {
		t.Errorf("64 flows left by %d ports, %d times one each", len(seen), flows)
	}
}

// Congestion bits go out with the packet and come back into it (RFC 6040).
func TestECNCrosses(t *testing.T) {
	a, b := twoVTEPs(t)
	for _, inner := range []uint8{0, 1, 2, 3} {
		for _, marked := range []bool{false, true} {
			p := udpFrom(pod(1, 2), pod(2, 2), []byte("x"))
			p[1] = 0xb8 | inner // with a DSCP, which stays inside
			seal4(p)
			a.sendUp(one(bytes.Clone(p)))
			m := b.ports[0].Take()[0]
			if m.ECN != inner {
				t.Errorf("inner %02b went out as %02b", inner, m.ECN)
			}
			if marked {
				m.ECN = 3
			}
			b.ports[0].Inject(m)
			b.drain()
			if marked && inner == 0 {
				b.wantDrops(map[encap.Drop]uint64{encap.ECNNotECT: 1})
				continue
			}
			if marked {
				p[1] |= 3
				seal4(p)
			}
			samePackets(t, written(b.dev.Take()), [][]byte{p})
		}
	}
	b.wantDrops(nil)
}

// What comes in is counted by what is wrong with it; nothing of it is written.
func TestDownFrameDrops(t *testing.T) {
	good := func() []byte { return frame(udpFrom(pod(2, 2), pod(1, 2), []byte("x"))) }
	edit := func(f func([]byte)) []byte { b := good(); f(b); return b }
	for _, tc := range []struct {
		name     string
		datagram []byte
		drop     encap.Drop
	}{
		{"empty", nil, encap.VXLANHeader},
		{"headers alone", good()[:22], encap.VXLANHeader},
		{"no VNI flag", edit(func(b []byte) { b[0] = 0 }), encap.VXLANHeader},
		{"a group policy, without GBP", edit(func(b []byte) { b[0] = 0x88 }), encap.VXLANHeader},
		{"another VNI", edit(func(b []byte) { b[6] = 2 }), encap.VXLANVNI},
		{"for another VTEP", edit(func(b []byte) { b[13]++ }), encap.VXLANMAC},
		{"from our VTEP", edit(func(b []byte) { copy(b[14:20], b[8:14]) }), encap.VXLANMAC},
		{"a VLAN tag", edit(func(b []byte) { b[20], b[21] = 0x81, 0 }), encap.VXLANEtherType},
		{"an inner packet cut short", good()[:45], encap.IPLenMismatch},
		{"another's pod", frame(udpFrom(pod(3, 2), pod(1, 2), nil)), encap.InnerSrcNotLeased},
		{"not for us", frame(udpFrom(pod(2, 2), pod(3, 2), nil)), encap.InnerDstNotLocal},
	} {
		a, _ := twoVTEPs(t)
		a.takes("192.168.50.2:40001", tunnel.Received{Data: tc.datagram, Size: max(1, len(tc.datagram))})
		t.Log(tc.name)
		a.wantDrops(map[encap.Drop]uint64{tc.drop: 1})
		a.takes("203.0.113.9:40001", tunnel.Received{Data: good()})
		a.wantDrops(map[encap.Drop]uint64{encap.OuterSrcUnknown: 1})
		if got := a.dev.Take(); len(got) != 0 {
			t.Errorf("%d packets were written", len(got))
		}
		a.takes("192.168.50.2:1", tunnel.Received{Data: append(good(), 0, 0, 0)}) // any port, and padding
		samePackets(t, written(a.dev.Take()), [][]byte{good()[22:]})
	}
}

// A datagram over IPv4 that may have had no checksum is joined with others only
// if its own packet's is right: else a broken packet would be mended.
func TestDownUncheckedDatagrams(t *testing.T) {
	for _, tc := range []struct {
		name   string
		run    bool // one message with both, as the kernel joins what it has checked
		writes int
	}{{"one by one", false, 2}, {"a run", true, 1}} {
		a, _ := twoVTEPs(t)
		first := tcpFrom(pod(2, 2), pod(1, 2), 1, pattern(1, 100))
		second := tcpFrom(pod(2, 2), pod(1, 2), 101, pattern(2, 100))
		second[len(second)-1] ^= 1
		if tc.run {
			data := append(frame(first), frame(second)...)
			a.takes("192.168.50.2:40001", tunnel.Received{Data: data, Size: len(data) / 2})
		} else {
			from := netip.MustParseAddrPort("192.168.50.2:40001")
			for _, p := range [][]byte{first, second} {
				a.ports[0].Inject(tunnel.Received{Data: frame(p), Size: len(frame(p)), From: from})
			}
			a.drain()
		}
		if got := a.dev.Take(); len(got) != tc.writes {
			t.Errorf("%s: %d writes, want %d", tc.name, len(got), tc.writes)
		}
	}
}

// A foreign VTEP that asks for our link-layer address is told, at the port
// where it listens; a stranger, and a question about somebody else, is not.
func TestDownAnswersNeighbours(t *testing.T) {
	a, b := twoVTEPs(t)
	mine, asker := vtep(1, 4).MAC, vtep(2, 4).MAC
	ask := func(target string) []byte {
		f := append([]byte{8, 0, 0, 0, 0, 0, 1, 0, 255, 255, 255, 255, 255, 255}, asker[:]...)
		f = append(f, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
		f = append(append(f, asker[:]...), 10, 5, 2, 0)
		to := netip.MustParseAddr(target).As4()
		return append(append(f, 0, 0, 0, 0, 0, 0), to[:]...)
	}
	a.takes("192.168.50.2:40001", tunnel.Received{Data: ask("10.5.1.0")})
	answers := arrived(t, b.ports[0])
	if len(answers) != 1 || !bytes.Equal(answers[0][8:14], asker[:]) || !bytes.Equal(answers[0][30:36], mine[:]) ||
		binary.BigEndian.Uint16(answers[0][28:]) != 2 {
		t.Fatalf("answers % x", answers)
	}
	a.wantDrops(nil)
	a.takes("192.168.50.2:40001", tunnel.Received{Data: ask("10.5.1.9")})
	a.wantDrops(map[encap.Drop]uint64{encap.Neighbour: 1})
	a.takes("203.0.113.9:40001", tunnel.Received{Data: ask("10.5.1.0")})
	a.wantDrops(map[encap.Drop]uint64{encap.OuterSrcUnknown: 1})
	if more := arrived(t, b.ports[0]); len(more) != 0 || len(a.dev.Take()) != 0 {
		t.Errorf("more answers: % x", more)
	}
}

// With GBP on, frames are counted by policy, and those that are not accepted
// are dropped.
func TestDownPolicies(t *testing.T) {
	a, _ := twoVTEPs(t)
	codec := a.build.framings[0].codec.(*encap.VXLAN)
	var err error
	codec.GBP = true
	codec.Accept, err = encap.ParsePolicies("0,0x10-0x1f")
	must(t, err)
	a.down.seen = new(policies)
	for _, policy := range []uint16{0, 0x10, 0x1f, 0x10, 0x20} {
		f := frame(udpFrom(pod(2, 2), pod(1, 2), []byte("x")))
		if policy != 0 {
			f[0] |= 0x80
			binary.BigEndian.PutUint16(f[2:], policy)
		}
		a.takes("192.168.50.2:40001", tunnel.Received{Data: f})
	}
	a.wantDrops(map[encap.Drop]uint64{encap.VXLANPolicy: 1})
	before := policyCounts{}
	if got := fmt.Sprint(a.down.seen.since(before)); got != "map[0x0000:1 0x0010:2 0x001f:1 0x0020 refused:1]" {
		t.Errorf("policies seen: %s", got)
	}
	if got := a.down.seen.since(before); len(got) != 0 {
		t.Errorf("seen again: %v", got)
	}
}

// Packets of a kernel peer that never met a network card: their checksums are
// for our kernel to finish, and a superpacket is handed on as one.
func TestDownFromKernelPeer(t *testing.T) {
	a, _ := twoVTEPs(t)
	small := partial(tcpFrom(pod(2, 2), pod(1, 2), 1, pattern(1, 100))).Data
	a.takes("192.168.50.2:40001", tunnel.Received{Data: frame(small)})
	got := a.dev.Take()
	if len(got) != 1 || got[0].Offload.Flags != 1 || got[0].Offload.GSO != 0 {
		t.Fatalf("a packet with half a checksum: %+v", got)
	}
	payload := pattern(2, 60000)
	large := partial(tcpFrom(pod(2, 2), pod(1, 2), 101, payload)).Data
	want := cutSlow(tunnel.Packet{Data: bytes.Clone(large), Offload: tunnel.Offload{Flags: 1, GSO: 1, GSOSize: 1472 - 52}})
	a.takes("192.168.50.2:40001", tunnel.Received{Data: frame(large)})
	got = a.dev.Take()
	if len(got) != 1 {
		t.Fatalf("a superpacket became %d writes", len(got))
	}
	samePackets(t, written(got), want)
	down := a.counts[1].traffic()
	if want := uint64(1 + len(want)); down.Packets != want {
		t.Errorf("%d packets counted, want %d", down.Packets, want)
	}
	a.wantDrops(nil)
}
