package encap

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
)

// refSumLoop is the textbook loop, without copies, as the mark to beat.
func refSumLoop(b []byte) uint16 {
	var sum uint32
	for len(b) > 1 {
		sum += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) > 0 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func BenchmarkSum(b *testing.B) {
	for _, n := range []int{0, 1, 8, 20, 40, 60, 64, 128, 512, 1024, 1420, 1448, 9000, 65535} {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i * 7)
		}
		b.Run(fmt.Sprintf("bytes=%d/fast", n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(n))
			var s uint16
			for b.Loop() {
				s = Fold(Sum(data, 0))
			}
			_ = s
		})
		b.Run(fmt.Sprintf("bytes=%d/naive", n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(n))
			var s uint16
			for b.Loop() {
				s = refSumLoop(data)
			}
			_ = s
		})
	}
}

func BenchmarkCut(b *testing.B) {
	for _, c := range []struct {
		name    string
		payload int
		q       packet
	}{
		{"tcp4-64KB", 45 * 1448, tcp4}, {"tcp6-64KB", 45 * 1428, tcp4.six()}, {"udp4-64KB", 45 * 1400, udp4}, {"udp4-64B-single", 64, udp4},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := c.q.with(c.payload, 1).build()
			refPartial(p)
			h, o := parsed(b, p), offload(b, p, 1448)
			if c.payload < 1448 {
				o.GSO = GSONone
			}
			cutter := NewCutter(64 << 10)
			segs, _ := cutter.Cut(nil, p, &h, &o, nil)
			b.ReportAllocs()
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				cutter.Reset()
				segs, _ = cutter.Cut(segs[:0], p, &h, &o, nil)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(segs)), "ns/segment")
		})
	}
}

// stream returns n packets of each of so many flows, taking turns, and their
// headers.
func stream(tb testing.TB, flows, n int, q packet) (packets [][]byte, headers []Header) {
	var each [][]byte
	for f := range flows {
		q := q
		q.sport += uint16(f)
		for range n {
			each = append(each, q.build())
			q = q.then()
		}
	}
	for i := range n {
		for f := range flows {
			packets = append(packets, each[f*n+i])
			headers = append(headers, parsed(tb, each[f*n+i]))
		}
	}
	return packets, headers
}

func BenchmarkCoalesce(b *testing.B) {
	long := tcp4.with(1420-32, 1)
	for _, c := range []struct {
		name     string
		flows, n int
		q        packet
		sound    bool
	}{
		{"45x1420-one-run", 1, 45, long, true},
		{"45x1420-one-run-ipv6", 1, 45, long.six(), true},
		{"45x1420-one-run-verified", 1, 45, long, false},
		{"8-flows-interleaved", 8, 16, long, true},
		{"9-flows-interleaved", 9, 16, long, true},
		{"64x64B-udp", 1, 64, udp4.with(64, 1), true},
	} {
		b.Run(c.name, func(b *testing.B) {
			packets, headers := stream(b, c.flows, c.n, c.q)
			supers := 0
			join := NewCoalescer(func(*Super) { supers++ })
			b.ReportAllocs()
			b.SetBytes(int64(len(slices.Concat(packets...))))
			for b.Loop() {
				for i := range packets {
					join.Add(packets[i], &headers[i], c.sound)
				}
				join.Flush()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(packets)), "ns/packet")
			b.ReportMetric(float64(supers)/float64(b.N), "supers/op")
		})
	}
}

// One 64 KB superpacket of a kernel peer, for a device that takes it and for one
// that does not.
func BenchmarkCoalesceSuperpacket(b *testing.B) {
	p := inner(tcp4.with(45*1398, 1))
	h := parsed(b, p)
	for name, takes := range map[string]bool{"whole": true, "cut": false} {
		b.Run(name, func(b *testing.B) {
			packets := 0
			join := NewCoalescer(func(s *Super) { packets += s.Count })
			join.MTU, join.TCP = 1450, takes
			b.ReportAllocs()
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				if drop := join.Add(p, &h, true); drop != Delivered {
					b.Fatal(drop)
				}
			}
			b.ReportMetric(float64(packets)/float64(b.N), "packets/op")
		})
	}
}

func BenchmarkParse(b *testing.B) {
	first, chain := extensions(6, 8, 0, 60, 43)
	deep := tcp4.six()
	deep.first, deep.options = first, chain
	for name, q := range map[string]packet{"ipv4": tcp4, "ipv6": tcp4.six(), "ipv6-3-extensions": deep} {
		p := q.with(1400, 1).build()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, drop := Parse(p); drop != Delivered {
					b.Fatal(drop)
				}
			}
		})
	}
}
