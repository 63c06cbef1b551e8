package encap

import (
	"bytes"
	"slices"
	"testing"
)

// FuzzAddSuper gives the Coalescer any packet as a superpacket of any size.
// What it emits is what the model cuts, and a kernel takes it: a superpacket
// that it refuses would cost every flow the capability.
func FuzzAddSuper(f *testing.F) {
	for i, q := range []packet{tcp4.with(300, 1), udp4.with(300, 1), tcp4.six().with(300, 1), udp4.six().with(300, 1)} {
		f.Add(inner(q), 100+i, uint16(120), uint8(i))
		f.Add(q.build(), 2, uint16(0), uint8(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, size int, mtu uint16, takes uint8) {
		h, drop := Parse(data)
		if drop != Delivered {
			t.Skip()
		}
		p, intact := guarded(data)
		var wires [][]byte
		join := NewCoalescer(func(s *Super) {
			wire := slices.Concat(s.Pieces...)
			if len(wire) != s.Bytes || s.Count < 1 || s.Offload.Super() != (s.Count > 1) {
				t.Fatalf("%d bytes of %d, %d packets, %+v", len(wire), s.Bytes, s.Count, s.Offload)
			}
			if s.Count > 1 {
				checkTakeable(t, s, wire)
				wires = append(wires, refCut(wire, int(s.Offload.GSOSize))...)
				return
			}
			wires = append(wires, wire)
		})
		join.MTU, join.TCP, join.UDP = int(mtu), takes&1 != 0, takes&2 != 0
		want := [][]byte{data[:h.Len]}
		add := func() Drop { return join.Add(p, &h, false) }
		if takes&4 != 0 {
			add = func() Drop { return join.AddSuper(p, &h, size) }
		} else {
			b := bench{c: join}
			size, _ = b.expect(data)
		}
		if drop = add(); drop != Delivered {
			want = nil
		} else if size > 0 {
			want = refCut(data[:h.Len], size)
		}
		join.Flush()
		if !intact() || !bytes.Equal(p, data) {
			t.Fatal("the packet was changed, or what lies around it")
		}
		if !slices.EqualFunc(wires, want, bytes.Equal) {
			t.Fatalf("%v: %d packets, want %d; or other bytes", drop, len(wires), len(want))
		}
	})
}

// checkTakeable holds a superpacket to what virtio_net_hdr_to_skb and
// tun_get_user ask for.
func checkTakeable(t *testing.T, s *Super, wire []byte) {
	t.Helper()
	o, l := s.Offload, refWalk(wire)
	hdr := l.l4 + 8
	if l.proto == 6 {
		hdr = l.l4 + int(wire[l.l4+12]>>4)*4
	}
	switch {
	case o.Flags != NeedsCsum, int(o.CsumStart) != l.l4, int(o.CsumStart)+int(o.CsumOffset) != l.sumAt:
		t.Fatalf("checksum at %d: %+v", l.sumAt, o)
	case int(o.HdrLen) != hdr, hdr >= len(wire), hdr > 120:
		t.Fatalf("%d bytes of header in %d: %+v", hdr, len(wire), o)
	case o.GSOSize == 0, o.GSOSize == 0xffff, s.Count != (len(wire)-hdr+int(o.GSOSize)-1)/int(o.GSOSize):
		t.Fatalf("%d packets of %d in %d bytes", s.Count, o.GSOSize, len(wire))
	case o.GSO == GSOUDP && (l.proto != 17 || s.Count > maxUDPPackets):
		t.Fatalf("%d packets, protocol %d: %+v", s.Count, l.proto, o)
	case o.GSO != GSOUDP && (l.proto != 6 || o.GSO&^GSOECN != map[int]uint8{4: GSOTCP4, 6: GSOTCP6}[l.version]):
		t.Fatalf("IPv%d, protocol %d: %+v", l.version, l.proto, o)
	}
}
