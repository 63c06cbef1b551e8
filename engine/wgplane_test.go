package engine

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/engine/route"
	"weft/lease"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
	"weft/tunnel/wg"
)

// newTestWGPlane makes the plane of node 1, whose interfaces are not open.
func newTestWGPlane(t *testing.T, options string) *wgPlane {
	t.Helper()
	cfg, under := wgConfig(t, "46", options), underOf("127.0.0.1", "::1")
	w, err := newWireGuard(cfg, under, testKey())
	must(t, err)
	back := &backend{cfg: cfg, under: under, mtu: 1420, wg: w}
	n := &Node{log: slog.New(slog.DiscardHandler)}
	return newWGPlane(n, cfg, back, node(1), make([]*route.Reconciler, len(w.links)))
}

// openNear opens a tunnel for an interface, over loopback and memory.
func (p *wgPlane) openNear(t *testing.T, l *wgEnds) *tunneltest.Device {
	t.Helper()
	dev := tunneltest.NewDevice(allTUN)
	stop, err := tunnel.NewStopper()
	must(t, err)
	near := stopNear{newWGNear(dev, stop, &l.table, p.answer, &p.node.hub, &p.up, &p.down), dev}
	tun, err := wg.New(wg.Options{Name: "wg-test", MTU: 1420, Key: testKey(), Local: [2]netip.Addr{netip.MustParseAddr("127.0.0.1")},
		Near: near, Sent: p.sent, Refused: p.refused, Changed: p.changed, Log: p.node.log,
		Open: func(local netip.AddrPort, stop *tunnel.Stopper) (*tunnel.Port, error) {
			return tunnel.OpenPort(tunnel.PortOptions{Local: local, Allow: allPort, Stop: stop, Pace: tunnel.Shared})
		}})
	must(t, err)
	t.Cleanup(func() {
		tun.Close()
		must(t, stop.Close())
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	l.tunnel = tun
	p.rebuild()
	return dev
}

// A stopNear stops a device in memory too, which knows no Stopper.
type stopNear struct {
	*wgNear
	dev *tunneltest.Device
}

func (s stopNear) Stop() {
	s.wgNear.Stop()
	s.dev.Close()
}

func refusals(rs []lease.Refusal) string {
	var out []string
	for _, r := range rs {
		out = append(out, r.Lease.Key()+": "+r.Err.Error())
	}
	return strings.Join(out, "\n")
}

// Leases become peers, and what cannot be one is refused with its reason.
func TestWGPlanePeers(t *testing.T) {
	p := newTestWGPlane(t, "")
	two, three, copied := wgLease(2, "127.0.0.2", "::1", peerKey(2), ""), wgLease(3, "127.0.0.3", "::1", peerKey(3), ""), wgLease(4, "127.0.0.4", "::1", peerKey(2), "")
	ours, clear := wgLease(5, "127.0.0.5", "::1", testPublic, ""), node(6)
	leases := []lease.Lease{two, three, copied, ours}
	got := p.setPeers(context.Background(), leases, []lease.Refusal{{Lease: clear}})
	if text := refusals(got); strings.Count(text, "\n") != 3 || strings.Count(text, copied.Key()+": PublicKey: "+peerKey(2)+" is that of "+two.Key()) != 2 ||
		strings.Count(text, ours.Key()+": PublicKey: "+testPublic+" is this node's own") != 2 {
		t.Errorf("refused:\n%s", text)
	}
	if r := p.reached(leases); len(r) != 2 || r[0].Key() != two.Key() || r[1].Key() != three.Key() {
		t.Errorf("reached %v", r)
	}
	for i, l := range p.links {
		tab := l.table.Load()
		find := func(n int) *wgPeer { return tab.lookup(netip.MustParseAddr([2]string{pod(n, 2), pod6(n, 2)}[i])) }
		if a, b := find(2), find(3); a == nil || b == nil || a.key.String() != peerKey(2) || b.key.String() != peerKey(3) {
			t.Errorf("%s: peers %v, %v", l.name, a, b)
		}
		if find(4) != nil || find(5) != nil || find(9) != nil {
			t.Errorf("%s: what was refused is a peer", l.name)
		}
		if c := find(6); c == nil || c.key != (wg.PublicKey{}) || c.lane != nil {
			t.Errorf("%s: a node in the clear is %+v", l.name, c)
		}
		if other := tab.lookup(netip.MustParseAddr([2]string{pod6(2, 2), pod(2, 2)}[i])); other != nil {
			t.Errorf("%s has the other family's subnet", l.name)
		}
	}
}

// What was learnt of a path outlasts new tables, until its key is gone.
func TestWGPlaneKeepsLimits(t *testing.T) {
	p := newTestWGPlane(t, `,"Mode":"ipv4"`)
	two, three := wgLease(2, "127.0.0.2", "", peerKey(2), ""), wgLease(3, "127.0.0.3", "", peerKey(3), "")
	set := func(ls ...lease.Lease) *wgPeer {
		t.Helper()
		if r := p.setPeers(context.Background(), ls, nil); len(r) > 0 {
			t.Fatal(refusals(r))
		}
		return p.links[0].table.Load().lookup(netip.MustParseAddr(pod(2, 2)))
	}
	set(two).seen.inner.Store(1300)
	if got := set(two, three).seen.inner.Load(); got != 1300 {
		t.Errorf("limit %d", got)
	}
	if got := set(wgLease(2, "127.0.0.2", "", peerKey(7), ""), three).seen.inner.Load(); got != 0 {
		t.Errorf("another key has the limit %d", got)
	}
	p.openNear(t, p.links[0])
	before := set(two)
	before.seen.inner.Store(1300)
	after := set(two, three)
	if after == before || after.lane == nil || after.lane != before.lane || after.seen.inner.Load() != 1300 || p.peerOf(after.lane) != after {
		t.Errorf("before %p %+v, after %+v", before.lane, before, after)
	}
}

// What the tunnel tells is counted, and a datagram that is too long has its
// path looked at.
func TestWGPlaneCounts(t *testing.T) {
	p := newTestWGPlane(t, `,"Mode":"ipv4"`)
	p.openNear(t, p.links[0])
	p.setPeers(context.Background(), []lease.Lease{wgLease(2, "127.0.0.2", "", peerKey(2), "")}, nil)
	l := p.links[0].table.Load().lookup(netip.MustParseAddr(pod(2, 2)))
	p.sent(l.lane, 10, 10*132, 3)
	if got := p.Up(); got != (Traffic{Packets: 10, Bytes: 1000, Calls: 3, Batches: 1}) {
		t.Errorf("counted %+v", got)
	}
	for range 2 * cap(p.tooLong) { // nobody looks: nobody waits
		p.refused(l.lane, unix.EMSGSIZE, 2)
	}
	if to := <-p.tooLong; to != l {
		t.Errorf("the path of %+v", to)
	}
	p.refused(nil, unix.EMSGSIZE, 1)
	p.refused(l.lane, unix.EAFNOSUPPORT, 3)
	p.refused(l.lane, errTest, 4)
	wantCounted(t, &p.up, map[encap.Drop]uint64{encap.TooBig: uint64(4*cap(p.tooLong) + 1), encap.NoFamily: 3, encap.SockError: 4})
}

// Every loss of a tunnel has a reason of its own, and is counted once.
func TestWGPlaneLosses(t *testing.T) {
	seen := map[encap.Drop]bool{}
	for why, d := range lossReasons {
		if d == encap.Delivered || seen[d] {
			t.Errorf("loss %d is counted as %v", why, d)
		}
		seen[d] = true
	}
	p := newTestWGPlane(t, `,"Mode":"ipv4"`)
	dev := p.openNear(t, p.links[0])
	p.setPeers(context.Background(), []lease.Lease{wgLease(2, "127.0.0.1", "", peerKey(2), `,"Port":9`)}, nil)
	for range 200 {
		dev.Feed(one(udpFrom(pod(1, 2), pod(2, 2), nil)))
	}
	p.answer.trusted.Store(true)
	dev.Feed(one(udpFrom(pod(1, 2), "10.6.0.1", nil))) // is answered, once the others were looked at
	checkAnswer(t, dev.Await(), "3/0", udpFrom(pod(1, 2), "10.6.0.1", nil), 0)
	if got := p.up.drops[encap.WGNoSession].Load(); got != 200-128 {
		t.Errorf("%d packets did not wait for a session, want %d", got, 200-128)
	}
	p.setPeers(context.Background(), nil, nil)
	for range 3 {
		p.sample()
	}
	if got := p.up.drops[encap.WGNoSession].Load(); got != 200 {
		t.Errorf("%d packets had no session, want 200", got)
	}
	if drops := p.Drops(); drops[encap.WGNoSession.String()] != 200 {
		t.Errorf("drops %v", drops)
	}
}
