package encap

import (
	"slices"
	"testing"
)

// A packet that passes alone never overtakes those of its flow that wait, and
// does not disturb other flows.
func TestPacketsThatPassAloneOvertakeNothing(t *testing.T) {
	for _, c := range []struct {
		name  string
		q     packet
		spoil func(p []byte) []byte
	}{
		{"pure acknowledgement", tcp4, func([]byte) []byte { return tcp4.with(0, 1).build() }},
		{"FIN", tcp4, func(p []byte) []byte { p[33] |= tcpFIN; refFix(p); return p }},
		{"IPv4 options", tcp4, func([]byte) []byte { q := tcp4; q.options = []byte{1, 1, 1, 1}; return q.with(9, 1).build() }},
		{"IPv6 extension header", udp4.six(), func([]byte) []byte {
			q := udp4.six()
			q.first, q.options = extensions(17, 8, 60)
			return q.with(9, 1).build()
		}},
		{"TCP header longer than the packet", tcp4, func(p []byte) []byte { p = p[:60]; p[3], p[2], p[32] = 60, 0, 0xf0; refFix(p); return p }},
		{"TCP header shorter than 20", tcp4, func(p []byte) []byte { p[32] = 0x10; refFix(p); return p }},
		{"UDP length that lies", udp4, func(p []byte) []byte { p[25]++; refFix(p); return p }},
		{"UDP without a checksum", udp4, func(p []byte) []byte { p[26], p[27] = 0, 0; return p }},
		{"empty UDP", udp4, func([]byte) []byte { return udp4.with(0, 1).build() }},
		{"wrong transport checksum", tcp4, func(p []byte) []byte { p[len(p)-1]++; return p }},
		{"wrong IPv4 header checksum", tcp4, func(p []byte) []byte { p[11]++; return p }},
		{"first fragment", udp4, func(p []byte) []byte { p[6] = 0x20; refFix(p); return p }},
		{"later fragment", udp4, func(p []byte) []byte { p[6], p[7] = 0, 3; refFix(p); return p }},
		{"IPv6 fragment", udp4.six(), func([]byte) []byte {
			q := udp4.six()
			q.first, q.options = extensions(17, 8, 44)
			return q.with(9, 1).build()
		}},
		{"later IPv6 fragment of another protocol", udp4.six(), func([]byte) []byte {
			q := udp4.six()
			q.first, q.options = extensions(60, 8, 44)
			q.options[3] = 8
			return q.with(9, 1).build()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			q := c.q.with(1000, 1)
			other := tcp4.with(1000, 1)
			other.src = 77
			for round := range 2 {
				for range 2 {
					b.add(q.build(), "flow", false)
					b.add(other.build(), "other", false)
					q, other = q.then(), other.then()
				}
				if round == 0 {
					b.add(c.spoil(q.build()), "flow", false)
				}
			}
			b.flush()
			slices.Sort(b.groups)
			if !slices.Equal(b.groups, []int{1, 2, 2, 4}) {
				t.Errorf("groups of %v, want 2, 1 and 2 packets, and 4 of the other flow", b.groups)
			}
		})
	}
}

// Vouched for or not, these are what the kernel must see as they came.
func TestWrongHeaderChecksumIsNeverMadeRight(t *testing.T) {
	for _, q := range []packet{tcp4, udp4} {
		b := newBench(t)
		q = q.with(1000, 1)
		for i := range 6 {
			p := q.build()
			if i == 0 || i == 3 {
				p[10]++
			}
			b.add(p, "", true)
			q = q.then()
		}
		b.flush()
		if !slices.Equal(b.groups, []int{1, 2, 1, 2}) {
			t.Errorf("groups of %v", b.groups)
		}
	}
}

func TestUDPWithoutAChecksumStaysWithoutOne(t *testing.T) {
	b := newBench(t)
	for range 4 {
		p := udp4.with(1000, 1).build()
		p[26], p[27] = 0, 0
		b.add(p, "", true)
	}
	b.flush()
	if !slices.Equal(b.groups, []int{1, 1, 1, 1}) {
		t.Errorf("groups of %v", b.groups)
	}
}

func TestWrongTransportChecksumPassesVerbatim(t *testing.T) {
	for _, q := range []packet{tcp4, udp4, tcp4.six(), udp4.six()} {
		for bad := range 4 { // which of four packets it is
			b := newBench(t)
			q := q.with(777, 1)
			for i := range 4 {
				p := q.build()
				if i == bad {
					p[len(p)-1] ^= 0x10
				}
				b.add(p, "", false)
				q = q.then()
			}
			b.flush()
			want := [][]int{{1, 3}, {1, 1, 2}, {2, 1, 1}, {3, 1}}[bad]
			if !slices.Equal(b.groups, want) {
				t.Errorf("IPv%d, packet %d is bad: groups of %v, want %v", q.v, bad, b.groups, want)
			}
		}
	}
}

// An unfinished checksum (a kernel VXLAN peer sends such packets) is no wrong
// one: the packet is joined, and alone it is marked for the kernel to finish.
func TestUnfinishedChecksumsAreJoinedOrMarked(t *testing.T) {
	for _, q := range []packet{tcp4, udp4, tcp4.six(), udp4.six()} {
		b := newBench(t)
		q := q.with(600, 1)
		for i := range 3 {
			p := q.build()
			if i != 1 {
				refPartial(p)
			}
			b.add(p, "", false)
			q = q.then()
		}
		b.flush()
		lone := q.then()
		syn, options := lone.with(0, 0), lone
		syn.flags = 2
		if options.options = []byte{1, 1, 1, 1}; q.v == 6 {
			options.first, options.options = extensions(q.proto, 8, 60)
		}
		for _, q := range []packet{lone, syn, options} {
			p := q.build()
			refPartial(p)
			b.add(p, "", false)
			b.flush()
		}
		if !slices.Equal(b.groups, []int{3, 1, 1, 1}) {
			t.Errorf("IPv%d, protocol %d: groups of %v", q.v, q.proto, b.groups)
		}
	}
}

func TestEightFlowsAreJoinedSideBySide(t *testing.T) {
	for _, q := range []packet{tcp4, udp4.six()} {
		b := newBench(t)
		packets, _ := stream(t, flows, 10, q.with(1000, 1))
		for _, p := range packets {
			b.add(p, "", true)
		}
		b.flush()
		if !slices.Equal(b.groups, slices.Repeat([]int{10}, flows)) {
			t.Errorf("groups of %v", b.groups)
		}
	}
}

// The same tuple in two protocols or two IP versions is two flows.
func TestProtocolsAndVersionsAreApart(t *testing.T) {
	b := newBench(t)
	u := udp4
	u.dport = tcp4.dport
	qs := []packet{tcp4, u, tcp4.six(), u.six()}
	for range 3 {
		for i := range qs {
			qs[i] = qs[i].with(100, uint64(i))
			b.add(qs[i].build(), "", true)
			qs[i] = qs[i].then()
		}
	}
	b.flush()
	if !slices.Equal(b.groups, []int{3, 3, 3, 3}) {
		t.Errorf("groups of %v", b.groups)
	}
}

// What stands behind the packet in its buffer is not part of it.
func TestPaddingIsNotJoined(t *testing.T) {
	b := newBench(t)
	q := udp4.with(10, 1)
	for range 3 {
		b.add(append(q.build(), make([]byte, 18)...), "", false)
		q = q.then()
	}
	b.add(append(packet{v: 4, proto: 1, ttl: 1}.with(2, 2).build(), 9, 9, 9), "", false)
	b.flush()
	if !slices.Equal(b.groups, []int{1, 3}) {
		t.Errorf("groups of %v", b.groups)
	}
}

func TestFlushOfNothingEmitsNothing(t *testing.T) {
	b := newBench(t)
	b.flush()
	b.add(tcp4.with(100, 1).build(), "", true)
	b.flush()
	b.flush()
	if !slices.Equal(b.groups, []int{1}) {
		t.Errorf("groups of %v", b.groups)
	}
}
