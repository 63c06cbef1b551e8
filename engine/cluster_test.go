package engine

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"weft/encap"
	"weft/engine/trace"
	"weft/lease"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// vtep is the tunnel endpoint of node n for inner packets of a version.
func vtep(n int, version uint8) lease.VTEP {
	return lease.VTEP{VNI: 1, MAC: [6]byte{2, 0x77, version, 0, 0, byte(n)}}
}

// leaseOf is the lease of node n as a node with that backend writes it. The
// node is reached at 192.168.50.n and fd50::n.
func leaseOf(n int, kind string) lease.Lease {
	l := node(n)
	l.Attrs.PublicIPv6 = only6(n).Attrs.PublicIPv6
	if kind == "vxlan" {
		l.Attrs.BackendType = kind
		l.Attrs.BackendData, _ = json.Marshal(vtep(n, 4))
		l.Attrs.BackendV6Data, _ = json.Marshal(vtep(n, 6))
	}
	return l
}

// vxlanFraming is what node n speaks to peers of the vxlan backend.
func vxlanFraming(n int) *framing {
	return &framing{kind: "vxlan", trace: trace.VXLAN, port: 8472, spread: 4, split: true, kernel: true,
		codec: &encap.VXLAN{VNI: 1, MACs: [2][6]byte{vtep(n, 4).MAC, vtep(n, 6).MAC}}}
}

// hops is what a crossing to the node takes off the TTL.
func (r *rig) hops() int {
	if r.build.framings[0].codec.Routes() {
		return 2
	}
	return 0
}

// newNode makes node n of the given kind, which speaks both kinds as a real one
// does: it sends vxlan from four ports a family, and listens in its own framing
// and in udp.
func newNode(t testing.TB, n int, kind string, o rigOptions) *rig {
	t.Helper()
	own := leaseOf(n, kind)
	r := &rig{t: t, dev: tunneltest.NewDevice(o.tun)}
	r.listen(o.check)
	udp, vxlan := udpFraming(), vxlanFraming(n)
	framings := []*framing{udp, vxlan}
	if kind == "vxlan" {
		framings = []*framing{vxlan, udp}
		vxlan.listens = true
	}
	r.build = newBuilder(framings, own, 0, [2]bool{true, true})
	r.answer = newAnswerer(tunnelAddr(own.Subnet), tunnelAddr(own.Subnet6))
	r.answer.trusted.Store(true)
	for i, f := range framings {
		f.id = i
		for family, a := range [...]netip.Addr{own.Attrs.PublicIP, own.Attrs.PublicIPv6} {
			r.openFraming(o, f, family, a)
		}
	}
	learn := func(to *peer) int { return 0 }
	r.up = newUp(r.dev, &r.table, r.answer, learn, newTap(&r.hub, trace.Out, &r.counts[0]))
	r.setPeers(o.peers...)
	return r
}

func (r *rig) openFraming(o rigOptions, f *framing, family int, a netip.Addr) {
	first := len(r.build.outlets)
	if f.listens {
		port := o.wire.Port(netip.AddrPortFrom(a, f.port), o.port)
		count := &r.counts[1+2*f.id+family]
		in := inlet{port, newDown(r.dev, 1472, port, f, &r.table, o.check, r.answer, newTap(&r.hub, trace.In, count))}
		switch {
		case f.id == 0 && family == 0:
			r.ports[0], r.down = in.port, in.down
		case f.id == 0:
			r.ports[1], r.down6 = in.port, in.down
		default:
			r.others = append(r.others, in)
		}
		if f.spread == 0 {
			r.build.outlets = append(r.build.outlets, port)
		}
	}
	for i := range f.spread {
		r.build.outlets = append(r.build.outlets, o.wire.Port(netip.AddrPortFrom(a, uint16(40000+i)), o.port))
	}
	r.build.spans[f.id][family] = span{first, len(r.build.outlets) - first}
}

// newCluster joins nodes of the given kinds, from node 1 on, by a wire.
func newCluster(t testing.TB, wire *tunneltest.Wire, tun, port tunnel.Feature, kinds ...string) (nodes []*rig) {
	t.Helper()
	for i, kind := range kinds {
		o := rigOptions{wire: wire, tun: tun, port: port}
		for j, other := range kinds {
			if j != i {
				o.peers = append(o.peers, leaseOf(1+j, other))
			}
		}
		nodes = append(nodes, newNode(t, 1+i, kind, o))
	}
	return nodes
}

// TestClustersExchange is TestNodesExchange for clusters of vxlan and of both
// kinds: each node is spoken to as its lease says, and the frames of one flow
// stay in order whatever sockets the others leave by.
func TestClustersExchange(t *testing.T) {
	for _, kinds := range [][]string{{"vxlan", "vxlan", "vxlan"}, {"udp", "vxlan", "vxlan"}, {"udp", "udp", "vxlan"}} {
		for name, o := range map[string]struct{ tun, port tunnel.Feature }{
			"everything":    {allTUN, allPort},
			"no gso":        {allTUN, tunnel.GRO},
			"no gro":        {allTUN, tunnel.GSO},
			"no uso":        {tunnel.Vnet | tunnel.TSO, allPort},
			"no vnet":       {0, allPort},
			"plain and all": {0, 0},
		} {
			t.Run(kinds[0]+kinds[1]+kinds[2]+" "+name, func(t *testing.T) {
				exchange(t, rand.New(rand.NewPCG(7, 8)), newCluster(t, tunneltest.NewWire(), o.tun, o.port, kinds...))
			})
		}
	}
}

// Inner IPv6 for a vxlan peer travels in outer IPv6 to the endpoint of that
// family, as between flannel's two devices; for a udp peer both travel alike.
func TestFamiliesOfFramings(t *testing.T) {
	nodes := newCluster(t, tunneltest.NewWire(), allTUN, allPort, "vxlan", "vxlan", "udp")
	for _, tc := range []struct {
		to    int
		inner int
		outer string
		mac   [6]byte
	}{
		{2, 0, "192.168.50.2:8472", vtep(2, 4).MAC},
		{2, 1, "[fd50::2]:8472", vtep(2, 6).MAC},
		{3, 0, "192.168.50.3:8285", [6]byte{}},
		{3, 1, "192.168.50.3:8285", [6]byte{}},
	} {
		l := leaseOf(tc.to, "")
		p := nodes[0].table.Load().lookup([]netip.Addr{l.Subnet.Addr(), l.Subnet6.Addr()}[tc.inner])
		if got := p.addr.AddrPort().String(); got != tc.outer {
			t.Errorf("inner family %d of node %d goes to %s, want %s", tc.inner, tc.to, got, tc.outer)
		}
		if tc.mac != ([6]byte{}) && !slices.Equal(p.prefix[8:14], tc.mac[:]) {
			t.Errorf("inner family %d of node %d goes to % x, want % x", tc.inner, tc.to, p.prefix[8:14], tc.mac)
		}
	}
}

// A peer without outer IPv6 is no kernel, and gets inner IPv6 in IPv4. One that
// has it may be a kernel, which would drop it there: a node that lacks it says
// that it cannot.
func TestFamiliesOfFramingsFallBack(t *testing.T) {
	b := newNode(t, 1, "vxlan", rigOptions{wire: tunneltest.NewWire(), tun: allTUN, port: allPort}).build
	no6 := leaseOf(2, "vxlan")
	no6.Attrs.PublicIPv6 = netip.Addr{}
	tab, refused := buildTable(b, no6)
	if p := tab.lookup(no6.Subnet6.Addr()); len(refused) != 0 || p == nil || p.outer != no6.Attrs.PublicIP {
		t.Errorf("a peer without outer IPv6: %+v, refused %v", p, refused)
	}
	b.families[1], b.spans[0][1] = false, span{}
	both := leaseOf(3, "vxlan")
	tab, refused = buildTable(b, both)
	if p := tab.lookup(both.Subnet6.Addr()); !errors.Is(refused[both.Key()], errNoPort) || p == nil || p.out.n != 0 {
		t.Errorf("a node without outer IPv6: %+v, refused %v", p, refused)
	}
	if p := tab.lookup(both.Subnet.Addr()); p == nil || p.out.n == 0 || len(tab.reached([]lease.Lease{both})) != 1 {
		t.Errorf("its IPv4 peer: %+v", p)
	}
	if nil == tab.outers[both.Attrs.PublicIPv6] {
		t.Error("the peer's other address is not known as its own")
	}
}

// A family whose endpoint is missing or cannot be read costs the other nothing.
func TestBadEndpoint(t *testing.T) {
	b := newNode(t, 1, "vxlan", rigOptions{wire: tunneltest.NewWire(), tun: allTUN, port: allPort}).build
	cfg, err := lease.ParseConfig([]byte(`{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:10:5::/48","Backend":{"Type":"vxlan"}}`))
	must(t, err)
	l := leaseOf(2, "vxlan")
	for _, data := range []string{`{"VtepMAC":"x"}`, ""} {
		l.Attrs.BackendV6Data = json.RawMessage(data)
		var set lease.Set
		set.Apply(lease.Update{Full: true, Events: []lease.Event{{Type: lease.Added, Lease: l}}})
		usable, unusable := lease.Usable(cfg, leaseOf(1, "vxlan"), &set)
		tab, refused := buildTable(b, usable...)
		if len(unusable) != 0 || tab.lookup(l.Subnet.Addr()) == nil || tab.lookup(l.Subnet6.Addr()) != nil || len(refused) != 1 {
			t.Errorf("%q: IPv4 peer %v, IPv6 peer %v, refused %v and %v", data, tab.lookup(l.Subnet.Addr()), tab.lookup(l.Subnet6.Addr()), refused, unusable)
		}
	}
	l.Attrs.BackendType = "ipip"
	if tab, refused := buildTable(b, l); len(tab.peers) != 0 || len(refused) != 1 {
		t.Errorf("%d peers of a kind that nobody speaks, refused %v", len(tab.peers), refused)
	}
}
