package file

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weft/lease"
	"weft/lease/leasetest"
)

// Two nodes with one address, told apart by name, get two subnets; a node that
// comes back with another address gets its own again.
func TestNodeNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := openSlow(t, w, "a")
		a := acquire(t, s, two, "127.0.0.1")
		b := acquire(t, openSlow(t, w, "b"), two, "127.0.0.1")
		if a.Key() == b.Key() {
			t.Errorf("both got %s", a.Key())
		}
		k := leasetest.StartKeep(t, s, a)
		pass(time.Hour)
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
		start := time.Now()
		if moved := acquire(t, openSlow(t, w, "a"), two, "192.168.50.1"); moved.Key() != a.Key() {
			t.Errorf("had %s, got %s", a.Key(), moved.Key())
		}
		if d := time.Since(start); d < 2*interval || d > 3*interval {
			t.Errorf("it was watched for %v", d)
		}
		start = time.Now()
		if again := acquire(t, openSlow(t, w, "a"), two, "192.168.50.1"); again.Key() != a.Key() {
			t.Errorf("had %s, got %s", a.Key(), again.Key())
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("a restart took %v", d)
		}
	})
}

// Of two living nodes of one name the second gets another subnet, and both
// keep what they have, also over a restart. Somebody is told.
func TestTwoNodesOfOneName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first := openSlow(t, w, "localhost")
		a := acquire(t, first, two, "192.168.50.1")
		ka := leasetest.StartKeep(t, first, a)
		pass(interval / 3)

		const told = `two nodes have the name "localhost", 192.168.50.1 and 192.168.50.2 (this one)`
		var log bytes.Buffer
		second := openSlow(t, w, "localhost")
		second.log = slog.New(slog.NewTextHandler(&log, nil))
		b := acquire(t, second, two, "192.168.50.2")
		if a.Overlaps(b) {
			t.Fatalf("both got %s", a.Key())
		}
		if got := strings.ReplaceAll(log.String(), `\"`, `"`); !strings.Contains(got, told) || !strings.Contains(got, "--node-name") {
			t.Errorf("nobody is told: %s", got)
		}
		kb := leasetest.StartKeep(t, second, b)
		pass(time.Hour)
		if err := kb.Stop(); err != nil {
			t.Errorf("the second lost its subnet: %v", err)
		}
		start := time.Now()
		if again := acquire(t, openSlow(t, w, "localhost"), two, "192.168.50.2"); again.Key() != b.Key() || time.Since(start) != 0 {
			t.Errorf("after a restart %s, before %s; it took %v", again.Key(), b.Key(), time.Since(start))
		}
		if err := ka.Stop(); err != nil {
			t.Errorf("the first lost its subnet: %v", err)
		}
	})
}

// Where the only subnet is held by a living node of our name, the error says so.
func TestNoSubnetForSecondOfOneName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first := openSlow(t, w, "localhost")
		k := leasetest.StartKeep(t, first, acquire(t, first, one, "192.168.50.1"))
		l, err := openSlow(t, w, "localhost").Acquire(t.Context(), claimFor(t, one, "192.168.50.2"))
		if !errors.Is(err, lease.ErrNoSubnet) {
			t.Fatalf("%v, %v", l, err)
		}
		for _, want := range []string{"192.168.50.1", "192.168.50.2", "--node-name"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: not a word of %s", err, want)
			}
		}
		if err := k.Stop(); err != nil {
			t.Errorf("the first lost its subnet: %v", err)
		}
	})
}

// Two processes with one name and one address cannot both go on: the later
// takes over, and the earlier says that it has lost its subnet. Of two copies
// of one running machine, which even share the instance, at least one says so.
func TestTakenByOwnName(t *testing.T) {
	for name, sameInstance := range map[string]bool{"restart": false, "copy": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				a, b := openSlow(t, w, "n"), openSlow(t, w, "n")
				if sameInstance {
					b.instance = a.instance
				}
				l := acquire(t, a, one, "192.168.50.1")
				ka := leasetest.StartKeep(t, a, l)
				pass(10*interval + interval/2)
				start := time.Now()
				if got := acquire(t, b, one, "192.168.50.1"); got.Key() != l.Key() || time.Since(start) != 0 {
					t.Errorf("got %s after %v", got.Key(), time.Since(start))
				}
				kb := leasetest.StartKeep(t, b, l)
				pass(2 * interval)
				ea, eb := ka.Stop(), kb.Stop()
				if !errors.Is(ea, lease.ErrTaken) || !strings.Contains(ea.Error(), "--node-name") {
					t.Errorf("the earlier: %v", ea)
				}
				if eb != nil {
					t.Errorf("the later: %v", eb)
				}
			})
		})
	}
}

// The one that lost its lease does not write it again, nor when it starts anew
// to keep it; a reservation, which has no heartbeat, is no exception.
func TestTakenStaysTaken(t *testing.T) {
	for name, put := range map[string]string{"lease": "", "reservation": `{"PublicIP":"192.168.50.1"}`} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if put != "" {
				w.put(t, "10.5.1.0-24", put)
			}
			testTakenStaysTaken(t, w)
		})
	}
}

func testTakenStaysTaken(t *testing.T, w *world) {
	a := openSlow(t, w, "n")
	l := acquire(t, a, one, "192.168.50.1")
	k := newKeeper(a, l)
	if err := k.beat(); err != nil {
		t.Fatal(err)
	}
	text, _ := w.get(t, l.Key())
	acquire(t, openSlow(t, w, "n"), one, "192.168.50.1")
	theirs, _ := w.get(t, l.Key())
	for _, k := range []*keeper{k, k, newKeeper(a, l)} {
		if err := k.beat(); !errors.Is(err, lease.ErrTaken) {
			t.Errorf("beat: %v", err)
		}
	}
	if now, _ := w.get(t, l.Key()); now != theirs || now == text {
		t.Errorf("it was %s, became %s, is %s", text, theirs, now)
	}
}
