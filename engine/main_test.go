package engine

import (
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"weft/encap"
	"weft/engine/trace"
	"weft/lease"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	allTUN  = tunnel.Vnet | tunnel.TSO | tunnel.USO
	allPort = tunnel.GSO | tunnel.GRO | tunnel.Mmsg
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// node names the n-th node of a test's cluster: it holds 10.5.n.0/24 and
// fd00:10:5:n::/64, and is reached at 192.168.50.n.
func node(n int) lease.Lease {
	return lease.Lease{
		Subnet:  netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, byte(n), 0}), 24),
		Subnet6: netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0, 0, 0x10, 0, 5, 0, byte(n)}), 64),
		Attrs:   lease.Attrs{PublicIP: netip.AddrFrom4([4]byte{192, 168, 50, byte(n)})},
	}
}

// only6 is a node that is reached at fd50::n alone.
func only6(n int) lease.Lease {
	l := node(n)
	l.Attrs = lease.Attrs{PublicIPv6: netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x50, 15: byte(n)})}
	return l
}

// udpFraming is what a node of a udp network speaks.
func udpFraming() *framing {
	return &framing{kind: "udp", trace: trace.UDP, codec: encap.UDP{}, port: 8285, listens: true}
}

// udpBuilder makes tables of udp peers that are reached through ports, by the
// family of their outer address; nil: there is none.
func udpBuilder(own lease.Lease, ports ...port) *builder {
	b := newBuilder([]*framing{udpFraming()}, own, 0, [2]bool{})
	for i, p := range ports {
		if p != nil {
			b.families[i] = true
			b.spans[0][i] = span{len(b.outlets), 1}
			b.outlets = append(b.outlets, p)
		}
	}
	return b
}

// A rig is the data plane of one node with its ends in memory. The test is the
// clock: nothing happens but what it calls.
type rig struct {
	t       testing.TB
	dev     *tunneltest.Device
	ports   [2]*tunneltest.Port // IPv4, IPv6
	build   *builder
	table   atomic.Pointer[table]
	answer  *answerer
	up      *up
	down    *down // reads the IPv4 port
	down6   *down
	others  []inlet // further ports: of another framing
	hub     trace.Hub
	session *trace.Session // that is told of everything
	told    story          // what it was told so far
	check   SourceCheck
	counts  [5]counters // up, down, down6, others
	limit   int         // what learn finds out about any path
	learned int         // how often learn was asked
}

// rigOptions: what a test may want to be otherwise.
type rigOptions struct {
	own   lease.Lease
	peers []lease.Lease
	wire  *tunneltest.Wire // nil: an own one
	tun   tunnel.Feature
	port  tunnel.Feature
	check SourceCheck
}

// newRig makes node 1 with everything switched on, unless o says otherwise.
func newRig(t testing.TB, o rigOptions) *rig {
	t.Helper()
	r := &rig{t: t, dev: tunneltest.NewDevice(o.tun)}
	r.listen(o.check)
	if o.wire == nil {
		o.wire = tunneltest.NewWire()
	}
	outer6 := only6(int(o.own.Subnet.Addr().As4()[2])).Attrs.PublicIPv6
	r.ports[0] = o.wire.Port(netip.AddrPortFrom(o.own.Attrs.PublicIP, 8285), o.port)
	r.ports[1] = o.wire.Port(netip.AddrPortFrom(outer6, 8285), o.port)
	r.build = udpBuilder(o.own, r.ports[0], r.ports[1])
	r.setPeers(o.peers...)
	r.answer = newAnswerer(tunnelAddr(o.own.Subnet), tunnelAddr(o.own.Subnet6))
	r.answer.trusted.Store(true)
	learn := func(to *peer) int {
		r.learned++
		to.path.inner.Store(int32(r.limit))
		return r.limit
	}
	r.up = newUp(r.dev, &r.table, r.answer, learn, newTap(&r.hub, trace.Out, &r.counts[0]))
	f := r.build.framings[0]
	r.down = newDown(r.dev, 1472, r.ports[0], f, &r.table, o.check, r.answer, newTap(&r.hub, trace.In, &r.counts[1]))
	r.down6 = newDown(r.dev, 1472, r.ports[1], f, &r.table, o.check, r.answer, newTap(&r.hub, trace.In, &r.counts[2]))
	return r
}

// usual is node 1 among peers 2 to 4, of which 4 has IPv6 outside.
func usual() rigOptions {
	return rigOptions{own: node(1), peers: []lease.Lease{node(2), node(3), only6(4)}, tun: allTUN, port: allPort}
}

func (r *rig) setPeers(leases ...lease.Lease) {
	r.t.Helper()
	r.table.Store(r.build.build(slices.Values(leases), func(l lease.Lease, err error) {
		r.t.Errorf("lease %s refused: %v", l.Key(), err)
	}))
}

// sendUp takes packets from the pods, as one batch.
func (r *rig) sendUp(packets ...tunnel.Packet) {
	r.t.Helper()
	r.dev.Feed(packets...)
	must(r.t, r.dev.Read(r.up.batch))
	must(r.t, r.up.carry())
}

// sendDown takes datagrams from node n, one message each, as one batch.
func (r *rig) sendDown(n int, datagrams ...[]byte) {
	r.t.Helper()
	from := netip.AddrPortFrom(node(n).Attrs.PublicIP, 8285)
	for _, d := range datagrams {
		r.ports[0].Inject(tunnel.Received{Data: d, Size: len(d), From: from})
	}
	must(r.t, r.ports[0].Recv(r.down.inbox))
	r.down.carry()
	must(r.t, r.down.failed)
}

// drops are all drops by name.
func (r *rig) drops() map[string]uint64 {
	m := map[string]uint64{}
	for i := range r.counts {
		r.counts[i].addDrops(m)
	}
	return m
}

// wantDrops compares and forgets all drops.
func (r *rig) wantDrops(want map[encap.Drop]uint64) {
	r.t.Helper()
	got := r.drops()
	r.sameStory(got)
	for reason, n := range want {
		if got[reason.String()] != n {
			r.t.Errorf("%d packets dropped as %v, want %d", got[reason.String()], reason, n)
		}
		delete(got, reason.String())
	}
	if len(got) > 0 {
		r.t.Errorf("drops nobody expected: %v", got)
	}
	for i := range r.counts {
		for d := range r.counts[i].drops {
			r.counts[i].drops[d].Store(0)
		}
	}
}

// arrived empties the port of node n on the wire: what up has sent there.
func arrived(t testing.TB, p *tunneltest.Port) (out [][]byte) {
	t.Helper()
	for _, m := range p.Take() {
		for data := m.Data; ; data = data[m.Size:] {
			if len(data) <= m.Size {
				out = append(out, data)
				break
			}
			out = append(out, data[:m.Size])
		}
	}
	return out
}

var errTest = errors.New("refused by the test")
