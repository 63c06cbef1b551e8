package probe

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// A world is a node under test and the peers around it, in a synctest bubble.
type world struct {
	*Prober
	t     *testing.T
	mu    sync.Mutex
	rand  *rand.Rand
	links map[string]*link // by key

	limits map[string][]int // what Limit was told, by key
	news   map[string][]State
	sent   []time.Time // of every packet
	bytes  map[string][]int
}

// A link is the path to a peer and the peer at its end.
type link struct {
	mtu   int           // longer packets vanish, either way; 0: none
	pad   int           // packets are filled up to a multiple of so many bytes, or 1450; 0: not
	local int           // longer packets are refused by Send; 0: none
	err   error         // with which Send refuses all packets
	loss  float64       // share of packets that are lost, each way
	delay time.Duration // each way
	down  bool
	deaf  int                                 // packets longer than this are not echoed; 0: all are
	every time.Duration                       // the peer sends one ICMP message in so long; 0: all
	spoke time.Time                           // when it did last
	peer  func(packet []byte) (answer []byte) // the peer's kernel; nil: an ordinary one
	node  *Prober                             // a weft node, which gets packets first
}

var outer = netip.MustParseAddrPort("192.0.2.1:8472")

// simulate runs f in a bubble with a world of the links, each with a target of MTU
// 1450 behind 50 bytes.
func simulate(t *testing.T, seed uint64, links map[string]*link, f func(t *testing.T, w *world), set ...func(*Options)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		w := &world{t: t, rand: rand.New(rand.NewPCG(seed, seed)), links: links,
			limits: map[string][]int{}, news: map[string][]State{}, bytes: map[string][]int{}}
		o := Options{Send: w.send, Limit: w.limit, Changed: w.changed}
		for _, f := range set {
			f(&o)
		}
		w.Prober = New(o)
		var running sync.WaitGroup
		running.Go(func() {
			if err := w.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		defer func() {
			stop()
			running.Wait()
			time.Sleep(time.Minute) // what is in the air lands
		}()
		w.Set(w.targets())
		f(t, w)
	})
}

func (w *world) targets() (out []Target) {
	for i, key := range slices.Sorted(maps.Keys(w.links)) {
		dst := netip.AddrFrom4([4]byte{10, 2 + byte(i>>8), byte(i), 0})
		out = append(out, Target{Key: key, Src: a4, Dst: dst, MTU: 1450, Overhead: 50, Path: "1"})
	}
	return out
}

func (w *world) limit(key string, inner int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limits[key] = append(w.limits[key], inner)
}

func (w *world) changed(key string, s State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.news[key] = append(w.news[key], s)
}

// send is the way out: what arrives is answered.
func (w *world) send(key string, packet []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.links[key]
	w.sent = append(w.sent, time.Now())
	w.bytes[key] = append(w.bytes[key], len(packet))
	if l.err != nil {
		return l.err
	}
	if l.local > 0 && len(packet) > l.local {
		return fmt.Errorf("sendmsg: %w", unix.EMSGSIZE)
	}
	if !w.passes(l, packet) {
		return nil
	}
	p := slices.Clone(packet)
	time.AfterFunc(l.delay, func() { w.arrive(key, l, p) })
	return nil
}

func (w *world) passes(l *link, packet []byte) bool {
	size := len(packet)
	if l.pad > 0 && size < 1450 {
		size = min(1450, (size+l.pad-1)/l.pad*l.pad)
	}
	return !l.down && (l.mtu == 0 || size <= l.mtu) && w.rand.Float64() >= l.loss
}

// arrive is the peer's side.
func (w *world) arrive(key string, l *link, packet []byte) {
	if l.node != nil && l.node.Input(packet, outer, "us") {
		return // it answers by its own Send, see back
	}
	w.mu.Lock()
	var answer []byte
	quiet := l.deaf > 0 && len(packet) > l.deaf || l.every > 0 && time.Since(l.spoke) < l.every
	if !quiet {
		if answer = kernel(packet); l.peer != nil {
			answer = l.peer(packet)
		}
		l.spoke = time.Now()
	}
	w.mu.Unlock()
	if answer != nil {
		w.back(key, l, answer)
	}
}

// back is the way back.
func (w *world) back(key string, l *link, packet []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.passes(l, packet) {
		time.AfterFunc(l.delay, func() {
			if !w.Input(packet, netip.MustParseAddrPort("192.0.2.2:8472"), key) {
				w.t.Errorf("%s: not taken: %x", key, packet)
			}
		})
	}
}

// change changes a link.
func (w *world) change(key string, f func(*link)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.links[key])
}

func (w *world) state(key string) State {
	w.t.Helper()
	s, ok := w.State(key)
	if !ok {
		w.t.Fatalf("no state of %s", key)
	}
	return s
}

// told returns what Limit was told of a peer so far.
func (w *world) told(key string) []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.limits[key])
}

// changes returns what Changed was told of a peer so far.
func (w *world) changes(key string) []State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.news[key])
}

// packets returns how many were sent to a peer so far.
func (w *world) packets(key string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.bytes[key])
}

// kernel is an ordinary host: it echoes, and refuses UDP.
func kernel(p []byte) []byte {
	v4 := p[0]>>4 == 4
	head := 40
	if v4 {
		head = 20
	}
	if v4 && p[9] == 17 || !v4 && p[6] == 17 {
		return unreachable(p, head)
	}
	out := slices.Clone(p)
	if v4 {
		copy(out[12:16], p[16:20])
		copy(out[16:20], p[12:16])
		out[head] = 0
	} else {
		copy(out[8:24], p[24:40])
		copy(out[24:40], p[8:24])
		out[head] = 129
	}
	binary.BigEndian.PutUint16(out[head+2:], 0)
	binary.BigEndian.PutUint16(out[head+2:], plainSum(out, head))
	return out
}

// unreachable is the kernel's ICMP port unreachable, of IPv4 (RFC 792) or IPv6.
func unreachable(p []byte, head int) []byte {
	quote := p[:min(len(p), 548)]
	out := slices.Concat(p[:head], []byte{3, 3, 0, 0, 0, 0, 0, 0}, quote)
	if head == 20 {
		copy(out[12:16], p[16:20])
		copy(out[16:20], p[12:16])
		out[9] = 1
		binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
		binary.BigEndian.PutUint16(out[10:], 0)
		binary.BigEndian.PutUint16(out[10:], ones(out[:20]))
	} else {
		copy(out[8:24], p[24:40])
		copy(out[24:40], p[8:24])
		out[6], out[40], out[41] = 58, 1, 4
		binary.BigEndian.PutUint16(out[4:], uint16(len(out)-40))
	}
	binary.BigEndian.PutUint16(out[head+2:], plainSum(out, head))
	return out
}

// plainSum is the checksum of an ICMP message as the RFCs define it, word by word.
func plainSum(p []byte, head int) uint16 {
	if head == 20 {
		return ones(p[20:])
	}
	n := len(p) - 40
	pseudo := slices.Concat(p[8:40], []byte{0, 0, byte(n >> 8), byte(n), 0, 0, 0, p[6]})
	return ones(slices.Concat(pseudo, p[40:]))
}

func ones(b []byte) uint16 {
	sum := 0
	for i, c := range b {
		if i%2 == 0 {
			sum += int(c) << 8
		} else {
			sum += int(c)
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
