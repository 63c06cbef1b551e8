package encap

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// parts is what must come of one superpacket that was given to a bench.
type parts struct {
	index int
	want  [][]byte // the packets it stands for, by the model
	got   int
}

// expect says, by the model, what Add must do with p: the segment size if p is
// a superpacket, and why it is thrown away.
func (b *bench) expect(p []byte) (size int, drop Drop) {
	l := refWalk(p)
	p = p[:l.end]
	if b.c.MTU == 0 || len(p) <= b.c.MTU || l.fragment || !refIsUnfinished(p) {
		return 0, Delivered
	}
	if l.proto == 17 {
		if p[l.sumAt] == 0 && p[l.sumAt+1] == 0 {
			return 0, Delivered
		}
		return 0, SegmentUnknown
	}
	hdr := l.l4 + int(p[l.l4+12]>>4)*4
	if hdr < l.l4+20 || hdr > len(p)-1 || hdr > 120 || hdr >= b.c.MTU || !refIPSound(p) {
		return 0, Delivered
	}
	return b.c.MTU - hdr, Delivered
}

// addSuper gives p to the Coalescer as a superpacket of datagrams with size
// bytes of payload.
func (b *bench) addSuper(p []byte, flow string, size int) {
	b.t.Helper()
	h := parsed(b.t, p)
	b.note(p[:h.Len], p, flow, false, size)
	if drop := b.c.AddSuper(p, &h, size); drop != Delivered {
		b.t.Fatalf("AddSuper of %d bytes, size %d: %v", h.Len, size, drop)
	}
	b.parts.done(b)
}

// one checks a packet that the Coalescer has cut out itself.
func (w *parts) one(b *bench, s *Super, wire []byte) {
	if w.got == len(w.want) || s.Count != 1 || s.Offload != (Offload{}) || !bytes.Equal(wire, w.want[w.got]) {
		b.t.Fatalf("part %d of %d is another: %+v, %x", w.got, len(w.want), s.Offload, wire[:min(len(wire), 80)])
	}
	if w.got++; w.got < len(w.want) {
		return
	}
	in := b.in[w.index]
	if b.next[in.flow][0] != w.index {
		b.t.Fatalf("superpacket %d of flow %s overtook packet %d", w.index, in.flow, b.next[in.flow][0])
	}
	b.next[in.flow] = b.next[in.flow][1:]
	delete(b.at, &in.bytes[0])
	b.emitted++
}

// all checks a superpacket that is emitted as one.
func (w *parts) all(b *bench, s *Super, wire []byte, originals []sent) {
	t := b.t
	l := refWalk(wire)
	hdr, kind, field := l.l4+8, GSOUDP, 6
	if l.proto == 6 {
		hdr, field = l.l4+int(wire[l.l4+12]>>4)*4, 16
		kind = map[int]uint8{4: GSOTCP4, 6: GSOTCP6}[l.version]
		if wire[l.l4+13]&0x80 != 0 {
			kind |= GSOECN
		}
	}
	want := Offload{NeedsCsum, kind, uint16(hdr), s.Offload.GSOSize, uint16(l.l4), uint16(field)}
	switch {
	case len(originals) != 1 || s.Count != len(w.want):
		t.Fatalf("%d packets from %d superpackets, want %d from 1", s.Count, len(originals), len(w.want))
	case s.Offload != want:
		t.Fatalf("%+v, want %+v", s.Offload, want)
	case !refIsPartial(wire):
		t.Fatal("the checksum field does not hold the pseudo header's sum")
	case l.end != len(wire) || len(s.Pieces[0]) != hdr:
		t.Fatalf("the header says %d bytes, there are %d; the first piece has %d", l.end, len(wire), len(s.Pieces[0]))
	}
	for i, p := range refCut(wire, int(s.Offload.GSOSize)) {
		if !bytes.Equal(p, w.want[i]) {
			t.Fatalf("packet %d of %d is another:\n got %x\nwant %x", i, len(w.want), p[:min(len(p), 100)], w.want[i][:min(len(p), 100)])
		}
	}
	w.got = s.Count
}

// done ends an Add: superpackets are not held back.
func (w *parts) done(b *bench) {
	b.t.Helper()
	if w.got != len(w.want) {
		b.t.Fatalf("%d of %d parts came out", w.got, len(w.want))
	}
}

// without puts the pseudo header's sum without the length into the field.
func without(p []byte) {
	l := refWalk(p)
	binary.BigEndian.PutUint16(p[l.sumAt:], refPseudo(p, l, 0))
}

// inner is an inner superpacket as a kernel peer sends it.
func inner(q packet) []byte {
	p := q.build()
	refPartial(p)
	return p
}

// A superpacket of a peer goes out at once, whole or cut as the device likes
// it, behind what its flow has open; other flows wait for more.
func TestInnerSuperpackets(t *testing.T) {
	for name, base := range map[string]packet{"tcp4": tcp4, "tcp6": tcp4.six(), "udp4": udp4, "udp6": udp4.six()} {
		for _, whole := range []bool{true, false} {
			b := newBench(t)
			b.c.MTU, b.c.TCP, b.c.UDP = 1450, whole || base.proto == 17, whole || base.proto == 6
			other := base.with(1000, 1)
			other.src = 77
			if !whole {
				other.proto, other.window = 23-base.proto, 9 // the kind that may still be joined
				other.flags, other.seq = tcpACK, 1
			}
			q := base.with(1000, 1)
			var groups []int
			for range 2 {
				for range 2 {
					b.add(q.build(), "", true)
					b.add(other.build(), "", true)
					q, other = q.then(), other.then()
				}
				q = q.with(20000, 2)
				if base.proto == 17 {
					b.addSuper(inner(q), "", 700)
				} else {
					b.add(inner(q), "", true)
				}
				q = q.then().with(1000, 3)
			}
			b.flush()
			groups = b.groups
			supers := (20000 + 699) / 700
			if base.proto == 6 {
				hdr := map[int]int{4: 52, 6: 72}[base.v]
				supers = (20000 + 1450 - hdr - 1) / (1450 - hdr)
			}
			want := []int{2, supers, 2, supers, 4}
			if !whole {
				ones := slices.Repeat([]int{1}, supers)
				want = slices.Concat([]int{1, 1}, ones, []int{1, 1}, ones, []int{4})
			}
			if !slices.Equal(groups, want) {
				t.Errorf("%s, whole %v: groups of %v, want %v", name, whole, groups, want)
			}
		}
	}
}

// What is longer than the MTU is a superpacket only if its checksum is open.
func TestLongPackets(t *testing.T) {
	long := func(q packet, change func(p []byte)) []byte {
		p := inner(q.with(5000, 1))
		change(p)
		return p
	}
	deep := tcp4.six()
	deep.first, deep.options = extensions(6, 16, 60)
	many := tcp4.six()
	many.first, many.options = extensions(6, 64, 60)
	optioned := tcp4
	optioned.options = []byte{1, 1, 1, 1}
	for _, c := range []struct {
		name  string
		p     []byte
		drop  Drop
		count int // packets it stands for
	}{
		{"TCP", long(tcp4, func([]byte) {}), Delivered, 4},
		{"TCP over IPv6", long(tcp4.six(), func([]byte) {}), Delivered, 4},
		{"TCP, its length not in the sum", long(tcp4, without), Delivered, 4},
		{"TCP with CWR", long(tcp4, func(p []byte) { p[33] |= tcpCWR; p[33] |= tcpPSH }), Delivered, 4},
		{"TCP with IPv4 options", long(optioned, func([]byte) {}), Delivered, 4},
		{"TCP behind an extension header", long(deep, func([]byte) {}), Delivered, 4},
		{"TCP behind a long extension header", long(many, func([]byte) {}), Delivered, 1},
		{"TCP with a checksum", long(tcp4, refFix), Delivered, 1},
		{"TCP with a wrong checksum", long(tcp4, func(p []byte) { p[37]++ }), Delivered, 1},
		{"TCP with a wrong IPv4 checksum", long(tcp4, func(p []byte) { p[10]++ }), Delivered, 1},
		{"TCP with too short a header", long(tcp4, func(p []byte) { p[32] = 0x40 }), Delivered, 1},
		{"a fragment", long(tcp4, func(p []byte) { p[6] = 0x20; refFix4(p) }), Delivered, 1},
		{"UDP", long(udp4, func([]byte) {}), SegmentUnknown, 0},
		{"UDP over IPv6", long(udp4.six(), func([]byte) {}), SegmentUnknown, 0},
		{"UDP, its length not in the sum", long(udp4, without), SegmentUnknown, 0},
		{"UDP with a checksum", long(udp4, refFix), Delivered, 1},
		{"UDP without a checksum", long(udp4, func(p []byte) { p[26], p[27] = 0, 0 }), Delivered, 1},
		{"ICMP", packet{v: 4, proto: 1, ttl: 9, src: 2, dst: 9}.with(5000, 1).build(), Delivered, 1},
	} {
		for _, takes := range []bool{true, false} {
			b := newBench(t)
			b.c.MTU, b.c.TCP, b.c.UDP = 1450, takes, takes
			b.add(slices.Clone(c.p), "", true)
			want := []int{c.count}
			if c.drop != Delivered {
				want = nil
			} else if !takes {
				want = slices.Repeat([]int{1}, c.count)
			}
			if !slices.Equal(b.groups, want) {
				t.Errorf("%s, device takes superpackets %v: groups of %v, want %v", c.name, takes, b.groups, want)
			}
			b.flush()
		}
	}
}

// Without an MTU nothing is long, and at the MTU nothing is too long.
func TestMTUIsTheLimit(t *testing.T) {
	p := inner(tcp4.with(1450-52, 1))
	for mtu, groups := range map[int][]int{0: {1}, len(p): {1}, len(p) - 1: {2}} {
		b := newBench(t)
		b.c.MTU = mtu
		b.add(slices.Clone(p), "", true)
		b.flush()
		if !slices.Equal(b.groups, groups) {
			t.Errorf("%d bytes with an MTU of %d: groups of %v, want %v", len(p), mtu, b.groups, groups)
		}
	}
}

// More datagrams than a kernel takes in one superpacket are given one by one.
func TestLongUDPSuperpacketIsCut(t *testing.T) {
	for n, want := range map[int][]int{64: {64}, 65: slices.Repeat([]int{1}, 65)} {
		b := newBench(t)
		b.addSuper(inner(udp4.with(n*100, 1)), "", 100)
		b.flush()
		if !slices.Equal(b.groups, want) {
			t.Errorf("%d datagrams: groups of %v", n, b.groups)
		}
	}
}

// AddSuper takes what a kernel can have made.
func TestAddSuperRefuses(t *testing.T) {
	with := func(q packet, change func(p []byte)) []byte {
		p := inner(q.with(1000, 1))
		change(p)
		return p
	}
	six := udp4.six()
	six.first, six.options = extensions(17, 8, 44)
	for name, c := range map[string]struct {
		p    []byte
		size int
	}{
		"no size":            {inner(udp4.with(1000, 1)), 0},
		"a negative size":    {inner(udp4.with(1000, 1)), -1},
		"one datagram":       {inner(udp4.with(1000, 1)), 1000},
		"too many":           {inner(udp4.with(10*MaxSegments+1, 1)), 10},
		"no payload":         {inner(udp4.with(0, 1)), 10},
		"TCP":                {inner(tcp4.with(1000, 1)), 100},
		"a checksum":         {udp4.with(1000, 1).build(), 100},
		"no checksum":        {with(udp4, func(p []byte) { p[26], p[27] = 0, 0 }), 100},
		"another UDP length": {with(udp4, func(p []byte) { p[25]++ }), 100},
		"a fragment":         {with(udp4, func(p []byte) { p[6] = 0x20; refFix4(p) }), 100},
		"an IPv6 fragment":   {six.with(1000, 1).build(), 100},
		"a wrong IPv4 sum":   {with(udp4, func(p []byte) { p[10]++ }), 100},
		"a cut UDP header":   {set(udp4.build()[:27], 2, 0, 27), 1},
	} {
		h := parsed(t, c.p)
		join := NewCoalescer(func(*Super) { t.Errorf("%s: emitted", name) })
		if drop := join.AddSuper(c.p, &h, c.size); drop != IPLenMismatch {
			t.Errorf("%s: %v", name, drop)
		}
		join.Flush()
	}
}

// A run of datagrams and a datagram with a superpacket in it are told apart.
func TestWhole(t *testing.T) {
	header := []byte("twenty-two bytes long.")
	one := append(slices.Clone(header), udp4.with(500, 1).build()...)
	run := slices.Concat(one, one, one[:100])
	super := append(slices.Clone(header), inner(udp4.with(3000, 1))...)
	for _, c := range []struct {
		name string
		data []byte
		size int
		want bool
	}{
		{"a run", run, len(one), false},
		{"a run of padded frames", slices.Concat(one, header, one), len(one) + len(header), false},
		{"one datagram", one, len(one), false},
		{"a superpacket", super, 700, true},
		{"a superpacket with padding", append(slices.Clone(super), 0, 0), 700, true},
		{"a superpacket of one byte each", super, 1, true},
		{"no frame", []byte("no frame, no header"), 5, false},
		{"a frame that is cut", super[:1000], 700, false},
	} {
		if got := Whole(prefixed{}, c.data, c.size); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// prefixed has 22 bytes in front of each packet.
type prefixed struct{ UDP }

func (prefixed) Open(d []byte) ([]byte, Drop) {
	if len(d) < 22 {
		return nil, Runt
	}
	return d[22:], Delivered
}

// A superpacket that the device refuses is emitted again as packets.
func TestSingly(t *testing.T) {
	tcp, udp := tcp4.with(1000, 1), udp4.six().with(1000, 1)
	for name, add := range map[string]func(b *bench){
		"joined":      func(b *bench) { b.add(tcp.build(), "", true); b.add(tcp.then().build(), "", true) },
		"unfinished":  func(b *bench) { b.add(inner(udp), "", true); b.add(inner(udp.then()), "", true) },
		"inner TCP":   func(b *bench) { p := inner(tcp.with(4000, 1)); without(p); b.add(p, "", true) },
		"inner UDP":   func(b *bench) { b.addSuper(inner(udp.with(4000, 1)), "", 900) },
		"single":      func(b *bench) { b.add(tcp.build(), "", true) },
		"single long": func(b *bench) { b.add(tcp.with(2000, 1).build(), "", true) },
	} {
		b := newBench(t)
		refuse, refused := b.c, 0
		*refuse = *NewCoalescer(func(s *Super) {
			if s.Offload.Super() {
				refused++
				refuse.Singly(s)
				return
			}
			b.emit(s)
			refuse.Singly(s) // has nothing to do
		})
		b.c.MTU = 1450
		add(b)
		b.flush()
		if slices.Max(b.groups) != 1 || refused != map[bool]int{true: 0, false: 1}[name == "single" || name == "single long"] {
			t.Errorf("%s: groups of %v, %d refused", name, b.groups, refused)
		}
	}
}

// Superpackets among everything else, for devices with and without offloads:
// nothing is lost, doubled, changed or reordered within its flow.
func TestCutOfCoalesceIsIdentityWithSuperpackets(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	supers := 0
	for round := range 60 {
		b := newBench(t)
		b.c.TCP, b.c.UDP, b.c.MTU = r.IntN(3) > 0, r.IntN(3) > 0, []int{1280, 1450, 8950}[r.IntN(3)]
		trouble := []int{0, 5, 40}[round%3]
		ws := walkers(r, 1+r.IntN(20))
		for range 1 + r.IntN(50) {
			w := ws[r.IntN(len(ws))]
			for range 1 + r.IntN(8) {
				if r.IntN(8) == 0 {
					supers += b.randomInner(r, w, round)
					continue
				}
				p := w.step(r, trouble)
				h := parsed(t, p)
				honest := refIsPartial(p) || refSound(p)
				b.add(p, w.name+"/"+strconv.Itoa(round), honest && !h.Frag && r.IntN(2) == 0)
			}
		}
		b.flush()
	}
	if supers < 300 {
		t.Errorf("%d superpackets: hardly any", supers)
	}
}

// randomInner lets the walker send a superpacket.
func (b *bench) randomInner(r *rand.Rand, w *walker, round int) int {
	n := w.mss
	w.q = w.q.with(1+r.IntN(64000), r.Uint64())
	p := inner(w.q)
	if r.IntN(4) == 0 {
		without(p)
	}
	flow, size := w.name+"/"+strconv.Itoa(round), max(n, len(w.q.payload)/MaxSegments+1)
	switch {
	case w.q.proto == 6:
		b.add(p, flow, false)
	case len(w.q.payload) > size:
		b.addSuper(p, flow, size)
	default:
		refPartial(p)
		b.add(p, flow, false)
	}
	w.q = w.q.then().with(n, 1)
	return 1
}
