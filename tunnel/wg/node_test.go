package wg

import (
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"weft/tunnel"
)

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
