package encap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
)

// A sent packet is one that a test gave to a Coalescer.
type sent struct {
	bytes []byte // what was given; nobody may change it
	copy  []byte // what it was, without padding
	flow  string // packets of the same flow keep their order
	sound bool
}

// A bench holds a Coalescer and checks each thing it emits against the model.
type bench struct {
	t       testing.TB
	c       *Coalescer
	in      []sent
	next    map[string][]int // flow → packets not emitted yet, oldest first
	at      map[*byte]int    // first byte of a packet → its index
	emitted int
	groups  []int // packets of each Super, in order of emission
	parts   parts // what must come of the superpacket that was added
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, next: map[string][]int{}, at: map[*byte]int{}}
	b.c = NewCoalescer(b.emit)
	return b
}

// add gives p to the Coalescer. An empty flow stands for the flow that p's own
// header names.
func (b *bench) add(p []byte, flow string, sound bool) {
	b.t.Helper()
	h := parsed(b.t, p)
	size, want := b.expect(p)
	if want == Delivered {
		b.note(p[:h.Len], p, flow, sound, size)
	}
	if drop := b.c.Add(p, &h, sound); drop != want {
		b.t.Fatalf("Add of %d bytes: %v, want %v", h.Len, drop, want)
	}
	b.parts.done(b)
}

// note writes down that the packet inside p is on its way in. If size is not 0
// it is a superpacket of that size.
func (b *bench) note(inner, p []byte, flow string, sound bool, size int) {
	if flow == "" {
		flow = flowOf(p)
	}
	i := len(b.in)
	b.in = append(b.in, sent{p, slices.Clone(inner), flow, sound})
	b.next[flow] = append(b.next[flow], i)
	b.at[&p[0]] = i
	b.parts = parts{}
	if size > 0 {
		b.parts = parts{index: i, want: refCut(inner, size)}
	}
}

// flowOf names the flow of p: hosts, protocol and, where there are any, ports.
func flowOf(p []byte) string {
	l := refWalk(p)
	addrs := p[8:min(40, len(p))]
	if l.version == 4 {
		addrs = p[12:20]
	}
	if (l.proto == 6 || l.proto == 17) && !l.fragment && l.end >= l.l4+4 {
		return fmt.Sprintf("%x %d %x", addrs, l.proto, p[l.l4:l.l4+4])
	}
	return fmt.Sprintf("%x %d %v", addrs, l.proto, l.fragment)
}

// flush ends the batch: everything must have come out, unchanged.
func (b *bench) flush() {
	b.t.Helper()
	b.c.Flush()
	if b.emitted != len(b.in) {
		b.t.Fatalf("%d packets went in, %d came out", len(b.in), b.emitted)
	}
	for i, s := range b.in {
		if !bytes.Equal(s.bytes[:len(s.copy)], s.copy) {
			b.t.Fatalf("packet %d was changed", i)
		}
	}
	b.in, b.emitted = nil, 0
	clear(b.at)
}

// emit checks one Super against the packets it claims to stand for, and these
// against the order in which they came.
func (b *bench) emit(s *Super) {
	t := b.t
	wire := slices.Concat(s.Pieces...)
	if len(wire) != s.Bytes {
		t.Fatalf("Bytes = %d, the pieces have %d", s.Bytes, len(wire))
	}
	b.groups = append(b.groups, s.Count)
	if len(s.Packets) == 0 {
		b.parts.one(b, s, wire)
		return
	}
	var originals []sent
	for _, p := range s.Packets {
		i, known := b.at[&p[0]]
		if !known {
			t.Fatal("a packet came out that never went in, or came out twice")
		}
		delete(b.at, &p[0])
		in := b.in[i]
		if queue := b.next[in.flow]; queue[0] != i {
			t.Fatalf("packet %d of flow %s overtook packet %d", i, in.flow, queue[0])
		}
		b.next[in.flow] = b.next[in.flow][1:]
		if !bytes.Equal(p, in.copy) {
			t.Fatalf("packet %d was changed or has the wrong length", i)
		}
		originals = append(originals, in)
		b.emitted++
	}
	switch {
	case s.Count != len(s.Packets):
		b.parts.all(b, s, wire, originals)
	case s.Count == 1:
		checkSingle(t, s, wire, originals[0])
	default:
		checkSuper(t, s, wire, originals)
	}
}

// checkSingle: a packet that is alone is emitted as it came, and the kernel is
// asked to finish its checksum only if that is what it lacks.
func checkSingle(t testing.TB, s *Super, wire []byte, in sent) {
	t.Helper()
	if !bytes.Equal(wire, in.copy) {
		t.Fatalf("a single packet was changed:\n got %x\nwant %x", wire, in.copy)
	}
	l := refWalk(wire)
	if !refIsPartial(wire) {
		if s.Offload != (Offload{}) {
			t.Fatalf("%+v for a finished packet", s.Offload)
		}
		return
	}
	want := Offload{Flags: NeedsCsum, CsumStart: uint16(l.l4), CsumOffset: uint16(l.sumAt - l.l4)}
	if s.Offload != want {
		t.Fatalf("%+v for an unfinished packet, want %+v", s.Offload, want)
	}
}

// checkSuper: the kernel's rules for a superpacket hold, and cutting it gives
// the packets it was made of.
func checkSuper(t testing.TB, s *Super, wire []byte, originals []sent) {
	t.Helper()
	l := refWalk(wire)
	hdr, kind, field := l.l4+8, GSOUDP, 6
	if l.proto == 6 {
		hdr, field = l.l4+int(wire[l.l4+12]>>4)*4, 16
		kind = map[int]uint8{4: GSOTCP4, 6: GSOTCP6}[l.version]
	}
	want := Offload{NeedsCsum, kind, uint16(hdr), s.Offload.GSOSize, uint16(l.l4), uint16(field)}
	switch {
	case s.Offload != want:
		t.Fatalf("%+v, want %+v", s.Offload, want)
	case l.end != len(wire) || len(wire) > 65535:
		t.Fatalf("the header says %d bytes, there are %d; at most 65535", l.end, len(wire))
	case l.proto == 17 && len(originals) > 64:
		t.Fatalf("%d datagrams in one superpacket", len(originals))
	case l.proto == 17 && int(binary.BigEndian.Uint16(wire[l.l4+4:])) != l.end-l.l4:
		t.Fatal("the UDP length is not that of the superpacket")
	case !refIsPartial(wire):
		t.Fatal("the checksum field does not hold the pseudo header's sum")
	case !refIPSound(wire):
		t.Fatal("the IP header's checksum is wrong")
	}
	packets := refCut(wire, int(s.Offload.GSOSize))
	if len(packets) != len(originals) {
		t.Fatalf("%d packets were joined, the kernel will see %d", len(originals), len(packets))
	}
	for i, p := range packets {
		checkRestored(t, p, originals[i])
	}
}

// checkRestored compares a packet cut from a superpacket with the one that went
// in. They are equal byte for byte, but for three liberties: an unfinished
// checksum is finished; a checksum of 0xffff may turn into its equal 0; and
// with DF the IPv4 ID means nothing (RFC 6864 4.1), so it may be renumbered.
func checkRestored(t testing.TB, got []byte, in sent) {
	t.Helper()
	want := slices.Clone(in.copy)
	if l := refWalk(want); l.proto == 17 && want[l.sumAt] == 0 && want[l.sumAt+1] == 0 {
		t.Fatalf("a datagram without a checksum was joined and has one now: %x", want[:min(len(want), 80)])
	}
	if !refIPSound(want) || !refIsPartial(want) && !refSound(want) {
		t.Fatalf("a packet with a wrong checksum was joined: %x", want[:min(len(want), 80)])
	}
	if want[0]>>4 == 4 && want[6]&0x40 != 0 {
		copy(want[4:6], got[4:6])
	}
	refFix(want)
	if !bytes.Equal(got, want) {
		n := min(len(got), len(want), 100)
		t.Fatalf("joined and cut again, the packet is another:\n got %x\nwant %x", got[:n], want[:n])
	}
}

// Each row says what may follow a packet within one superpacket. The bytes
// are checked in any case; the rows say what must be joined and what not.
func TestCoalescerJoinsWhatBelongsTogether(t *testing.T) {
	resize := func(n int) func(*packet) { return func(q *packet) { *q = q.with(n, 5) } }
	base := map[string]packet{"tcp4": tcp4, "tcp6": tcp4.six(), "udp4": udp4, "udp6": udp4.six()}
	for _, c := range []struct {
		name   string
		on     string // which of base, space-separated
		change func(*packet)
		joined bool
	}{
		{"the next packet", "tcp4 tcp6 udp4 udp6", func(*packet) {}, true},
		{"a shorter packet", "tcp4 tcp6 udp4 udp6", resize(999), true},
		{"a one-byte packet", "tcp4 tcp6 udp4 udp6", resize(1), true},
		{"PSH", "tcp4 tcp6", func(q *packet) { q.flags |= tcpPSH }, true},
		{"DF and another ID", "tcp4 udp4", func(q *packet) { q.id += 77 }, true},
		{"a longer packet", "tcp4 tcp6 udp4 udp6", resize(1001), false},
		{"an empty packet", "tcp4 tcp6 udp4 udp6", resize(0), false},
		{"a gap", "tcp4 tcp6", func(q *packet) { q.seq += 1000 }, false},
		{"a retransmission", "tcp4 tcp6", func(q *packet) { q.seq -= 1000 }, false},
		{"FIN", "tcp4 tcp6", func(q *packet) { q.flags |= tcpFIN }, false},
		{"SYN", "tcp4", func(q *packet) { q.flags |= 2 }, false},
		{"RST", "tcp4", func(q *packet) { q.flags |= 4 }, false},
		{"no ACK", "tcp4", func(q *packet) { q.flags = 0 }, false},
		{"URG", "tcp4", func(q *packet) { q.flags |= 0x20 }, false},
		{"ECE", "tcp4 tcp6", func(q *packet) { q.flags |= tcpECE }, false},
		{"CWR", "tcp4 tcp6", func(q *packet) { q.flags |= tcpCWR }, false},
		{"another acknowledgement", "tcp4 tcp6", func(q *packet) { q.ack++ }, false},
		{"a far acknowledgement", "tcp4 tcp6", func(q *packet) { q.ack += 1 << 24 }, false},
		{"another window", "tcp4 tcp6", func(q *packet) { q.window++ }, false},
		{"another urgent pointer", "tcp4", func(q *packet) { q.urgent++ }, false},
		{"other TCP options", "tcp4 tcp6", func(q *packet) { q.tcpOptions = unhex("0101080a0011223344556678") }, false},
		{"no TCP options", "tcp4 tcp6", func(q *packet) { q.tcpOptions = nil }, false},
		{"another TTL", "tcp4 tcp6 udp4 udp6", func(q *packet) { q.ttl-- }, false},
		{"another TOS", "tcp4 tcp6 udp4 udp6", func(q *packet) { q.tos = 0xb8 }, false},
		{"an ECN mark", "tcp4 tcp6 udp4 udp6", func(q *packet) { q.tos = 3 }, false},
		{"another DF", "tcp4 udp4", func(q *packet) { q.df = false }, false},
		{"another port", "tcp4 tcp6 udp4 udp6", func(q *packet) { q.sport++ }, false},
		{"another host", "tcp4 tcp6 udp4 udp6", func(q *packet) { q.dst++ }, false},
		{"IPv4 options", "tcp4 udp4", func(q *packet) { q.options = []byte{1, 1, 1, 0} }, false},
		{"extension headers", "tcp6 udp6", func(q *packet) { q.first, q.options = extensions(q.proto, 8, 60) }, false},
	} {
		for name, q := range base {
			if !bytes.Contains([]byte(c.on), []byte(name)) {
				continue
			}
			for _, sound := range []bool{true, false} {
				b := newBench(t)
				first := q.with(1000, 1)
				b.add(first.build(), "", sound)
				b.add(first.then(c.change).build(), "", sound)
				b.flush()
				if joined := len(b.groups) == 1; joined != c.joined {
					t.Errorf("%s, %s, sound %v: joined %v, want %v", name, c.name, sound, joined, c.joined)
				}
			}
		}
	}
}

// Without DF the IDs of a superpacket's packets are told by the first one.
func TestCoalescerKeepsIPv4IDsThatMatter(t *testing.T) {
	for _, c := range []struct {
		first, second, third uint16
		groups               []int
	}{
		{7, 8, 9, []int{3}},
		{0xfffe, 0xffff, 0, []int{3}},
		{7, 7, 7, []int{1, 1, 1}},
		{7, 9, 10, []int{1, 2}},
		{7, 6, 5, []int{1, 1, 1}},
	} {
		b := newBench(t)
		q := udp4.with(500, 1)
		q.df = false
		for _, q.id = range []uint16{c.first, c.second, c.third} {
			b.add(q.build(), "", false)
		}
		b.flush()
		if !slices.Equal(b.groups, c.groups) {
			t.Errorf("IDs %d %d %d: groups of %v, want %v", c.first, c.second, c.third, b.groups, c.groups)
		}
	}
}

func TestShortPacketAndPushEndASuperpacket(t *testing.T) {
	for name, end := range map[string]func(*packet){
		"short": func(q *packet) { *q = q.with(400, 2) },
		"push":  func(q *packet) { q.flags |= tcpPSH },
	} {
		b := newBench(t)
		q := tcp4.with(1000, 1)
		b.add(q.build(), "", false)
		q = q.then(end)
		b.add(q.build(), "", false)
		q = q.then()
		q.flags = tcpACK
		b.add(q.build(), "", false)
		q = q.then()
		b.add(q.build(), "", false)
		b.flush()
		if !slices.Equal(b.groups, []int{2, 2}) {
			t.Errorf("%s: groups of %v, want [2 2]", name, b.groups)
		}
	}
}

// The limits are reached, and never crossed.
func TestSuperpacketsAreAsLargeAsAllowed(t *testing.T) {
	for _, c := range []struct {
		name   string
		q      packet
		n      int
		groups []int
	}{
		{"64 KB of TCP", tcp4.with(1448, 1), 92, []int{45, 45, 2}},
		{"64 datagrams", udp4.with(100, 1), 130, []int{64, 64, 2}},
		{"64 KB of UDP", udp4.with(9000, 1), 15, []int{7, 7, 1}},
		{"65535 bytes exactly", tcp4.with(5953, 1), 12, []int{11, 1}},
		{"65535 bytes of payload", udp4.with(13107, 1), 5, []int{4, 1}},
		{"512 small segments", tcp4.with(10, 1), 1100, []int{512, 512, 76}},
		{"64 KB of TCP over IPv6", tcp4.six().with(1428, 1), 46, []int{45, 1}},
	} {
		b := newBench(t)
		for range c.n {
			b.add(c.q.build(), "", true)
			c.q = c.q.then()
		}
		b.flush()
		if !slices.Equal(b.groups, c.groups) {
			t.Errorf("%s: groups of %v, want %v", c.name, b.groups, c.groups)
		}
	}
}

func TestCoalescerJoinsOnlyTheKindsItIsTold(t *testing.T) {
	for _, c := range []struct {
		tcp, udp bool
		groups   []int
	}{
		{true, true, []int{3, 3}},
		{true, false, []int{1, 1, 1, 3}},
		{false, true, []int{1, 1, 1, 3}},
		{false, false, []int{1, 1, 1, 1, 1, 1}},
	} {
		b := newBench(t)
		b.c.TCP, b.c.UDP = c.tcp, c.udp
		q, u := tcp4.with(1000, 1), udp4.with(1000, 1)
		for range 3 {
			b.add(q.build(), "", true)
			b.add(u.build(), "", true)
			q, u = q.then(), u.then()
		}
		b.flush()
		if !slices.Equal(b.groups, c.groups) {
			t.Errorf("TCP %v, UDP %v: groups of %v, want %v", c.tcp, c.udp, b.groups, c.groups)
		}
	}
}
