package lease_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weft/lease"
)

func rnd() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// prefix reads a prefix; "" is the zero one.
func prefix(s string) netip.Prefix {
	if s == "" {
		return netip.Prefix{}
	}
	return netip.MustParsePrefix(s)
}

// peer makes a lease from a key of the store and a node address.
func peer(key, ip string) lease.Lease {
	v4, v6, err := lease.ParseKey(key)
	if err != nil {
		panic(err)
	}
	l := lease.Lease{Subnet: v4, Subnet6: v6}
	if a := netip.MustParseAddr(ip); a.Is4() {
		l.Attrs.PublicIP = a
	} else {
		l.Attrs.PublicIPv6 = a
	}
	return l
}

func added(ls ...lease.Lease) []lease.Event {
	var es []lease.Event
	for _, l := range ls {
		es = append(es, lease.Event{Type: lease.Added, Lease: l})
	}
	return es
}

func removed(l lease.Lease) lease.Update {
	l.Attrs = lease.Attrs{}
	return lease.Update{Events: []lease.Event{{Type: lease.Removed, Lease: l}}}
}

func show(s *lease.Set) string {
	var b []string
	for l := range s.All() {
		b = append(b, fmt.Sprintf("%s=%s", l.Key(), l.Attrs.PublicIP))
	}
	return strings.Join(b, " ")
}

func TestSet(t *testing.T) {
	a, b, c := peer("10.5.1.0-24", "1.1.1.1"), peer("10.5.2.0-24", "1.1.1.2"), peer("10.5.2.0-24&fd00::-64", "1.1.1.3")
	moved := b
	moved.Attrs.PublicIP = netip.MustParseAddr("9.9.9.9")
	renewed := a
	renewed.Expires = time.Unix(1, 0)

	var s lease.Set
	for i, step := range []struct {
		u       lease.Update
		changed bool
		want    string
	}{
		{lease.Update{Full: true}, false, ""},
		{lease.Update{Full: true, Events: added(c, b, a)}, true, "10.5.1.0-24=1.1.1.1 10.5.2.0-24=1.1.1.2 10.5.2.0-24&fd00::-64=1.1.1.3"},
		{lease.Update{Full: true, Events: added(a, b, c)}, false, "10.5.1.0-24=1.1.1.1 10.5.2.0-24=1.1.1.2 10.5.2.0-24&fd00::-64=1.1.1.3"},
		{lease.Update{Events: added(renewed)}, false, "10.5.1.0-24=1.1.1.1 10.5.2.0-24=1.1.1.2 10.5.2.0-24&fd00::-64=1.1.1.3"},
		// Attributes that changed during a gap are a change like any other.
		{lease.Update{Full: true, Events: added(a, moved, c)}, true, "10.5.1.0-24=1.1.1.1 10.5.2.0-24=9.9.9.9 10.5.2.0-24&fd00::-64=1.1.1.3"},
		{lease.Update{Events: added(b)}, true, "10.5.1.0-24=1.1.1.1 10.5.2.0-24=1.1.1.2 10.5.2.0-24&fd00::-64=1.1.1.3"},
		{removed(b), true, "10.5.1.0-24=1.1.1.1 10.5.2.0-24&fd00::-64=1.1.1.3"},
		{removed(b), false, "10.5.1.0-24=1.1.1.1 10.5.2.0-24&fd00::-64=1.1.1.3"},
		{lease.Update{Full: true, Events: added(a, a)}, true, "10.5.1.0-24=1.1.1.1"},
		{lease.Update{Events: []lease.Event{{Type: lease.Removed, Lease: a}, {Type: lease.Added, Lease: a}}}, true, "10.5.1.0-24=1.1.1.1"},
		{lease.Update{}, false, "10.5.1.0-24=1.1.1.1"},
		{lease.Update{Full: true}, true, ""},
	} {
		if got := s.Apply(step.u); got != step.changed {
			t.Errorf("step %d: changed %v", i, got)
		}
		if got := show(&s); got != step.want {
			t.Fatalf("step %d:\n got %s\nwant %s", i, got, step.want)
		}
	}
	s.Apply(lease.Update{Events: added(renewed)})
	if l, ok := s.Get(a.Subnet, a.Subnet6); !ok || l.Expires != renewed.Expires {
		t.Errorf("the renewal was not kept: %+v %v", l, ok)
	}
	if _, ok := s.Get(b.Subnet, b.Subnet6); ok || s.Len() != 1 {
		t.Error("found what is not there")
	}
}

// A set fed with random changes agrees with a map.
func TestSetAgainstMap(t *testing.T) {
	r := rnd()
	var s lease.Set
	model := map[string]string{}
	for range 3000 {
		l := peer(fmt.Sprintf("10.5.%d.0-24", r.IntN(40)), fmt.Sprintf("1.1.1.%d", 1+r.IntN(3)))
		old, had := model[l.Key()]
		var u lease.Update
		var change bool
		if r.IntN(2) == 0 {
			u, change = removed(l), had
			delete(model, l.Key())
		} else {
			u, change = lease.Update{Events: added(l)}, old != l.Attrs.PublicIP.String()
			model[l.Key()] = l.Attrs.PublicIP.String()
		}
		if got := s.Apply(u); got != change {
			t.Fatalf("Apply(%v): changed %v", u, got)
		}
	}
	if s.Len() != len(model) {
		t.Errorf("%d leases, want %d", s.Len(), len(model))
	}
	for l := range s.All() {
		if model[l.Key()] != l.Attrs.PublicIP.String() {
			t.Errorf("%v is not in the model", l)
		}
	}
}

func BenchmarkSetApply(b *testing.B) {
	const n = 5000
	r := rnd()
	var events []lease.Event
	for _, i := range r.Perm(n) {
		events = append(events, added(peer(fmt.Sprintf("10.%d.%d.0-24", i/256, i%256), "1.1.1.1"))...)
	}
	b.Run("full", func(b *testing.B) {
		for b.Loop() {
			var s lease.Set
			s.Apply(lease.Update{Full: true, Events: events})
		}
	})
	b.Run("one by one", func(b *testing.B) {
		for b.Loop() {
			var s lease.Set
			for i := range events {
				s.Apply(lease.Update{Events: events[i : i+1]})
			}
		}
	})
	b.Run("usable", func(b *testing.B) {
		var s lease.Set
		s.Apply(lease.Update{Full: true, Events: events})
		cfg, _ := lease.ParseConfig([]byte(`{"Network":"10.0.0.0/8"}`))
		own := peer("10.200.0.0-24", "1.1.1.2")
		for b.Loop() {
			if ok, _ := lease.Usable(cfg, own, &s); len(ok) != n {
				b.Fatal(len(ok))
			}
		}
	})
}
