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
// adds a line, with a lease as its peers publish it.
var encapsulators = []struct {
	name   string
	e      Encapsulator
	peer   lease.Lease
	routes bool
}{
	{"udp", UDP{}, lease.Lease{
		Subnet:  netip.MustParsePrefix("10.5.2.0/24"),
		Subnet6: netip.MustParsePrefix("fd00:5:2::/64"),
		Attrs:   lease.Attrs{PublicIP: netip.MustParseAddr("192.168.50.2"), PublicIPv6: netip.MustParseAddr("fd00::2")},
	}, true},
}

func TestEncapsulators(t *testing.T) {
	for _, c := range encapsulators {
		t.Run(c.name, func(t *testing.T) {
			prefix, err := c.e.Prefix(c.peer)
			if err != nil {
				t.Fatal(err)
			}
			if len(prefix) != c.e.Overhead() || len(prefix) > maxHead-120 {
				t.Fatalf("the prefix has %d bytes, Overhead is %d, a header block has room for %d", len(prefix), c.e.Overhead(), maxHead-120)
			}
			if c.e.Routes() != c.routes {
				t.Errorf("Routes = %v", c.e.Routes())
			}
			t.Run("opens what it sealed", func(t *testing.T) { conformRoundTrip(t, c.e, prefix) })
			t.Run("makes prefixes that are apart", func(t *testing.T) { conformPrefixes(t, c.e, c.peer) })
			t.Run("opens anything without panic", func(t *testing.T) { conformAnything(t, c.e, prefix) })
			t.Run("allocates nothing", func(t *testing.T) { conformAllocs(t, c.e, prefix) })
			t.Run("serves all workers at once", func(t *testing.T) {
				var workers sync.WaitGroup
				for range 4 {
					workers.Go(func() { conformRoundTrip(t, c.e, prefix) })
				}
				workers.Wait()
			})
		})
	}
}

// seal returns the datagram for the inner packet p.
func seal(e Encapsulator, prefix, p []byte) []byte {
	d := append(slices.Clone(prefix), p...)
	e.Seal(d[:len(prefix):len(prefix)], p[0]>>4)
	return d
}

func conformRoundTrip(t *testing.T, e Encapsulator, prefix []byte) {
	was := slices.Clone(prefix)
	for _, q := range []packet{tcp4, udp4, tcp4.six(), udp4.six()} {
		for _, n := range []int{0, 1, 1400, 65000} {
			p := q.with(n, 1).build()
			d := seal(e, prefix, p)
			again := slices.Clone(d)
			e.Seal(again[:len(prefix)], p[0]>>4)
			if !bytes.Equal(again, d) {
				t.Errorf("IPv%d: sealed twice, the prefix is another", q.v)
			}
			got, drop := e.Open(d)
			if drop != Delivered || !bytes.Equal(got, p) {
				t.Errorf("IPv%d, %d bytes: %v, %d bytes", q.v, len(p), drop, len(got))
			} else if &got[0] != &d[len(prefix)] {
				t.Errorf("IPv%d: the packet was copied", q.v)
			}
		}
	}
	if !bytes.Equal(prefix, was) {
		t.Error("sealing a copy changed the prefix")
	}
}

// conformPrefixes: what is done to one prefix does not reach another.
func conformPrefixes(t *testing.T, e Encapsulator, peer lease.Lease) {
	a, errA := e.Prefix(peer)
	b, errB := e.Prefix(peer)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Fatalf("%x, %v; %x, %v", a, errA, b, errB)
	}
	want := slices.Clone(b)
	for i := range a {
		a[i] ^= 0xff
	}
	if !bytes.Equal(b, want) {
		t.Error("two prefixes share memory")
	}
}

func conformAnything(t *testing.T, e Encapsulator, prefix []byte) {
	for _, p := range [][]byte{tcp4.with(30, 1).build(), make([]byte, 65507), bytes.Repeat([]byte{0xff}, 2000)} {
		d := append(slices.Clone(prefix), p...)
		for n := range min(len(d), 150) {
			checkOpened(t, e, d[:n:n])
		}
		checkOpened(t, e, d)
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

func conformAllocs(t *testing.T, e Encapsulator, prefix []byte) {
	p := tcp4.with(1400, 1).build()
	d := seal(e, prefix, p)
	if n := testing.AllocsPerRun(100, func() {
		e.Seal(d[:len(prefix)], 4)
		e.Open(d)
	}); n != 0 {
		t.Errorf("%v allocations for Seal and Open", n)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte{})
	for _, c := range encapsulators {
		prefix, err := c.e.Prefix(c.peer)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seal(c.e, prefix, tcp4.with(9, 1).build()))
		f.Add(seal(c.e, prefix, udp4.six().build()))
	}
	f.Fuzz(func(t *testing.T, d []byte) {
		for _, c := range encapsulators {
			checkOpened(t, c.e, d)
		}
	})
}
