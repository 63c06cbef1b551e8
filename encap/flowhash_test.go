package encap

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// hashOf returns the hash of a finished packet.
func hashOf(t testing.TB, p []byte) uint32 {
	h := parsed(t, p)
	return FlowHash(p, &h)
}

// What may differ between the packets of a flow does not matter.
func TestFlowHashIsOfTheFlow(t *testing.T) {
	for _, q := range []packet{tcp4, udp4, tcp4.six(), udp4.six()} {
		want := hashOf(t, q.build())
		other := q
		other.tos, other.ttl, other.id, other.df = 0xff, 3, 99, false
		other.seq, other.ack, other.flags, other.window, other.tcpOptions = 5, 6, 0xff, 7, nil
		extended := q
		if extended.v == 6 {
			extended.first, extended.options = extensions(q.proto, 16, 0, 60)
		} else {
			extended.options = []byte{1, 1, 1, 0}
		}
		padded := append(q.with(7, 3).build(), 1, 2, 3)
		label := q.build()
		if q.v == 6 {
			label[1], label[2], label[3] = label[1]|0xf, 1, 2
		}
		for name, p := range map[string][]byte{
			"payload": q.with(1000, 2).build(), "other fields": other.with(20, 4).build(),
			"extensions": extended.build(), "padding": padded, "label": label,
		} {
			if got := hashOf(t, p); got != want {
				t.Errorf("IPv%d, protocol %d, %s: %08x, want %08x", q.v, q.proto, name, got, want)
			}
		}
	}
}

// A superpacket goes where the packets go that it stands for.
func TestFlowHashOfASuperpacket(t *testing.T) {
	for _, q := range []packet{tcp4, udp4, tcp4.six(), udp4.six()} {
		super := q.with(5000, 1).build()
		want := hashOf(t, super)
		for i, p := range refCut(super, 1400) {
			if got := hashOf(t, p); got != want {
				t.Errorf("IPv%d, protocol %d, packet %d: %08x, want %08x", q.v, q.proto, i, got, want)
			}
		}
	}
}

// All fragments of a packet are alike, whatever their first bytes say.
func TestFlowHashOfFragments(t *testing.T) {
	first, later := udp4.build(), udp4.with(100, 1).build()
	first[6], later[6], later[7] = 0x20, 0, 5
	binary.BigEndian.PutUint32(later[20:], 0x12345678)
	q := udp4.six()
	q.first, q.options = extensions(17, 8, 44)
	first6, later6 := q.build(), q.with(100, 1).build()
	first6[43], later6[43] = 1, 8
	for _, pair := range [][2][]byte{{first, later}, {first6, later6}} {
		a, b := hashOf(t, pair[0]), hashOf(t, pair[1])
		if a != b {
			t.Errorf("IPv%d: the first fragment has %08x, a later one %08x", pair[0][0]>>4, a, b)
		}
	}
	if hashOf(t, first) == hashOf(t, udp4.build()) {
		t.Error("a fragment has the hash of the whole: were its ports used?")
	}
}

// Protocols whose first four bytes are ports, and others.
func TestFlowHashKnowsPorts(t *testing.T) {
	for proto := range 256 {
		q := packet{v: 4, proto: byte(proto), ttl: 64, payload: make([]byte, 40)}
		want := map[int]bool{6: true, 17: true, 33: true, 132: true, 136: true}[proto]
		if proto == 6 || proto == 17 {
			q.payload = nil
		}
		p := q.build()
		if changed := hashOf(t, p) != hashOf(t, set(p, 23, p[23]+1)); changed != want {
			t.Errorf("protocol %d: the fourth byte changes the hash: %v", proto, changed)
		}
		if changed := hashOf(t, p) != hashOf(t, set(p, 20, p[20]+1)); changed != want {
			t.Errorf("protocol %d: the first byte changes the hash: %v", proto, changed)
		}
	}
}

// A transport header that is not all there is not read, nor what lies behind
// the packet.
func TestFlowHashOfStumps(t *testing.T) {
	for n := range 4 {
		p := append(tcp4.network(), 1, 2, 3, 4)
		p[3] = byte(20 + n)
		q := set(p, 20, 9, 9, 9, 9)
		if a, b := hashOf(t, p), hashOf(t, q); a != b {
			t.Errorf("%d bytes: %08x and %08x", n, a, b)
		}
		hashOf(t, p[:20+n:20+n])
	}
	p := append(tcp4.network(), 1, 2, 3, 4)
	p[3] = 24
	if hashOf(t, p) == hashOf(t, set(p, 23, 9)) {
		t.Error("four bytes of TCP: the ports were not used")
	}
}

// Each bit of addresses, protocol and ports turns each bit of the hash over
// half of the time.
func TestFlowHashMixes(t *testing.T) {
	for _, c := range []struct {
		q    packet
		bits [][2]int // ranges of bytes that make the flow
	}{
		{udp4, [][2]int{{12, 24}}},
		{udp4.six(), [][2]int{{8, 44}}},
	} {
		const samples = 400
		r := rand.New(rand.NewPCG(1, uint64(c.q.v)))
		var turned [32]int
		tries := 0
		for range samples {
			p := c.q.with(4, 1).build()
			for _, span := range c.bits {
				for i := span[0]; i < span[1]; i++ {
					if c.q.v == 4 || i != 40 {
						p[i] = byte(r.Uint32())
					}
				}
			}
			was := hashOf(t, p)
			for _, span := range c.bits {
				for bit := span[0] * 8; bit < span[1]*8; bit++ {
					diff := was ^ hashOf(t, set(p, bit/8, p[bit/8]^0x80>>(bit%8)))
					tries++
					for i := range turned {
						turned[i] += int(diff >> i & 1)
					}
					if diff == 0 {
						t.Errorf("IPv%d: byte %d, bit %d makes no difference", c.q.v, bit/8, bit%8)
					}
				}
			}
		}
		for i, n := range turned {
			if share := float64(n) / float64(tries); share < 0.48 || share > 0.52 {
				t.Errorf("IPv%d: bit %d of the hash turns over %.3f of the time", c.q.v, i, share)
			}
		}
	}
	udp, tcp := udp4, udp4
	tcp.proto = 6
	if hashOf(t, udp.build()) == hashOf(t, tcp.build()) {
		t.Error("the protocol makes no difference")
	}
}

// What pods really send is spread over 16 ports about as evenly as chance
// would do it, whichever four bits of the hash choose the port.
func TestFlowHashSpreads(t *testing.T) {
	const flows, buckets = 1024, 16
	for name, change := range map[string]func(q *packet, i int){
		"consecutive source ports":       func(q *packet, i int) { q.sport = uint16(32768 + i) },
		"Linux's even source ports":      func(q *packet, i int) { q.sport = uint16(32768 + 2*i) },
		"consecutive destination ports":  func(q *packet, i int) { q.dport = uint16(i) },
		"both ports the same":            func(q *packet, i int) { q.sport, q.dport = uint16(i), uint16(i) },
		"consecutive sources":            func(q *packet, i int) { q.src, q.sport = byte(i), 40000+uint16(i/256) },
		"consecutive destinations":       func(q *packet, i int) { q.dst, q.sport = byte(i), 40000+uint16(i/256) },
		"pods in pairs":                  func(q *packet, i int) { q.src, q.dst = byte(i/32), byte(i%32) },
		"pods in pairs, without ports":   func(q *packet, i int) { q.src, q.dst, q.proto = byte(i/32), byte(i%32), 1 },
		"pods in pairs, each of 4 ports": func(q *packet, i int) { q.src, q.dst, q.sport = byte(i/64), byte(i/4%16), uint16(i%4) },
	} {
		for _, q := range []packet{tcp4, udp4, tcp4.six(), udp4.six()} {
			var count [8][buckets]int
			for i := range flows {
				change(&q, i)
				h := hashOf(t, q.build())
				for nibble := range count {
					count[nibble][h>>(4*nibble)%buckets]++
				}
			}
			for nibble := range count {
				chi := 0.0
				for _, n := range count[nibble] {
					d := float64(n) - flows/buckets
					chi += d * d / (flows / buckets)
				}
				// 15 degrees of freedom: chance exceeds 44.3 once in 10,000.
				if chi > 44.3 {
					t.Errorf("%s, IPv%d, protocol %d, bits %d to %d: chi square %.1f: %v", name, q.v, q.proto, 4*nibble, 4*nibble+3, chi, count[nibble])
				}
			}
		}
	}
}

func FuzzFlowHash(f *testing.F) {
	f.Add(tcp4.with(9, 1).build())
	f.Add(udp4.six().build())
	f.Add(chained(1, 8, 44))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, untouched := guarded(data)
		h, drop := Parse(p)
		if drop != Delivered {
			return
		}
		got := FlowHash(p, &h)
		if alone := FlowHash(p[:h.Len:h.Len], &h); alone != got || !untouched() {
			t.Fatalf("%08x, without what follows %08x", got, alone)
		}
	})
}

func BenchmarkFlowHash(b *testing.B) {
	for _, q := range []packet{tcp4, tcp4.six()} {
		p := q.build()
		h := parsed(b, p)
		b.Run(fmt.Sprintf("ipv%d", q.v), func(b *testing.B) {
			b.ReportAllocs()
			var sum uint32
			for b.Loop() {
				sum += FlowHash(p, &h)
			}
			_ = sum
		})
	}
}
