package engine

import (
	"log/slog"
	"net/netip"
	"testing"

	"weft/encap"
	"weft/engine/iface"
	"weft/lease"
)

// A peer whose address is of a family without a port here is known, and its
// packets are counted as what they are and answered.
func TestUpPeerWithoutPort(t *testing.T) {
	r := newRig(t, usual())
	r.build.families[1], r.build.spans[0][1] = false, span{}
	tab, refused := buildTable(r.build, node(2), only6(4))
	if len(refused) != 1 {
		t.Errorf("refused: %v", refused)
	}
	r.table.Store(tab)
	p := udpFrom(pod(1, 2), pod(4, 2), nil)
	r.sendUp(one(p))
	r.wantDrops(map[encap.Drop]uint64{encap.NoFamily: 1})
	checkAnswer(t, r.dev.Take(), "3/0", p, 0)
}

// Before the leases were listed nobody is told that a peer does not exist.
func TestUpSilentBeforeTheFirstListing(t *testing.T) {
	r := newRig(t, usual())
	empty := r.build.build(func(func(lease.Lease) bool) {}, nil)
	empty.known = false
	r.table.Store(empty)
	r.sendUp(one(udpFrom(pod(1, 2), pod(2, 2), nil)))
	r.wantDrops(map[encap.Drop]uint64{encap.NoRoute: 1})
	if got := r.dev.Take(); len(got) != 0 {
		t.Errorf("%d packets were written", len(got))
	}
}

// Inner IPv6 needs 1280 bytes. Where the underlay leaves less, a dual-stack
// node goes on with IPv4, and a node that has nothing else says why it cannot.
func TestRoomForIPv6(t *testing.T) {
	for _, tc := range []struct {
		mtu      int
		v4       bool
		keep, ok bool
	}{
		{1500, true, true, true},
		{1308, true, true, true},
		{1307, true, false, true},
		{1328, false, true, true},
		{1327, false, false, false},
	} {
		under := iface.Underlay{Name: "eth0", MTU: tc.mtu, Addr6: netip.MustParseAddr("fd50::1")}
		if tc.v4 {
			under.Addr = netip.MustParseAddr("192.168.50.1")
		}
		back := &backend{under: under, framings: []*framing{udpFraming()}}
		must(t, back.size(0))
		n := &Node{log: slog.New(slog.DiscardHandler)}
		cfg, err := n.roomForIPv6(&lease.Config{EnableIPv4: tc.v4, EnableIPv6: true}, under, back)
		if (err == nil) != tc.ok || (err == nil && cfg.EnableIPv6 != tc.keep) {
			t.Errorf("underlay MTU %d, IPv4 %v: %+v, %v", tc.mtu, tc.v4, cfg, err)
		}
	}
}

// What the kernel says of a path can only narrow what the configuration says.
func TestLearnKeepsTheConfiguredLimit(t *testing.T) {
	loopback := netip.MustParseAddr("::1")
	under := iface.Underlay{Name: "lo", MTU: 65536, Addr: netip.MustParseAddr("127.0.0.1"), Addr6: loopback}
	back := &backend{under: under, framings: []*framing{udpFraming()}}
	must(t, back.size(1400))
	p := &plane{node: &Node{log: slog.New(slog.DiscardHandler)}, back: back, under: under}
	b := udpBuilder(node(1), &nullPort{}, &nullPort{})
	b.mtu, b.framings = back.mtu, back.framings
	l := only6(4)
	l.Attrs.PublicIPv6 = loopback
	tab, _ := buildTable(b, l)
	to := tab.peers[0]
	if got := p.learn(to); got != 1352 || to.path.inner.Load() != 1352 {
		t.Errorf("the limit is %d, want 1400 less 48", got)
	}
}
