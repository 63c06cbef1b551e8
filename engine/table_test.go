package engine

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"weft/lease"
)

// build makes a table and returns who was refused.
func buildTable(b *builder, leases ...lease.Lease) (*table, map[string]error) {
	refused := map[string]error{}
	return b.build(slices.Values(leases), func(l lease.Lease, err error) { refused[l.Key()] = err }), refused
}

// thousand are n leases with 10.0.0.0/8 cut into /24, and /64 of fd00::/32.
func thousand(n int) (out []lease.Lease) {
	for i := range n {
		hi, lo := byte(i>>8), byte(i)
		out = append(out, lease.Lease{
			Subnet:  netip.PrefixFrom(netip.AddrFrom4([4]byte{10, hi, lo, 0}), 24),
			Subnet6: netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 4: hi, 5: lo}), 64),
			Attrs:   lease.Attrs{PublicIP: netip.AddrFrom4([4]byte{172, 16, hi, lo})},
		})
	}
	return out
}

func TestTableThousands(t *testing.T) {
	const n = 5000
	b := udpBuilder(lease.Lease{}, &nullPort{}, &nullPort{})
	leases := thousand(n)
	tab, refused := buildTable(b, leases...)
	if len(refused) != 0 || len(tab.peers) != n {
		t.Fatalf("%d peers, %d refused", len(tab.peers), len(refused))
	}
	for i, l := range leases {
		first, last := l.Subnet.Addr(), l.Subnet.Addr().As4()
		last[3] = 255
		for _, a := range []netip.Addr{first, netip.AddrFrom4(last), l.Subnet6.Addr(), l.Subnet6.Addr().Next()} {
			p := tab.lookup(a)
			if p == nil || p.outer != l.Attrs.PublicIP || p.slot != i || p.addr.AddrPort() != netip.AddrPortFrom(p.outer, 8285) {
				t.Fatalf("%v belongs to %+v, want %v", a, p, l.Attrs.PublicIP)
			}
		}
		if nil == tab.outers[l.Attrs.PublicIP] {
			t.Fatalf("%v holds no lease", l.Attrs.PublicIP)
		}
	}
	for _, a := range []string{"10.255.255.1", "11.0.0.1", "fd01::1", "172.16.0.1"} {
		if p := tab.lookup(netip.MustParseAddr(a)); p != nil {
			t.Errorf("%s belongs to %v", a, p.outer)
		}
	}
}

// Which outer address a peer is reached at depends on what it has and on what
// we have.
func TestTableFamilies(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	dual, none := [2]bool{true, true}, netip.Addr{}
	for _, tc := range []struct {
		name   string
		a4, a6 netip.Addr
		ports  [2]bool
		outer  netip.Addr
		port   int
		err    error
	}{
		{"both have both", v4, v6, dual, v4, 0, nil},
		{"it has IPv4", v4, none, dual, v4, 0, nil},
		{"it has IPv6", none, v6, dual, v6, 1, nil},
		{"0.0.0.0 is none", netip.IPv4Unspecified(), v6, dual, v6, 1, nil},
		{"we have IPv6", v4, v6, [2]bool{false, true}, v6, 1, nil},
		{"we have IPv4", v4, v6, [2]bool{true, false}, v4, 0, nil},
		{"nothing in common", v4, none, [2]bool{false, true}, none, 0, errNoPort},
		{"nothing in common either", none, v6, [2]bool{true, false}, none, 0, errNoPort},
		{"it has nothing", netip.IPv4Unspecified(), none, dual, none, 0, errNoAddress},
		{"neither has it", none, none, dual, none, 0, errNoAddress},
	} {
		var ports [2]port
		for i, has := range tc.ports {
			if has {
				ports[i] = &nullPort{}
			}
		}
		b := udpBuilder(node(1), ports[:]...)
		l := node(2)
		l.Attrs = lease.Attrs{PublicIP: tc.a4, PublicIPv6: tc.a6}
		tab, refused := buildTable(b, l, node(3), only6(4))
		if !errors.Is(refused[l.Key()], tc.err) {
			t.Errorf("%s: refused because %v, want %v", tc.name, refused[l.Key()], tc.err)
		}
		p := tab.lookup(l.Subnet.Addr())
		if tc.err == errNoPort {
			if p == nil || p.out.n != 0 {
				t.Errorf("%s: %+v, want a peer without a port", tc.name, p)
			}
			continue
		}
		if tc.err != nil {
			if p != nil {
				t.Errorf("%s: refused, and yet a peer", tc.name)
			}
			continue
		}
		if p == nil || p.outer != tc.outer || p.family != tc.port || tab.lookup(l.Subnet6.Addr()) != p {
			t.Errorf("%s: %+v, want %v by port %d", tc.name, p, tc.outer, tc.port)
		}
	}
}

// One bad lease costs no other; the slots of the peers have no gaps.
func TestTableRefusals(t *testing.T) {
	bad := node(3)
	bad.Attrs.PublicIP = netip.Addr{}
	b := udpBuilder(node(1), &nullPort{})
	tab, refused := buildTable(b, node(2), bad, only6(4), node(5))
	if len(refused) != 2 || len(tab.peers) != 3 || len(tab.outers) != 3 {
		t.Fatalf("%d refused, %d peers, %d outer addresses", len(refused), len(tab.peers), len(tab.outers))
	}
	slots := 0
	for i, p := range tab.peers {
		if p.slot != slots {
			t.Errorf("peer %d has slot %d, want %d", i, p.slot, slots)
		}
		slots += p.out.n
	}
	if tab.slots != slots {
		t.Errorf("the table has %d slots for %d", tab.slots, slots)
	}
}

// What was learnt about a path outlives changes of the leases, and is
// forgotten with the address. Limits belong to addresses, not to subnets.
func TestTablePaths(t *testing.T) {
	b := udpBuilder(node(1), &nullPort{}, &nullPort{})
	b.mtu, b.framings[0].inner = 1452, [2]int{1452, 1432}
	tab, _ := buildTable(b, node(2), node(3), only6(4))
	two, four := tab.lookup(node(2).Subnet.Addr()), tab.lookup(node(4).Subnet.Addr())
	if two.path.inner.Load() != 0 || four.path.inner.Load() != 1432 {
		t.Errorf("limits at first: %d and %d", two.path.inner.Load(), four.path.inner.Load())
	}
	two.path.inner.Store(1300)

	moved := node(9) // another subnet, same node
	moved.Attrs = node(2).Attrs
	tab, _ = buildTable(b, node(5), moved)
	if p := tab.lookup(moved.Subnet.Addr()); p.path != two.path || p.addr != two.addr || p.path.inner.Load() != 1300 {
		t.Error("the path is forgotten although its address is still there")
	}
	if len(b.ways) != 2 {
		t.Errorf("%d ways are kept for 2 addresses", len(b.ways))
	}
	buildTable(b)
	tab, _ = buildTable(b, node(2))
	if p := tab.lookup(node(2).Subnet.Addr()); p.path == two.path || p.path.inner.Load() != 0 {
		t.Error("the path is remembered although its address was gone")
	}
}

// Two leases of one node share its path and are both accepted from it.
func TestTableOneNodeTwoLeases(t *testing.T) {
	second := node(7)
	second.Attrs = node(2).Attrs
	tab, _ := buildTable(udpBuilder(node(1), &nullPort{}), node(2), second)
	a, b := tab.lookup(node(2).Subnet.Addr()), tab.lookup(node(7).Subnet.Addr())
	if a == b || a.outer != b.outer || a.path != b.path || len(tab.outers) != 1 {
		t.Errorf("%+v and %+v, %d outer addresses", a, b, len(tab.outers))
	}
}

func TestTableOwns(t *testing.T) {
	tab, _ := buildTable(udpBuilder(node(1), &nullPort{}))
	for a, want := range map[string]bool{
		"10.5.1.0": true, "10.5.1.255": true, "10.5.2.1": false, "fd00:10:5:1::7": true, "fd00:10:5:2::7": false,
		"::ffff:10.5.1.1": false, "0.0.0.0": false, "::": false,
	} {
		if got := tab.owns(netip.MustParseAddr(a)); got != want {
			t.Errorf("owns(%s) = %v", a, got)
		}
	}
	empty := &table{}
	for _, a := range []string{"0.0.0.0", "::", "10.5.1.1"} {
		if empty.owns(netip.MustParseAddr(a)) {
			t.Errorf("a node without subnets owns %s", a)
		}
	}
}
