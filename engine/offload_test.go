package engine

import (
	"bytes"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/tunnel"
)

// stream is n TCP packets of size payload bytes each, in a row.
func stream(n, size int) (out [][]byte) {
	for i := range n {
		out = append(out, tcpFrom(pod(2, 2), pod(1, 2), uint32(1+i*size), pattern(i, size)))
	}
	return out
}

// grouped is a message that brings datagrams of equal length.
func grouped(from int, datagrams [][]byte) tunnel.Received {
	return tunnel.Received{Data: bytes.Join(datagrams, nil), Size: len(datagrams[0]), From: outer(from)}
}

func (r *rig) receive(m tunnel.Received) {
	r.t.Helper()
	r.ports[0].Inject(m)
	must(r.t, r.ports[0].Recv(r.down.inbox))
	r.down.carry()
	must(r.t, r.down.failed)
}

// A run of one flow becomes one superpacket that lies in pieces; without the
// capability it stays what it was.
func TestDownSuperpacket(t *testing.T) {
	for f, calls := range map[tunnel.Feature]int{allTUN: 1, tunnel.Vnet | tunnel.USO: 40, tunnel.Vnet: 40, 0: 40} {
		o := usual()
		o.tun = f
		r := newRig(t, o)
		packets := stream(40, 1400)
		r.receive(grouped(2, packets))
		got := r.dev.Take()
		if len(got) != calls || r.counts[1].traffic().Calls != uint64(calls) {
			t.Errorf("%v: %d writes, want %d", f, len(got), calls)
		}
		if calls == 1 && got[0].Pieces != 41 {
			t.Errorf("%v: %d pieces, want the header and 40", f, got[0].Pieces)
		}
		samePackets(t, written(got), hopsAll(packets, 1))
	}
}

// TestDownRefusedSuperpacket: what the device refuses as a superpacket it gets
// packet by packet, in order, and from the next batch on no more superpackets.
func TestDownRefusedSuperpacket(t *testing.T) {
	r := newRig(t, usual())
	refusals := 0
	r.dev.Refuse = func(o tunnel.Offload, _ []byte) error {
		if o.GSO == 0 {
			return nil
		}
		refusals++
		r.dev.SetFeatures(tunnel.Vnet | tunnel.USO)
		return &tunnel.RefusedError{Feature: tunnel.TSO, Err: unix.EINVAL}
	}
	var want [][]byte
	for range 3 {
		packets := stream(10, 1000)
		slices.Reverse(packets[5:]) // two superpackets and some that do not follow
		want = append(want, hopsAll(packets, 1)...)
		r.receive(grouped(2, packets))
	}
	got := r.dev.Take()
	samePackets(t, written(got), want)
	for _, w := range got {
		if w.Offload.GSO != 0 {
			t.Error("a superpacket was taken")
		}
	}
	if refusals == 0 || refusals > 2 {
		t.Errorf("%d superpackets were tried, want those of the first batch alone", refusals)
	}
	r.wantDrops(nil)
	if n := r.counts[1].traffic().Packets; n != 30 {
		t.Errorf("%d packets counted", n)
	}
}

// A packet whose checksum is only begun, as a kernel peer on a veth sends
// them, is written as such, and finished by us where the device has no way of
// saying so.
func TestDownPartialChecksum(t *testing.T) {
	for _, f := range []tunnel.Feature{allTUN, tunnel.Vnet, 0} {
		for _, p := range [][]byte{
			ip(pod(2, 2), pod(1, 2), udp, udpDatagram(1, 2, pattern(1, 99))),
			ip(pod(2, 2), pod(1, 2), tcp, tcpSegment(1, 2, 3, 0x02, nil)), // a SYN
			ip(pod6(2, 2), pod6(1, 2), udp, udpDatagram(1, 2, pattern(1, 99))),
			ip(pod6(2, 2), pod6(1, 2), tcp, tcpSegment(1, 2, 3, 0x10, pattern(2, 500))),
		} {
			o := usual()
			o.tun = f
			r := newRig(t, o)
			pk := partial(p)
			want := hops(finished(bytes.Clone(p)), 1)
			r.sendDown(2, bytes.Clone(p))
			got := r.dev.Take()
			if len(got) != 1 {
				t.Fatalf("%v: %d writes", f, len(got))
			}
			if f.Has(tunnel.Vnet) && got[0].Offload != pk.Offload {
				t.Errorf("%v: written with %+v, want %+v", f, got[0].Offload, pk.Offload)
			}
			if !f.Has(tunnel.Vnet) && got[0].Offload != (tunnel.Offload{}) {
				t.Errorf("%v: written with %+v to a device without a header", f, got[0].Offload)
			}
			samePackets(t, written(got), [][]byte{want})
		}
	}
}

// Going up, the checksum is finished before the packet leaves.
func TestUpPartialChecksum(t *testing.T) {
	r := newRig(t, usual())
	two := newRig(t, peerOptions(r, 2))
	for _, p := range [][]byte{
		ip(pod(1, 2), pod(2, 2), udp, udpDatagram(1, 2, pattern(1, 99))),
		ip(pod6(1, 2), pod6(2, 2), tcp, tcpSegment(1, 2, 3, 0x02, nil)),
	} {
		r.sendUp(partial(p))
		samePackets(t, arrived(t, two.ports[0]), [][]byte{hops(finished(bytes.Clone(p)), 1)})
	}
	r.wantDrops(nil)
}

// A superpacket that the device refuses in part keeps its other parts: those
// that even alone are refused are counted one by one.
func TestDownRefusedPieces(t *testing.T) {
	r := newRig(t, usual())
	n := 0
	r.dev.Refuse = func(o tunnel.Offload, _ []byte) error {
		if o.GSO != 0 {
			return &tunnel.RefusedError{Feature: tunnel.TSO, Err: unix.EINVAL}
		}
		if n++; n%2 == 0 {
			return unix.EINVAL
		}
		return nil
	}
	packets := stream(6, 700)
	r.receive(grouped(2, packets))
	r.wantDrops(map[encap.Drop]uint64{encap.TunError: 3})
	samePackets(t, written(r.dev.Take()), hopsAll([][]byte{packets[0], packets[2], packets[4]}, 1))
}
