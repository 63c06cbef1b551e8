package encap

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

// FuzzCut gives the Cutter any packet with any Offload. It must never panic
// nor write outside the packet and its arena, and what it cuts is what the
// model cuts.
func FuzzCut(f *testing.F) {
	for i, q := range []packet{tcp4.with(300, 1), udp4.with(300, 1), tcp4.six().with(300, 1), udp4.six().with(300, 1)} {
		b := q.build()
		o := offload(f, b, 100+i)
		f.Add(b, o.Flags, o.GSO, o.HdrLen, o.GSOSize, o.CsumStart, o.CsumOffset, uint8(i))
		f.Add(b, uint8(1), uint8(0), uint16(0), uint16(0), o.CsumStart, o.CsumOffset, uint8(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, flags, gso uint8, hdrLen, size, start, offset uint16, prefixLen uint8) {
		h, drop := Parse(data)
		if drop != Delivered {
			t.Skip()
		}
		o := Offload{flags, gso, hdrLen, size, start, offset}
		p, pIntact := guarded(data)
		arena, arenaIntact := guarded(make([]byte, 1024))
		c := &Cutter{arena: arena}
		prefix := bytes.Repeat([]byte{7}, int(prefixLen%65))
		segs, drop := c.Cut(nil, p, &h, &o, prefix)
		if !pIntact() || !arenaIntact() || !bytes.Equal(p[h.Len:], data[h.Len:]) {
			t.Fatal("bytes outside the packet or the arena were written")
		}
		if n := PacketSize(p, &h, &o); n > h.Len || n < h.L4 && n < h.Len {
			t.Fatalf("PacketSize = %d of %d", n, h.Len)
		}
		switch {
		case drop != Delivered:
			if drop != BadOffload || segs != nil || !bytes.Equal(p, data) {
				t.Fatalf("%v with %d segments", drop, len(segs))
			}
		case o.Super() && len(segs) > 1:
			expectSegments(t, segs, refCut(data[:h.Len], int(size)), prefix)
			if !bytes.Equal(p, data) {
				t.Fatal("the superpacket was changed")
			}
		default:
			expectSegments(t, segs, [][]byte{p[:h.Len]}, prefix)
			field := int(start) + int(offset)
			if flags&NeedsCsum != 0 {
				p, data = p[:h.Len], slices.Concat(data[:field], p[field:field+2], data[field+2:])
			}
			if !bytes.Equal(p[:h.Len], data[:h.Len]) {
				t.Fatal("more than the checksum field was changed")
			}
		}
	})
}

func ExampleCutter_Cut() {
	super := tcp4.with(3000, 1).build()
	h, _ := Parse(super)
	o := Offload{Flags: NeedsCsum, GSO: GSOTCP4, GSOSize: 1448, CsumStart: 20, CsumOffset: 16}
	segs, _ := NewCutter(64<<10).Cut(nil, super, &h, &o, nil)
	for i := range segs {
		fmt.Println(len(segs[i].Head), "+", len(segs[i].Body))
	}
	// Output:
	// 52 + 1448
	// 52 + 1448
	// 52 + 104
}
