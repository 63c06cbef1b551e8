package encap

import "testing"

// The hot path allocates once, while it warms up, and never again.
func TestHotPathAllocatesNothing(t *testing.T) {
	super := tcp4.with(45*1448, 1).build()
	refPartial(super)
	h, o := parsed(t, super), offload(t, super, 1448)
	cutter := NewCutter(0)
	var segs []Segment
	prefix := []byte("8 bytes.")

	run, headers := stream(t, 1, 45, tcp4.with(1420-32, 1))
	mixed, mixedHeaders := stream(t, 12, 5, udp4.with(300, 1))
	acks, ackHeaders := stream(t, 3, 5, tcp4)
	jumbo, datagrams := inner(tcp4.with(45*1398, 1)), inner(udp4.six().with(45*1000, 1))
	jh, dh := parsed(t, jumbo), parsed(t, datagrams)
	emitted := 0
	join := NewCoalescer(func(s *Super) { emitted += len(s.Packets) })
	add := func(packets [][]byte, headers []Header, sound bool) {
		for i := range packets {
			join.Add(packets[i], &headers[i], sound)
		}
	}
	single := udp4.with(100, 1).build()
	refPartial(single)
	sh, so := parsed(t, single), offload(t, single, 0)
	so.GSO = GSONone
	free := udp4
	free.df = false
	long := free.with(9000, 1).build()
	lh := parsed(t, long)
	buf := make([]byte, MaxICMP)
	six := tcp4.six().with(1000, 1).build()
	h6 := parsed(t, six)
	deep := chained(2, 8, 0, 60)
	var sum uint16

	for _, c := range []struct {
		name string
		f    func()
	}{
		{"Cut, 45 segments", func() { cutter.Reset(); segs, _ = cutter.Cut(segs[:0], super, &h, &o, prefix) }},
		{"Cut, a single packet", func() { cutter.Reset(); segs, _ = cutter.Cut(segs[:0], single, &sh, &so, prefix) }},
		{"PacketSize", func() { PacketSize(super, &h, &o) }},
		{"Fragment", func() { cutter.Reset(); segs, _ = cutter.Fragment(segs[:0], long, &lh, 1400, prefix) }},
		{"Add × 45 and Flush", func() { add(run, headers, true); join.Flush() }},
		{"Add × 45 and Flush, verified", func() { add(run, headers, false); join.Flush() }},
		{"Add of 12 flows and Flush", func() { add(mixed, mixedHeaders, true); join.Flush() }},
		{"Add of acknowledgements and Flush", func() { add(acks, ackHeaders, true); join.Flush() }},
		{"Add of a superpacket", func() { join.MTU = 1450; join.Add(jumbo, &jh, true); join.MTU = 0 }},
		{"AddSuper", func() { join.AddSuper(datagrams, &dh, 1000) }},
		{"AddSuper, cut", func() { join.UDP = false; join.AddSuper(datagrams, &dh, 1000); join.UDP = true }},
		{"Sum", func() { sum = Fold(Sum(super, 0)) }},
		{"Parse", func() { Parse(super); Parse(six); Parse(deep); Parse(nil) }},
		{"addresses", func() { _, _ = h.Src(super), h6.Dst(six) }},
		{"DecrementTTL", func() { super[8] = 64; DecrementTTL(super) }},
		{"Partial", func() { Partial(run[0], &headers[0]) }},
		{"ICMP", func() {
			ICMP(buf, super, &h, TimeExceeded, router4, 0)
			ICMP(buf, six, &h6, PacketTooBig, router6, 1400)
		}},
	} {
		if n := testing.AllocsPerRun(50, c.f); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
	if len(segs) == 0 || emitted == 0 || sum == 0 {
		t.Error("nothing was cut, joined or summed")
	}
}
