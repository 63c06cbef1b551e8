package encap

import (
	"bytes"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"weft/lease"
)

// encapsulators is the list that the suite runs over. A new encapsulation
// adds a line: a node, one of its peers, and the lease that the peer publishes.
var encapsulators = []struct {
	name        string
	near, far   Encapsulator
	peer        lease.Lease
	routes, ecn bool
}{
	{"udp", UDP{}, UDP{}, lease.Lease{
		Subnet:  netip.MustParsePrefix("10.5.2.0/24"),
		Subnet6: netip.MustParsePrefix("fd00:5:2::/64"),
		Attrs:   lease.Attrs{PublicIP: netip.MustParseAddr("192.168.50.2"), PublicIPv6: netip.MustParseAddr("fd00::2")},
	}, true, false},
	{"vxlan", vtepA, vtepB, leaseB, false, true},
	{"vxlan with group policies", vtepA, withGBP(vtepB, "0,7"), leaseB, false, true},
}

func TestEncapsulators(t *testing.T) {
	for _, c := range encapsulators {
		t.Run(c.name, func(t *testing.T) {
			for _, e := range []Encapsulator{c.near, c.far} {
				if e.Routes() != c.routes || e.ECN() != c.ecn || e.Overhead() != c.near.Overhead() {
					t.Errorf("Routes is %v, ECN %v, Overhead %d", e.Routes(), e.ECN(), e.Overhead())
				}
			}
			link := conformLink(t, c.near, c.far, c.peer)
			t.Run("opens what it sealed", func(t *testing.T) { conformRoundTrip(t, link) })
			t.Run("makes prefixes that are apart", func(t *testing.T) { conformPrefixes(t, c.near, c.peer) })
			t.Run("opens anything without panic", func(t *testing.T) { conformAnything(t, link) })
			t.Run("allocates nothing", func(t *testing.T) { conformAllocs(t, link) })
			t.Run("serves all workers at once", func(t *testing.T) {
				var workers sync.WaitGroup
				for range 4 {
					workers.Go(func() { conformRoundTrip(t, link) })
				}
				workers.Wait()
			})
		})
	}
}

// A link is the way from a node to its peer.
type link struct {
	far    Encapsulator
	prefix map[uint8][]byte // by inner IP version
}

func conformLink(t testing.TB, near, far Encapsulator, peer lease.Lease) link {
	l := link{far, map[uint8][]byte{}}
	for _, version := range []uint8{4, 6} {
		prefix, err := near.Prefix(peer, version)
		if err != nil {
			t.Fatal(err)
		}
		if len(prefix) != near.Overhead() || len(prefix) > maxHead-120 {
			t.Fatalf("the prefix has %d bytes, Overhead is %d, a header block has room for %d", len(prefix), near.Overhead(), maxHead-120)
		}
		l.prefix[version] = prefix
	}
	return l
}

// seal returns the datagram for the inner packet p.
func (l link) seal(p []byte) []byte { return slices.Concat(l.prefix[p[0]>>4], p) }

func conformRoundTrip(t *testing.T, l link) {
	for _, q := range []packet{tcp4, udp4, tcp4.six(), udp4.six()} {
		for _, n := range []int{0, 1, 1400, 65000} {
			p := q.with(n, 1).build()
			d := l.seal(p)
			got, drop := l.far.Open(d)
			if drop != Delivered || !bytes.Equal(got, p) {
				t.Errorf("IPv%d, %d bytes: %v, %d bytes", q.v, len(p), drop, len(got))
			} else if &got[0] != &d[len(d)-len(p)] {
				t.Errorf("IPv%d: the packet was copied", q.v)
			}
		}
	}
}

// conformPrefixes: what is done to one prefix does not reach another.
func conformPrefixes(t *testing.T, e Encapsulator, peer lease.Lease) {
	for _, version := range []uint8{4, 6} {
		a, errA := e.Prefix(peer, version)
		b, errB := e.Prefix(peer, version)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Fatalf("%x, %v; %x, %v", a, errA, b, errB)
		}
		want := slices.Clone(b)
		for i := range a {
			a[i] ^= 0xff
		}
		if again, err := e.Prefix(peer, version); !bytes.Equal(b, want) || !bytes.Equal(again, want) {
			t.Errorf("two prefixes share memory: %x, %x, %v", b, again, err)
		}
	}
}

func conformAnything(t *testing.T, l link) {
	for version, prefix := range l.prefix {
		p := packet{v: int(version), proto: 6}.with(30, 1).build()
		for _, rest := range [][]byte{p, make([]byte, 65507-len(prefix)), bytes.Repeat([]byte{0xff}, 2000)} {
			d := slices.Concat(prefix, rest)
			for n := range min(len(d), 150) {
				checkOpened(t, l.far, d[:n:n])
			}
			checkOpened(t, l.far, d)
			checkOpened(t, l.far, rest)
		}
	}
}

// checkOpened: the result is the end of the datagram or nothing, with a
// reason; the datagram is not changed.
func checkOpened(t *testing.T, e Encapsulator, d []byte) {
	t.Helper()
	inside, intact := guarded(d)
	p, drop := e.Open(inside)
	switch {
	case !intact() || !bytes.Equal(inside, d):
		t.Fatal("Open wrote")
	case drop >= NumDrops:
		t.Fatalf("reason %d", drop)
	case drop != Delivered && len(p) != 0:
		t.Fatalf("%v, and yet %d bytes", drop, len(p))
	case drop == Delivered && !bytes.Equal(p, d[len(d)-len(p):]):
		t.Fatal("the packet is not the end of the datagram")
	case drop == Delivered && len(d)-len(p) < e.Overhead():
		t.Fatalf("%d bytes in front of the packet, Overhead is %d", len(d)-len(p), e.Overhead())
	}
	if h, drop := Parse(p); drop == Delivered && h.Len > len(p) {
		t.Fatalf("%+v of %d bytes", h, len(p))
	}
}

func conformAllocs(t *testing.T, l link) {
	d4, d6 := l.seal(tcp4.with(1400, 1).build()), l.seal(udp4.six().with(1400, 1).build())
	if n := testing.AllocsPerRun(100, func() {
		l.far.Open(d4)
		l.far.Open(d6)
		l.far.Open(d4[1:])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte{})
	for _, c := range encapsulators {
		l := conformLink(f, c.near, c.far, c.peer)
		f.Add(l.seal(tcp4.with(9, 1).build()))
		f.Add(l.seal(udp4.six().build()))
	}
	for _, d := range questions() {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, d []byte) {
		for _, c := range encapsulators {
			checkOpened(t, c.far, d)
		}
	})
}
