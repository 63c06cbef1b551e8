package encap

import (
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"testing"
)

// A walker sends the packets of one flow, most of them in good order.
type walker struct {
	q    packet
	name string
	mss  int
}

// mishaps is what happens to the packets of a flow on their way, as changes
// to the flow from here on, or to one packet.
var mishaps = []func(r *rand.Rand, w *walker, p []byte) []byte{
	func(r *rand.Rand, w *walker, p []byte) []byte { // a gap
		w.q.seq += uint32(w.mss)
		w.q.id += 3
		return w.q.build()
	},
	func(r *rand.Rand, w *walker, p []byte) []byte { // a retransmission
		w.q.seq -= uint32(w.mss)
		return w.q.build()
	},
	func(r *rand.Rand, w *walker, p []byte) []byte { w.q = w.q.with(0, 0); return w.q.build() },
	func(r *rand.Rand, w *walker, p []byte) []byte { w.q = w.q.with(r.IntN(w.mss+2), 0); return w.q.build() },
	func(r *rand.Rand, w *walker, p []byte) []byte { w.mss = 1 + r.IntN(3000); return p },
	func(r *rand.Rand, w *walker, p []byte) []byte { w.q.flags = tcpACK | tcpPSH; return w.q.build() },
	func(r *rand.Rand, w *walker, p []byte) []byte { w.q.flags = byte(r.Uint32()); return w.q.build() },
	func(r *rand.Rand, w *walker, p []byte) []byte { w.q.ack += 1000; return w.q.build() },
	func(r *rand.Rand, w *walker, p []byte) []byte { w.q.window++; return w.q.build() },
	func(r *rand.Rand, w *walker, p []byte) []byte { w.q.tos ^= 3; return w.q.build() },
	func(r *rand.Rand, w *walker, p []byte) []byte { w.q.ttl--; return w.q.build() },
	func(r *rand.Rand, w *walker, p []byte) []byte { w.q.df = !w.q.df; return w.q.build() },
	func(r *rand.Rand, w *walker, p []byte) []byte { w.q.id = uint16(r.Uint32()); return w.q.build() },
	func(r *rand.Rand, w *walker, p []byte) []byte {
		w.q.tcpOptions = [][]byte{nil, timestamps, {1, 1, 1, 1}}[r.IntN(3)]
		return w.q.build()
	},
	func(r *rand.Rand, w *walker, p []byte) []byte { // options or extension headers in this one
		q := w.q
		q.options = []byte{1, 1, 1, 1}
		if q.v == 6 {
			q.first, q.options = extensions(q.proto, 8, []byte{0, 60, 44}[r.IntN(3)])
		}
		return q.build()
	},
	func(r *rand.Rand, w *walker, p []byte) []byte { // a fragment
		if w.q.v == 4 {
			binary.BigEndian.PutUint16(p[6:], uint16(r.IntN(0x4000)))
			refFix(p)
		}
		return p
	},
	func(r *rand.Rand, w *walker, p []byte) []byte { p[r.IntN(4)+len(p)-4] ^= 1; return p }, // corruption
	func(r *rand.Rand, w *walker, p []byte) []byte { // corruption of the IPv4 header's sum
		if w.q.v == 4 {
			p[10] ^= 4
		}
		return p
	},
	func(r *rand.Rand, w *walker, p []byte) []byte { // UDP without a checksum
		if w.q.proto == 17 {
			l := refWalk(p)
			p[l.sumAt], p[l.sumAt+1] = 0, 0
		}
		return p
	},
	func(r *rand.Rand, w *walker, p []byte) []byte { refPartial(p); return p },
	func(r *rand.Rand, w *walker, p []byte) []byte { return append(p, make([]byte, r.IntN(30))...) },
}

// step returns the flow's next packet.
func (w *walker) step(r *rand.Rand, trouble int) []byte {
	w.q.flags = tcpACK
	w.q.payload = w.q.payload[:0]
	w.q = w.q.with(w.mss, r.Uint64())
	p := w.q.build()
	if r.IntN(100) < trouble {
		p = mishaps[r.IntN(len(mishaps))](r, w, p)
	}
	next := w.q.then()
	w.q.seq, w.q.id = next.seq, next.id
	return p
}

func walkers(r *rand.Rand, n int) []*walker {
	var ws []*walker
	for i := range n {
		q := []packet{tcp4, udp4, tcp4.six(), udp4.six()}[r.IntN(4)]
		q.sport, q.src, q.dst = uint16(1000+i), byte(r.IntN(2)), byte(r.IntN(2))
		q.seq, q.id, q.df = r.Uint32(), uint16(r.Uint32()), r.IntN(3) > 0
		if r.IntN(4) == 0 {
			q.seq, q.id = 0xffffffff-uint32(r.IntN(9000)), 0xffff-uint16(r.IntN(9)) // about to wrap
		}
		ws = append(ws, &walker{q, strconv.Itoa(i), []int{1, 64, 536, 1000, 1400, 1448, 9000}[r.IntN(7)]})
	}
	return ws
}

// Flows of all kinds take turns in bursts and meet with every mishap; what
// comes out must, cut again by the model, be what went in. Nothing is lost,
// doubled, changed or reordered within its flow, for 1 flow and for 20.
func TestCutOfCoalesceIsIdentity(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	in, out := 0, 0
	b := newBench(t)
	for round := range 60 {
		trouble := []int{0, 5, 40}[round%3]
		ws := walkers(r, 1+r.IntN(20))
		for range 1 + r.IntN(100) {
			w := ws[r.IntN(len(ws))]
			for range 1 + r.IntN(8) {
				p := w.step(r, trouble)
				h := parsed(t, p)
				honest := refIsPartial(p) || refSound(p)
				b.add(p, w.name+"/"+strconv.Itoa(round), honest && !h.Frag && r.IntN(2) == 0)
				in++
			}
		}
		b.flush()
		out += len(b.groups)
		b.groups = b.groups[:0]
		clear(b.next)
	}
	t.Logf("%d packets became %d", in, out)
	if out > in*4/5 {
		t.Errorf("%d packets became %d: hardly any were joined", in, out)
	}
}

// FuzzCoalesce reads a script of packets from its input. Each begins with a
// byte that says how it is made: from the bytes that follow as they are, or
// from a template with small changes, so that packets can belong together, some
// with an unfinished checksum.
func FuzzCoalesce(f *testing.F) {
	raw := udp4.with(20, 1).build()
	f.Add(append([]byte{0, byte(len(raw)), 0}, raw...), uint16(0), uint8(3))
	f.Add([]byte{1, 10, 0, 1, 10, 0, 1, 10, 0, 1, 9, 0, 3, 10, 0, 5, 200, 0, 5, 200, 0, 5, 200, 0}, uint16(150), uint8(2))
	f.Add([]byte{9, 10, 0, 9, 10, 0, 15, 99, 0, 15, 99, 1, 33, 10, 0, 65, 10, 33, 65, 10, 40, 129, 4, 7}, uint16(60), uint8(1))
	f.Fuzz(func(t *testing.T, script []byte, mtu uint16, takes uint8) {
		b := newBench(t)
		b.c.MTU, b.c.TCP, b.c.UDP = int(mtu), takes&1 != 0, takes&2 != 0
		templates := []packet{tcp4, udp4, tcp4.six(), udp4.six()}
		for len(script) >= 3 {
			how, size, change := script[0], int(script[1]), script[2]
			script = script[3:]
			var p []byte
			if how&1 == 0 {
				n := min(size+256*int(how>>7), len(script))
				p, script = append([]byte(nil), script[:n]...), script[n:]
			} else {
				q := &templates[how>>1&3]
				*q = q.with(size, 1)
				p = q.build()
				if how&16 != 0 {
					refPartial(p)
				}
				if change > 0 {
					p[int(change)%len(p)] ^= how
				}
				*q = q.then()
			}
			h, drop := Parse(p)
			if drop != Delivered {
				continue
			}
			p = p[:h.Len:h.Len]
			trusted := how&64 != 0 && !h.Frag && (refIsPartial(p) || refSound(p))
			b.add(p, "", trusted)
		}
		b.flush()
	})
}
