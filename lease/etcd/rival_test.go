package etcd

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
	"weft/lease/leasetest"
)

// A logbook is a log that a test reads while it is written.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// accusations counts the lines about a rival.
func (l *logbook) accusations() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), "level=ERROR msg=\"another process writes this node's lease")
}

// logged opens a store of w with a logbook.
func logged(t testing.TB, w *world) (*Store, *logbook) {
	t.Helper()
	book := &logbook{}
	return open(t, Options{Endpoints: []string{w.relay.url}, Prefix: w.prefix, Log: slog.New(slog.NewTextHandler(book, nil))}), book
}

const accusation = "another process with the public address 192.168.50.1 writes the lease of 10.5.7.0/24: "

func awaitRival(t testing.TB, s *Store) {
	t.Helper()
	await(t, "the rival", func() bool { return strings.HasPrefix(s.Status().Rival, accusation) })
}

// Of two nodes with one public address each notices the other, whatever the
// order of their starts, also if what they write is the same to the byte.
func TestRivals(t *testing.T) {
	for _, tc := range []struct {
		name  string
		early bool // the first one has looked at its key before the second starts
		mac   string
	}{{"same value", true, ""}, {"started together", false, ""}, {"other value", true, "7e:4d:f4:69:11:21"}} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			s1, book1 := logged(t, w)
			s2, book2 := logged(t, w)
			l := acquire(t, s1)
			if tc.early {
				leasetest.StartKeep(t, s1, l)
				awaitLook(t, s1)
			}
			c := claimFor(t)
			if tc.mac != "" {
				c.Attrs.BackendData = []byte(`{"VtepMAC":"` + tc.mac + `"}`)
			}
			l2, err := s2.Acquire(t.Context(), c)
			if err != nil || l2.Key() != l.Key() {
				t.Fatalf("the second got %v, %v: is this still how it goes?", l2, err)
			}
			k2 := leasetest.StartKeep(t, s2, l2)
			if !tc.early {
				leasetest.StartKeep(t, s1, l)
			}
			awaitRival(t, s1)
			awaitRival(t, s2)
			if err := k2.Stop(); err != nil {
				t.Errorf("Keep of the second: %v", err)
			}
			if st := s2.Status(); st.Rival != "" {
				t.Errorf("nothing is kept, yet there is a rival: %+v", st)
			}
			// The first is left alone and has its key, under a lease of its own.
			await(t, "the key to be back", func() bool {
				r, err := w.raw.Get(t.Context(), w.key(l.Key()))
				return err == nil && len(r.Kvs) == 1 && string(r.Kvs[0].Value) == ownValue && s1.grants.has(clientv3.LeaseID(r.Kvs[0].Lease))
			})
			if n1, n2 := book1.accusations(), book2.accusations(); n1 != 1 || n2 != 1 {
				t.Errorf("%d and %d errors in the logs, want one each", n1, n2)
			}
		})
	}
}

// What one process does, an administrator tries or etcd forgets is no rival's
// doing.
func TestNoRival(t *testing.T) {
	w := newWorld(t)
	s, book := logged(t, w)
	l := acquire(t, s)
	key := w.key(l.Key())
	isOurs := func(lasting bool) func() bool {
		return func() bool {
			v, reserved := w.get(t, l.Key())
			return v == ownValue && reserved == lasting
		}
	}
	k := leasetest.StartKeep(t, s, l)
	awaitLook(t, s)

	w.put(t, key, `{"PublicIP":"192.168.50.1","BackendType":"x"}`, clientv3.WithIgnoreLease())
	await(t, "the value", isOurs(false))
	if _, err := w.raw.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	await(t, "the key", isOurs(false))
	w.cut(t)()
	awaitLook(t, s)

	if err := k.Stop(); err != nil { // and the next process of the node
		t.Error(err)
	}
	next, book2 := logged(t, w)
	l = acquire(t, next)
	leasetest.StartKeep(t, next, l)
	awaitLook(t, next)
	w.put(t, key, `{}`) // now a reservation, and a bad one
	await(t, "the value of the reservation", isOurs(true))
	w.put(t, key, `{"PublicIP":"192.168.50.1","BackendType":"x"}`)
	await(t, "the value of the reservation again", isOurs(true))
	awaitLook(t, next)
	g, err := w.raw.Grant(t.Context(), 86400)
	if err != nil {
		t.Fatal(err)
	}
	w.put(t, key, ownValue, clientv3.WithLease(g.ID)) // a lease again
	awaitLook(t, next)
	if a, b := book.accusations(), book2.accusations(); a+b > 0 || next.Status().Rival != "" {
		t.Errorf("%d and %d accusations, status %+v", a, b, next.Status())
	}
}

// Repairs that are undone again and again are a rival's work, also on a
// reservation, which no etcd lease tells apart.
func TestUndoneRepairs(t *testing.T) {
	w := newWorld(t)
	w.put(t, w.key("10.5.7.0-24"), ownValue)
	s, book := logged(t, w)
	l := acquire(t, s)
	leasetest.StartKeep(t, s, l)
	for range patient + 1 {
		w.put(t, w.key(l.Key()), `{"PublicIP":"192.168.50.1","BackendType":"x"}`)
		await(t, "the value", func() bool { v, _ := w.get(t, l.Key()); return v == ownValue })
	}
	awaitRival(t, s)
	if n := book.accusations(); n != 1 {
		t.Errorf("%d errors in the log", n)
	}
}

// A rival is told of until it has long been silent; the log repeats itself only
// after that time, and one write is told of once.
func TestRivalIsForgotten(t *testing.T) {
	w := newWorld(t)
	s, book := logged(t, w)
	k := keeper{s: s, own: lease.Lease{Attrs: claimFor(t).Attrs, Subnet: claimFor(t).Previous.Subnet}}
	for rev := range int64(3) {
		k.accuse(entry{rev: rev + 1})
	}
	k.forgive()
	if st := s.Status(); !strings.HasPrefix(st.Rival, accusation) || book.accusations() != 1 {
		t.Errorf("%+v, %d errors", st, book.accusations())
	}
	k.heard, k.told = k.heard.Add(-calm), k.told.Add(-calm)
	k.forgive()
	k.accuse(entry{rev: 3})
	if st := s.Status(); st.Rival != "" || book.accusations() != 1 {
		t.Errorf("%+v, %d errors", st, book.accusations())
	}
	k.accuse(entry{rev: 4})
	if st := s.Status(); st.Rival == "" || book.accusations() != 2 {
		t.Errorf("%+v, %d errors", st, book.accusations())
	}
}

// An etcd lease that nobody knows betrays a rival, unless etcd came up with
// older data, or nothing tells that the lease is not ours from before.
func TestForeign(t *testing.T) {
	s := &Store{}
	ends := lease.Lease{Expires: time.Now().Add(time.Hour)}
	first := keeper{s: s, own: ends}
	if first.foreign(entry{id: 7, rev: 5}) {
		t.Error("at the first look, without a claim")
	}
	s.grants.add(1)
	for _, tc := range []struct {
		name string
		k    keeper
		e    entry
		want bool
	}{
		{"first look after a claim", first, entry{id: 7, rev: 5}, true},
		{"first look at a reservation", keeper{s: s}, entry{id: 7, rev: 5}, false},
		{"our grant", keeper{s: s, own: ends, id: 9, rev: 4}, entry{id: 1, rev: 5}, false},
		{"seen last", keeper{s: s, own: ends, id: 7, rev: 4}, entry{id: 7, rev: 5}, false},
		{"made a reservation", keeper{s: s, own: ends, id: 1, rev: 4}, entry{rev: 5}, false},
		{"made a lease", keeper{s: s, own: ends, rev: 4}, entry{id: 7, rev: 5}, false},
		{"older data", keeper{s: s, own: ends, id: 1, rev: 40}, entry{id: 7, rev: 5}, false},
		{"a rival", keeper{s: s, own: ends, id: 1, rev: 4}, entry{id: 7, rev: 5}, true},
	} {
		if got := tc.k.foreign(tc.e); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	for i := range clientv3.LeaseID(2 * mostGrants) {
		s.grants.add(i)
	}
	if n := len(s.grants.ids); n != mostGrants || !s.grants.has(2*mostGrants-1) {
		t.Errorf("%d grants are remembered", n)
	}
}

// Renewals move the end of a lease, for its own node and for all others.
func TestRenewalsAreTold(t *testing.T) {
	w := newWorld(t)
	s, book := logged(t, w)
	s.ttl, s.opt.RenewMargin = 3*time.Second, 2900*time.Millisecond // so a tenth of a second
	l := acquire(t, s)
	leasetest.StartKeep(t, s, l)
	for _, reader := range []*Store{s, open(t, Options{Endpoints: []string{w.relay.url}, Prefix: w.prefix})} {
		v := leasetest.Follow(t, reader)
		v.AwaitLeases(t, "10.5.7.0-24=192.168.50.1")
		for range 3 {
			end := v.Expires(t, l.Key())
			v.Await(t, "a later end", func(string, int) bool { return v.Expires(t, l.Key()).After(end) })
		}
		v.Await(t, "no second listing", func(_ string, fulls int) bool { return fulls == 1 })
	}
	if n := book.accusations(); n != 0 {
		t.Errorf("%d accusations of ourselves", n)
	}
}
