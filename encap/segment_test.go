package encap

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// randomSuper draws a packet with many payload bytes and a segment size.
func randomSuper(r *rand.Rand) (packet, int) {
	q := []packet{tcp4, udp4, tcp4.six(), udp4.six()}[r.IntN(4)]
	q.src, q.dst, q.tos, q.ttl = byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(1+r.IntN(255))
	q.sport, q.dport, q.id = uint16(r.Uint32()), uint16(r.Uint32()), uint16(r.Uint32())
	q.df = r.IntN(2) == 0
	q.seq, q.ack, q.window, q.urgent = r.Uint32(), r.Uint32(), uint16(r.Uint32()), uint16(r.Uint32())
	q.flags = byte(r.Uint32()) // FIN, PSH, URG, ECE, CWR, even SYN and RST
	q.tcpOptions = make([]byte, 4*r.IntN(11))
	for i := range q.tcpOptions {
		q.tcpOptions[i] = byte(r.Uint32())
	}
	switch {
	case r.IntN(3) > 0:
	case q.v == 4:
		q.options = bytes.Repeat([]byte{1}, 4*r.IntN(11))
	default:
		q.first, q.options = extensions(q.proto, 8*(1+r.IntN(2)), 60)
	}
	size := []int{1, 2, 3, 7, 8, 63, 536, 1171, 1420, 1448, 9000, 65000}[r.IntN(12)]
	n := min(1+r.IntN(65535-200), size*(MaxSegments-1))
	if r.IntN(4) == 0 {
		n = min(size*(1+r.IntN(44)), 65535-200) // no shorter segment at the end
	}
	return q.with(n, r.Uint64()), size
}

// joined returns the bytes of each segment.
func joined(segs []Segment) [][]byte {
	var out [][]byte
	for i := range segs {
		b := slices.Concat(segs[i].Head, segs[i].Body)
		if len(b) != segs[i].Len() {
			panic("Segment.Len")
		}
		out = append(out, b)
	}
	return out
}

// expectSegments compares segments with the model's packets behind prefix.
func expectSegments(t *testing.T, segs []Segment, want [][]byte, prefix []byte) {
	t.Helper()
	got := joined(segs)
	if len(got) != len(want) {
		t.Fatalf("%d segments, want %d", len(got), len(want))
	}
	for i := range got {
		if w := slices.Concat(prefix, want[i]); !bytes.Equal(got[i], w) {
			n := min(len(w), 140)
			t.Fatalf("segment %d of %d\n got %x\nwant %x", i, len(got), got[i][:min(len(got[i]), n)], w[:n])
		}
	}
}

func TestCutGivesThePacketsOfTheModel(t *testing.T) {
	c := NewCutter(64) // must grow
	r := rand.New(rand.NewPCG(1, 2))
	cut := 0
	for i := range 400 {
		q, size := randomSuper(r)
		super := q.build()
		want := refCut(super, size)
		refPartial(super)
		var prefix []byte
		if i%2 == 0 {
			prefix = []byte("prefix--")[:1+r.IntN(8)]
		}
		if i%7 == 0 {
			c.Reset()
		}
		if len(want) == 1 {
			// The kernel does not call such a packet a superpacket: its
			// checksum is finished and nothing else is touched.
			copy(want[0], super)
			refFix(want[0])
		}
		h, o := parsed(t, super), offload(t, super, size)
		if o.GSO != GSOUDP && i%3 == 0 {
			o.GSO |= GSOECN
		}
		longest := PacketSize(super, &h, &o)
		segs, drop := c.Cut(nil, super, &h, &o, prefix)
		if drop != Delivered {
			t.Fatalf("%d: %v; %+v, %+v", i, drop, h, o)
		}
		expectSegments(t, segs, want, prefix)
		if longest != len(want[0]) {
			t.Fatalf("PacketSize = %d, the first packet has %d bytes", longest, len(want[0]))
		}
		cut += len(segs)
	}
	if cut < 10000 {
		t.Errorf("only %d segments: the generator draws too little", cut)
	}
}

// Segments of earlier packets of a batch stay as they are while later packets
// are cut and the arena is replaced by a larger one.
func TestCutKeepsEarlierSegmentsWhenTheArenaGrows(t *testing.T) {
	c := NewCutter(0)
	var segs []Segment
	var want [][]byte
	for i := range 50 {
		q := tcp4.with(3000, uint64(i))
		q.id = uint16(i * 100)
		b := q.build()
		h, o := parsed(t, b), offload(t, b, 100)
		want = append(want, refCut(b, 100)...)
		var drop Drop
		if segs, drop = c.Cut(segs, b, &h, &o, []byte{}); drop != Delivered {
			t.Fatal(drop)
		}
	}
	expectSegments(t, segs, want, nil)
}

func TestCutMovesNoPayload(t *testing.T) {
	b := tcp4.with(4000, 1).build()
	h, o := parsed(t, b), offload(t, b, 1448)
	segs, _ := NewCutter(4096).Cut(nil, b, &h, &o, []byte("12345678"))
	for i := range segs {
		if want := &b[h.Len-4000+i*1448]; &segs[i].Body[0] != want {
			t.Errorf("segment %d: the body is not where the payload lies", i)
		}
	}
}

func TestCutLeavesPaddingAlone(t *testing.T) {
	for _, size := range []int{0, 10} {
		b := udp4.with(25, 3).build()
		want := [][]byte{slices.Clone(b)}
		if size > 0 {
			want = refCut(b, size)
		}
		padded := append(slices.Clone(b), 1, 2, 3, 4, 5)
		h, o := parsed(t, padded), Offload{}
		if size > 0 {
			o = offload(t, padded, size)
		}
		segs, drop := NewCutter(512).Cut(nil, padded, &h, &o, nil)
		if drop != Delivered || !bytes.Equal(padded[len(b):], []byte{1, 2, 3, 4, 5}) {
			t.Fatalf("size %d: %v, padding %x", size, drop, padded[len(b):])
		}
		expectSegments(t, segs, want, nil)
	}
}

// What the kernel leaves for a network card to do is done on single packets,
// too: for both protocols and at both ends of the range of lengths.
func TestCutFinishesTheChecksumOfASinglePacket(t *testing.T) {
	for _, q := range []packet{tcp4, udp4, tcp4.six(), udp4.six()} {
		for _, n := range []int{0, 1, 2, 63, 64, 1447, 65000} {
			b := q.with(n, 9).build()
			want := slices.Clone(b)
			refPartial(b)
			h, o := parsed(t, b), offload(t, b, 0)
			o.GSO = GSONone
			segs, drop := NewCutter(0).Cut(nil, b, &h, &o, []byte("p"))
			if drop != Delivered {
				t.Fatal(drop)
			}
			expectSegments(t, segs, [][]byte{want}, []byte("p"))
		}
	}
}

// A UDP checksum that computes to 0 is sent as 0xffff, for 0 means none.
func TestUDPChecksumIsNeverZero(t *testing.T) {
	q := udp4.with(20, 1)
	q.payload[0], q.payload[1], q.payload[10], q.payload[11] = 0, 0, 0, 0
	at := 28
	single := q.build()
	copy(single[at:], single[26:28]) // the old checksum as data makes the sum complete
	refFix(single)
	if !bytes.Equal(single[26:28], []byte{0xff, 0xff}) {
		t.Fatalf("the packet is not the special one: %x", single[26:28])
	}
	want := slices.Clone(single)
	refPartial(single)
	h, o := parsed(t, single), offload(t, single, 0)
	o.GSO = GSONone
	segs, _ := NewCutter(0).Cut(nil, single, &h, &o, nil)
	expectSegments(t, segs, [][]byte{want}, nil)

	super := q.build()
	for i := range 2 { // both segments are such packets
		first := refCut(super, 10)[i]
		copy(super[at+10*i:], first[26:28])
	}
	wants := refCut(super, 10)
	for i, w := range wants {
		if !bytes.Equal(w[26:28], []byte{0xff, 0xff}) {
			t.Fatalf("segment %d is not the special one: %x", i, w[26:28])
		}
	}
	h, o = parsed(t, super), offload(t, super, 10)
	segs, _ = NewCutter(0).Cut(nil, super, &h, &o, nil)
	expectSegments(t, segs, wants, nil)
}

func TestCutRefusesContradictions(t *testing.T) {
	tcp := tcp4.with(4000, 1)
	frag := tcp.build()
	frag[6] = 0x20
	short := tcp.build()
	short[32] = 0x40 // 16 bytes of TCP header
	long := packet{v: 4, proto: 6, tcpOptions: timestamps}.build()
	long[32] = 0xf0 // 60 bytes of TCP header, 32 are there
	first, chain := extensions(6, 104, 60)
	deep := tcp.six()
	deep.first, deep.options = first, chain
	icmp := packet{v: 4, proto: 1, ttl: 64}.with(3000, 1).build()
	noports := packet{v: 4, proto: 17, ttl: 64, src: 1}.build()[:24]
	noports[3] = 24
	tcp20 := Offload{Flags: NeedsCsum, GSO: GSOTCP4, GSOSize: 1000, CsumStart: 20, CsumOffset: 16}
	udp20 := Offload{Flags: NeedsCsum, GSO: GSOUDP, GSOSize: 1000, CsumStart: 20, CsumOffset: 6}
	for _, c := range []struct {
		name string
		p    []byte
		o    Offload
	}{
		{"gso_size 0", tcp.build(), Offload{GSO: GSOTCP4}},
		{"unknown gso type", tcp.build(), Offload{GSO: 3, GSOSize: 1000}},
		{"another unknown gso type", tcp.build(), Offload{GSO: 0x7f, GSOSize: 1000}},
		{"TCP type on UDP", udp4.with(4000, 1).build(), tcp20},
		{"UDP type on TCP", tcp.build(), udp20},
		{"TCP type on ICMP", icmp, tcp20},
		{"UDP type on ICMP", icmp, udp20},
		{"TCP4 type on IPv6", tcp.six().build(), tcp20},
		{"TCP6 type on IPv4", tcp.build(), Offload{GSO: GSOTCP6, GSOSize: 1000}},
		{"ECN bit on UDP", udp4.with(4000, 1).build(), Offload{GSO: GSOUDP | GSOECN, GSOSize: 1000}},
		{"a fragment", frag, tcp20},
		{"TCP header shorter than 20 bytes", short, tcp20},
		{"TCP header longer than the packet", long, tcp20},
		{"UDP header longer than the packet", noports, udp20},
		{"headers longer than a header block", deep.build(), Offload{GSO: GSOTCP6, GSOSize: 1000}},
		{"more segments than any kernel makes", udp4.with(MaxSegments+1, 1).build(), Offload{GSO: GSOUDP, GSOSize: 1}},
		{"checksum start outside", tcp.build(), Offload{Flags: NeedsCsum, CsumStart: 5000, CsumOffset: 16}},
		{"checksum start at 65535", tcp.build(), Offload{Flags: NeedsCsum, CsumStart: 65535, CsumOffset: 65535}},
		{"checksum field outside", tcp.build(), Offload{Flags: NeedsCsum, CsumStart: 4050, CsumOffset: 16}},
		{"checksum field half outside", tcp.build()[:4052], Offload{Flags: NeedsCsum, CsumStart: 4035, CsumOffset: 16}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := parsed(t, c.p)
			before := slices.Clone(c.p)
			if n := PacketSize(c.p, &h, &c.o); n != h.Len {
				t.Errorf("PacketSize = %d, want all %d", n, h.Len)
			}
			dst := make([]Segment, 1, 4)
			segs, drop := NewCutter(1024).Cut(dst, c.p, &h, &c.o, []byte("prefix"))
			if drop != BadOffload || len(segs) != 1 {
				t.Errorf("%v and %d segments, want %v and none", drop, len(segs)-1, BadOffload)
			}
			if !bytes.Equal(c.p, before) {
				t.Error("the packet was changed")
			}
		})
	}
}

// The two bounds of a superpacket are reached without being crossed.
func TestCutMakesAsManySegmentsAsItSays(t *testing.T) {
	for _, n := range []int{MaxSegments - 1, MaxSegments} {
		b := udp4.with(n, 1).build()
		h, o := parsed(t, b), offload(t, b, 1)
		segs, drop := NewCutter(64<<10).Cut(nil, b, &h, &o, nil)
		if drop != Delivered || len(segs) != n {
			t.Errorf("%d one-byte datagrams: %v, %d segments", n, drop, len(segs))
		}
	}
}

func TestSuperTellsSuperpacketsApart(t *testing.T) {
	for gso, want := range map[uint8]bool{GSONone: false, GSOECN: false, GSOTCP4: true, GSOTCP6: true, GSOUDP: true, GSOTCP4 | GSOECN: true} {
		o := Offload{GSO: gso}
		if o.Super() != want {
			t.Errorf("GSO %#x: Super = %v", gso, !want)
		}
	}
}
