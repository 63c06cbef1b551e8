package file

import (
	"testing"
	"testing/synctest"
	"time"

	"weft/lease/leasetest"
)

// The end of a lease that is kept stays ahead of the clock for whoever watches,
// its own node too, and not each heartbeat is told. A lease that is no longer
// kept ends when it is said to.
func TestRenewalsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.put(t, "10.5.9.0-24", `{"PublicIP":"192.168.50.9"}`)
		s := openSlow(t, w, "a")
		key := acquire(t, s, one, "192.168.50.1").Key()
		k := leasetest.StartKeep(t, s, acquire(t, s, one, "192.168.50.1"))
		watchers := []*leasetest.Watcher{leasetest.Follow(t, s), leasetest.Follow(t, openSlow(t, w, "observer"))}
		life := s.patience()
		for range 240 { // an hour of heartbeats
			pass(interval)
			for i, v := range watchers {
				if left := time.Until(v.Expires(t, key)); left < life*3/4-2*interval || left > life {
					t.Fatalf("watcher %d: %v of %v left", i, left, life)
				}
			}
		}
		for i, v := range watchers {
			if n := v.Updates(); n < 30 || n > 60 {
				t.Errorf("watcher %d: %d updates in an hour of 240 heartbeats", i, n)
			}
			if end := v.Expires(t, "10.5.9.0-24"); !end.IsZero() {
				t.Errorf("watcher %d: the reservation ends at %v", i, end)
			}
		}
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
		pass(interval)
		end := watchers[1].Expires(t, key)
		pass(10 * interval)
		if again := watchers[1].Expires(t, key); !again.Equal(end) {
			t.Errorf("silent since before %v, its end moved to %v", end, again)
		}
		for _, v := range watchers {
			v.Stop()
		}
	})
}

// A reservation that becomes a lease has an end from then on, and the other way
// round.
func TestReservationBecomesLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const key = "10.5.1.0-24"
		lasting := `{"PublicIP":"192.168.50.1","Node":"a"}`
		w.put(t, key, lasting)
		v := leasetest.Follow(t, openSlow(t, w, "observer"))
		pass(interval)
		for range 2 {
			w.put(t, key, `{"PublicIP":"192.168.50.1","Node":"a","Beat":"000000000000","Time":"2026-11-21T08:15:46Z"}`)
			pass(interval)
			if v.Expires(t, key).IsZero() {
				t.Error("a lease with a heartbeat does not end")
			}
			w.put(t, key, lasting)
			pass(interval)
			if end := v.Expires(t, key); !end.IsZero() {
				t.Errorf("the reservation ends at %v", end)
			}
		}
		v.Stop()
	})
}
