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

// A counted is what a tunnel told its owner about one lane.
type counted struct{ packets, bytes, messages, refused int }

// A node is a tunnel on loopback with its pods in memory.
type node struct {
	*Tunnel
	t     testing.TB
	n     int
	near  *fakeNear
	lines *lines

	mu    sync.Mutex
	ports [2]*tunnel.Port
	count map[*Lane]*counted
	told  chan struct{} // has an element since something was counted
	last  error
}

var loopback = [2]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}

// newNode opens node n with a key of its own, ports that the kernel picks, and
// what change says.
func newNode(t testing.TB, n int, change func(*Options)) *node {
	t.Helper()
	d := &node{t: t, n: n, near: newFakeNear(), lines: newLines(), count: map[*Lane]*counted{}, told: make(chan struct{}, 1)}
	o := Options{Name: "wg-test", MTU: 1420, Key: NewPrivateKey(), Local: loopback, Near: d.near, Open: d.open,
		Refused: d.refused, Sent: d.sent, Changed: func(*Lane, bool) {}, Log: slog.New(d.lines)}
	if change != nil {
		change(&o)
	}
	var err error
	d.Tunnel, err = New(o)
	must(t, err)
	t.Cleanup(d.Close)
	return d
}

func (d *node) open(local netip.AddrPort, stop *tunnel.Stopper) (*tunnel.Port, error) {
	const all = tunnel.GSO | tunnel.GRO | tunnel.Mmsg | tunnel.ECN
	p, err := tunnel.OpenPort(tunnel.PortOptions{Local: local, Allow: all, ECN: true, Pace: tunnel.Shared, Stop: stop})
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ports[1-b2i(local.Addr().Is4())] = p
	return p, nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// at returns where the node listens in a family: 0 IPv4, 1 IPv6.
func (d *node) at(family int) netip.AddrPort {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ports[family].Local()
}

func (d *node) counted(l *Lane, f func(*counted)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.count[l] == nil {
		d.count[l] = &counted{}
	}
	f(d.count[l])
	select {
	case d.told <- struct{}{}:
	default:
	}
}

// awaitCount waits until what is counted of a lane is as it should be.
func (d *node) awaitCount(l *Lane, cond func(*counted) bool) {
	d.t.Helper()
	late := time.After(limit)
	for {
		var ok bool
		var got counted
		d.mu.Lock()
		if c := d.count[l]; c != nil {
			got, ok = *c, cond(c)
		}
		d.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-d.told:
		case <-late:
			d.t.Fatalf("counted %+v", got)
		}
	}
}

func (d *node) sent(l *Lane, packets, bytes, messages int) {
	d.counted(l, func(c *counted) {
		c.packets, c.bytes, c.messages = c.packets+packets, c.bytes+bytes, c.messages+messages
	})
}

func (d *node) refused(l *Lane, err error, n int) {
	d.counted(l, func(c *counted) { c.refused += n; d.last = err })
}

func (d *node) key() PublicKey { return d.opt.Key.Public() }

// as describes d as a peer, reached in a family.
func (d *node) as(family int) Peer {
	return Peer{Key: d.key(), Endpoint: d.at(family), Allowed: subnets(d.n)}
}

// pair makes nodes 1 and 2 peers of each other in an outer family.
func pair(t testing.TB, family int, change func(*Options)) (a, b *node) {
	t.Helper()
	a, b = newNode(t, 1, change), newNode(t, 2, change)
	must(t, a.SetPeers([]Peer{b.as(family)}))
	must(t, b.SetPeers([]Peer{a.as(family)}))
	return a, b
}

// feed hands the device one batch for to.
func (d *node) feed(to *node, packets ...[]byte) {
	d.t.Helper()
	l := d.Lane(to.key())
	var batch []item
	for _, p := range packets {
		batch = append(batch, item{data: p, lane: l})
	}
	d.put(batch)
}

func (d *node) put(batch []item) {
	d.t.Helper()
	select {
	case d.near.in <- batch:
	case <-time.After(limit):
		d.t.Fatal("the device does not read")
	}
}

// get waits for the next packet that the pods get.
func (d *node) get() item {
	d.t.Helper()
	select {
	case p := <-d.near.out:
		return p
	case <-time.After(limit):
		d.t.Fatalf("node %d gets nothing; losses %v", d.n, d.Losses())
		panic("unreachable")
	}
}

// meet makes a session from d to other.
func (d *node) meet(other *node) {
	d.t.Helper()
	d.feed(other, packet(inner4(d.n), inner4(other.n), []byte("hello")))
	other.get()
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
