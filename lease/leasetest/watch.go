package leasetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"weft/lease"
)

func testWatch(t *testing.T, w World) {
	w.Put(t, "10.5.1.0-24", value("192.168.50.1"))
	s := w.Open(t, node(1))
	v := Follow(t, s)
	v.Await(t, "a full update", func(leases string, fulls int) bool {
		return fulls == 1 && leases == "10.5.1.0-24=192.168.50.1"
	})
	w.Put(t, "10.5.2.0-24&fd00:10:5:2::-64", value("192.168.50.2"))
	v.AwaitLeases(t, "10.5.1.0-24=192.168.50.1 10.5.2.0-24&fd00:10:5:2::-64=192.168.50.2")
	w.Put(t, "10.5.1.0-24", value("192.168.50.9"))
	v.AwaitLeases(t, "10.5.1.0-24=192.168.50.9 10.5.2.0-24&fd00:10:5:2::-64=192.168.50.2")
	w.Delete(t, "10.5.1.0-24")
	v.AwaitLeases(t, "10.5.2.0-24&fd00:10:5:2::-64=192.168.50.2")
	w.Delete(t, "10.5.2.0-24&fd00:10:5:2::-64")
	v.AwaitLeases(t, "")
	if st := s.Status(); !st.Connected || st.LastEvent.IsZero() || st.Err != "" {
		t.Errorf("status %+v", st)
	}
}

// Junk in the store costs no peer.
func testWatchJunk(t *testing.T, w World) {
	w.Put(t, "10.5.1.0-24", value("192.168.50.1"))
	w.Put(t, "foo", "bar")
	w.Put(t, "10.5.3.0-24", "not JSON")
	want := "10.5.1.0-24=192.168.50.1"
	v := Follow(t, w.Open(t, node(1)))
	v.AwaitLeases(t, want)
	for i, junk := range []struct{ key, value string }{
		{"junk", "junk"}, {"xx99.10.5.1.0-24", value("192.168.50.3")}, {"10.5.4.0-24", ""},
		{"10.5.5.0-24", `{"PublicIP":null}`}, {"10.5.6.0-24", `{"PublicIP":"192.168.50.3"`}, {"10.5.7.0-32", value("192.168.50.3")},
	} {
		w.Put(t, junk.key, junk.value)
		// A good lease after the junk shows that the junk has been seen.
		good, ip := fmt.Sprintf("10.5.10%d.0-24", i), fmt.Sprintf("192.168.50.10%d", i)
		w.Put(t, good, value(ip))
		want += " " + good + "=" + ip
		v.AwaitLeases(t, want)
	}
	w.Delete(t, "junk")
	// A key beside the leases that only begins alike is none of them.
	w.Put(t, "10.5.3.0-24", value("192.168.50.3")) // and junk can be mended
	v.Await(t, "the mended lease", func(leases string, _ int) bool { return strings.Contains(leases, "10.5.3.0-24=192.168.50.3") })
}

// What changed while nobody could see it is seen afterwards: one lease came,
// one went and one has another address.
func testWatchGap(t *testing.T, w World) {
	w.Put(t, "10.5.1.0-24", value("192.168.50.1"))
	w.Put(t, "10.5.2.0-24", value("192.168.50.2"))
	s := w.Open(t, node(1))
	v := Follow(t, s)
	v.AwaitLeases(t, "10.5.1.0-24=192.168.50.1 10.5.2.0-24=192.168.50.2")
	restore := w.Cut(t)
	w.Put(t, "10.5.1.0-24", value("192.168.50.9"))
	w.Delete(t, "10.5.2.0-24")
	w.Put(t, "10.5.3.0-24", value("192.168.50.3"))
	restore()
	v.AwaitLeases(t, "10.5.1.0-24=192.168.50.9 10.5.3.0-24=192.168.50.3")
}

// A lease that comes and goes all the time ends as it is in the end.
func testWatchFlapping(t *testing.T, w World) {
	v := Follow(t, w.Open(t, node(1)))
	for i := range 100 {
		w.Put(t, "10.5.1.0-24", value(fmt.Sprintf("192.168.50.%d", 1+i%9)))
		w.Delete(t, "10.5.1.0-24")
	}
	w.Put(t, "10.5.2.0-24", value("192.168.50.2"))
	v.AwaitLeases(t, "10.5.2.0-24=192.168.50.2")
}

func testWatchThousands(t *testing.T, w World) {
	const n = 3000
	for i := range n {
		w.Put(t, fmt.Sprintf("10.%d.%d.0-24", 6+i/256, i%256), value(address(i%1000).String()))
	}
	s := w.Open(t, node(2000))
	v := Follow(t, s)
	v.Await(t, "all leases", func(leases string, _ int) bool { return strings.Count(leases, "=") == n })
	l := acquire(t, s, claim(t, `{"Network":"10.0.0.0/8","SubnetMin":"10.6.0.0"}`, 2000, "10.6.0.0-24"))
	v.Await(t, "the own lease", func(leases string, _ int) bool { return strings.Contains(leases, l.Key()+"=") })
	if third := named(t, l.Key()).Subnet.Addr().As4()[1]; third < 6+n/256 {
		t.Errorf("%s was not free", l.Key())
	}
}

// A watch ends with its context or its consumer, and not before.
func testWatchStops(t *testing.T, w World) {
	s := w.Open(t, node(1))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for u, err := range s.Watch(ctx) {
		if err != nil || !u.Full {
			t.Errorf("first: %+v, %v", u, err)
		}
		cancel()
	}
	for range s.Watch(t.Context()) {
		break
	}
	for range s.Watch(ctx) {
		t.Error("an update after the end")
	}
}

func testKeepRecreates(t *testing.T, w World) {
	s := w.Open(t, node(1))
	l := acquire(t, s, claim(t, conf4, 1, ""))
	stored, _ := w.Get(t, l.Key())
	k := StartKeep(t, s, l)
	for range 3 {
		w.Delete(t, l.Key())
		awaitStored(t, w, l.Key(), func(v string, reserved bool) bool { return sameValue(v, stored) && !reserved })
	}
	if err := k.Stop(); err != nil {
		t.Errorf("Keep: %v", err)
	}
	if v, _ := w.Get(t, l.Key()); v == "" {
		t.Error("the lease went when its node stopped")
	}
}

// Junk over the own lease is overwritten.
func testKeepRepairs(t *testing.T, w World) {
	s := w.Open(t, node(1))
	l := acquire(t, s, claim(t, conf4, 1, ""))
	stored, _ := w.Get(t, l.Key())
	k := StartKeep(t, s, l)
	for _, junk := range []string{"junk", `{}`} {
		w.Put(t, l.Key(), junk)
		awaitStored(t, w, l.Key(), func(v string, _ bool) bool { return sameValue(v, stored) })
	}
	if err := k.Stop(); err != nil {
		t.Errorf("Keep: %v", err)
	}
}

func testKeepTaken(t *testing.T, w World) {
	// Under the same key, and under another key for the same addresses.
	for _, other := range []string{"10.5.9.0-24", "10.5.9.0-24&fd00:10:5:9::-64"} {
		s := w.Open(t, node(1))
		l := acquire(t, s, claim(t, conf4, 1, "10.5.9.0-24"))
		restore := w.Cut(t)
		w.Delete(t, l.Key())
		w.Put(t, other, value("192.168.50.99"))
		restore()
		if err := StartKeep(t, s, l).Wait(t); !errors.Is(err, lease.ErrTaken) {
			t.Errorf("%s held by another: %v", other, err)
		}
		if v, _ := w.Get(t, other); !sameValue(v, value("192.168.50.99")) {
			t.Errorf("%s was overwritten with %s", other, v)
		}
		w.Delete(t, other)
	}
}

// While the store is away Keep waits; afterwards the same subnet is held, even
// if the store has lost it.
func testKeepThroughOutage(t *testing.T, w World) {
	s := w.Open(t, node(1))
	l := acquire(t, s, claim(t, conf4, 1, ""))
	k := StartKeep(t, s, l)
	restore := w.Cut(t)
	w.Delete(t, l.Key())
	restore()
	awaitStored(t, w, l.Key(), func(v string, _ bool) bool { return sameValue(v, value(address(1).String())) })
	if err := k.Stop(); err != nil {
		t.Errorf("Keep: %v", err)
	}
}
