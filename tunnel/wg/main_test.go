package wg

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weft/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds how long a test waits for an event before it fails.
const limit = 30 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Node n of a test holds 10.5.n.0/24 and fd00:5:n::/64.
func inner4(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 5, byte(n), 2}) }
func inner6(n int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 3: 5, 5: byte(n), 15: 2})
}

func subnets(n int) []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(inner4(n), 24).Masked(), netip.PrefixFrom(inner6(n), 64).Masked()}
}

// packet is an IP packet of which the device looks at version, length and
// addresses.
func packet(from, to netip.Addr, payload []byte) []byte {
	var h []byte
	if from.Is4() {
		h = make([]byte, 12)
		h[0], h[8], h[9] = 0x45, 64, 17
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
	} else {
		h = make([]byte, 8)
		h[0], h[6], h[7] = 0x60, 17, 64
		binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	}
	return slices.Concat(h, from.AsSlice(), to.AsSlice(), payload)
}

// An item is a packet that a test's pods send, or get.
type item struct {
	data []byte
	lane *Lane
	ecn  uint8
}

// A fakeNear is pods in memory.
type fakeNear struct {
	in      chan []item // taken batch by batch
	out     chan item
	done    chan struct{}
	once    sync.Once
	refused atomic.Int64 // by Admit
}

func newFakeNear() *fakeNear {
	return &fakeNear{in: make(chan []item), out: make(chan item, 1<<14), done: make(chan struct{})}
}

func (n *fakeNear) Stop() { n.once.Do(func() { close(n.done) }) }

func (n *fakeNear) Read(bufs [][]byte, offset int, out []Outgoing) (int, error) {
	for {
		select {
		case <-n.done:
			return 0, tunnel.ErrClosed
		case batch := <-n.in:
			k := 0
			for _, p := range batch {
				if !p.lane.Admit(1) {
					n.refused.Add(1)
					continue
				}
				out[k] = Outgoing{Size: copy(bufs[k][offset:], p.data), Lane: p.lane, ECN: p.ecn}
				k++
			}
			if k > 0 {
				return k, nil
			}
		}
	}
}

func (n *fakeNear) Write(bufs [][]byte, offset int, ecn []uint8) error {
	for i, b := range bufs {
		select {
		case n.out <- item{data: slices.Clone(b[offset:]), ecn: ecn[i]}:
		case <-n.done:
			return tunnel.ErrClosed
		}
	}
	return nil
}

// lines is a log whose messages a test can wait for.
type lines struct {
	mu   sync.Mutex
	cond *sync.Cond
	all  []string
	late bool
}

func newLines() *lines {
	l := &lines{}
	l.cond = sync.NewCond(&l.mu)
	return l
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *lines) WithGroup(string) slog.Handler            { return l }
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, r.Message)
	l.cond.Broadcast()
	return nil
}

// await waits for the n-th message that holds text.
func (l *lines) await(t testing.TB, text string, n int) {
	t.Helper()
	timer := time.AfterFunc(limit, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.late = true
		l.cond.Broadcast()
	})
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.count(text) < n {
		if l.late {
			t.Fatalf("not in the log %d times: %q\n%s", n, text, strings.Join(l.all, "\n"))
		}
		l.cond.Wait()
	}
}

func (l *lines) count(text string) (n int) {
	for _, m := range l.all {
		if strings.Contains(m, text) {
			n++
		}
	}
	return n
}
