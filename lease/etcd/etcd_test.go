package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"weft/lease"
	"weft/lease/etcd/embedded"
	"weft/lease/leasetest"
)

func conf(t testing.TB, text string) *lease.Config {
	t.Helper()
	c, err := lease.ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// claimFor is a claim of the node at 192.168.50.1 for 10.5.7.0/24.
func claimFor(t testing.TB) lease.Claim {
	c := lease.Claim{Config: conf(t, `{"Network":"10.5.0.0/16"}`)}
	c.Previous.Subnet, _, _ = lease.ParseKey("10.5.7.0-24")
	if err := c.Attrs.UnmarshalJSON([]byte(ownValue)); err != nil {
		t.Fatal(err)
	}
	return c
}

const ownValue = `{"PublicIP":"192.168.50.1","PublicIPv6":null}`

func acquire(t testing.TB, s *Store) lease.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), leasetest.Patience)
	defer cancel()
	l, err := s.Acquire(ctx, claimFor(t))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// await polls what etcd holds until cond is true.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(leasetest.Patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// awaitLook waits until a Keep, which must be all that uses s, has looked at
// its key and dealt with what it found.
func awaitLook(t testing.TB, s *Store) {
	t.Helper()
	for range 2 {
		from := time.Now()
		await(t, "a look at the own key", func() bool { return s.Status().LastEvent.After(from) })
	}
}

// Key, value and time to live are flannel's to the byte.
func TestLayout(t *testing.T) {
	w := newWorld(t)
	s := open(t, Options{Endpoints: []string{w.relay.url}, Prefix: w.prefix})
	acquire(t, s)
	r, err := w.raw.Get(t.Context(), w.prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kvs) != 1 || string(r.Kvs[0].Key) != w.prefix+"/subnets/10.5.7.0-24" || string(r.Kvs[0].Value) != ownValue {
		t.Fatalf("stored %v", r.Kvs)
	}
	ttl, err := w.raw.TimeToLive(t.Context(), clientv3.LeaseID(r.Kvs[0].Lease))
	if err != nil || ttl.GrantedTTL != 86400 {
		t.Errorf("time to live %+v, %v", ttl, err)
	}
}

// Keys that only begin like the leases' prefix are not looked at.
func TestNeighbouringKeys(t *testing.T) {
	w := newWorld(t)
	w.put(t, w.prefix+"/subnetsX/10.5.1.0-24", ownValue)
	w.put(t, w.prefix+"/subnets", ownValue)
	w.put(t, w.key("10.5.2.0-24"), ownValue)
	v := leasetest.Follow(t, open(t, Options{Endpoints: []string{w.relay.url}, Prefix: w.prefix + "/"}))
	v.AwaitLeases(t, "10.5.2.0-24=192.168.50.1")
	w.put(t, w.prefix+"/subnetsX/zz", "bar")
	w.put(t, w.key("10.5.3.0-24"), ownValue)
	v.AwaitLeases(t, "10.5.2.0-24=192.168.50.1 10.5.3.0-24=192.168.50.1")
}

// Deleting a longer key that begins with ours is none of our business.
func TestKeepLongerKey(t *testing.T) {
	w := newWorld(t)
	s := open(t, Options{Endpoints: []string{w.relay.url}, Prefix: w.prefix})
	l := acquire(t, s)
	k := leasetest.StartKeep(t, s, l)
	longer := w.key("10.5.7.0-24&fd00::-64")
	w.put(t, longer, ownValue)
	if _, err := w.raw.Delete(t.Context(), longer); err != nil {
		t.Fatal(err)
	}
	before, _ := w.raw.Get(t.Context(), w.key(l.Key()))
	awaitLook(t, s)
	if err := k.Stop(); err != nil {
		t.Error(err)
	}
	after, err := w.raw.Get(t.Context(), w.key(l.Key()))
	if err != nil || after.Kvs[0].ModRevision != before.Kvs[0].ModRevision {
		t.Errorf("before %v, after %v, %v", before, after, err)
	}
}

// A lease is renewed before its end, again and again, under the same key.
func TestKeepRenews(t *testing.T) {
	w := newWorld(t)
	s := open(t, Options{Endpoints: []string{w.relay.url}, Prefix: w.prefix})
	s.ttl, s.opt.RenewMargin = 3*time.Second, 2900*time.Millisecond // so a tenth of a second
	leasetest.StartKeep(t, s, acquire(t, s))
	seen := map[int64]bool{}
	await(t, "renewals", func() bool {
		r, err := w.raw.Get(t.Context(), w.key("10.5.7.0-24"))
		if err != nil || len(r.Kvs) != 1 {
			t.Fatalf("%v, %v", r, err)
		}
		seen[r.Kvs[0].Lease] = true
		return len(seen) >= 4
	})
}

// A short lease that somebody else puts on the key is replaced at once, and a
// key that loses its lease is a reservation from then on.
func TestKeepAdoptsWhatItFinds(t *testing.T) {
	w := newWorld(t)
	s := open(t, Options{Endpoints: []string{w.relay.url}, Prefix: w.prefix})
	l := acquire(t, s)
	k := leasetest.StartKeep(t, s, l)
	g, err := w.raw.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	w.put(t, w.key(l.Key()), ownValue, clientv3.WithLease(g.ID))
	await(t, "a lease of a day", func() bool {
		r, err := w.raw.Get(t.Context(), w.key(l.Key()))
		if err != nil {
			t.Fatal(err)
		}
		ttl, err := w.raw.TimeToLive(t.Context(), clientv3.LeaseID(r.Kvs[0].Lease))
		return err == nil && ttl.GrantedTTL == 86400
	})
	w.put(t, w.key(l.Key()), ownValue) // no lease
	awaitLook(t, s)
	if err := k.Stop(); err != nil {
		t.Error(err)
	}
	// Another life of the node leaves it as it is.
	l = acquire(t, s)
	k = leasetest.StartKeep(t, s, l)
	awaitLook(t, s)
	if err := k.Stop(); err != nil {
		t.Error(err)
	}
	if _, reserved := w.get(t, l.Key()); !reserved || !l.Expires.IsZero() {
		t.Errorf("reserved %v, expires %v", reserved, l.Expires)
	}
}

// Losers of a race leave no etcd leases behind.
func TestAcquireGivesBack(t *testing.T) {
	srv := startServer(t, embedded.Options{Dir: t.TempDir()})
	raw := rawClient(t, srv.Endpoints()...)
	s := open(t, Options{Endpoints: srv.Endpoints()})
	c := claimFor(t)
	c.Config = conf(t, `{"Network":"10.5.0.0/16","SubnetMax":"10.5.1.0"}`)
	a := acquisition{s: s, claim: c}
	all, rev, err := s.list(t.Context())
	if err != nil || len(all) != 0 {
		t.Fatal(all, err)
	}
	plan, err := c.Plan(nil, nil, mathrand.New(mathrand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	// Somebody is quicker between the listing and the claim.
	if _, err := raw.Put(t.Context(), s.subnets+"10.5.200.0-24", ownValue); err != nil {
		t.Fatal(err)
	}
	if done, err := a.claimPlan(t.Context(), plan, nil, rev); done || err != nil {
		t.Errorf("claimed %v, %v", done, err)
	}
	a.giveBack()
	if ls, err := raw.Leases(t.Context()); err != nil || len(ls.Leases) != 0 {
		t.Errorf("left behind: %v, %v", ls, err)
	}
}

func TestNoSubnet(t *testing.T) {
	w := newWorld(t)
	w.put(t, w.key("10.5.1.0-24"), `{"PublicIP":"192.168.50.9"}`)
	s := open(t, Options{Endpoints: []string{w.relay.url}, Prefix: w.prefix})
	c := claimFor(t)
	c.Config = conf(t, `{"Network":"10.5.0.0/16","SubnetMax":"10.5.1.0"}`)
	if l, err := s.Acquire(t.Context(), c); !errors.Is(err, lease.ErrNoSubnet) {
		t.Errorf("%v, %v", l, err)
	}
}

// The same junk is logged once, however often it is seen.
func TestJunkIsLoggedOnce(t *testing.T) {
	w := newWorld(t)
	var log bytes.Buffer
	s := open(t, Options{Endpoints: []string{w.relay.url}, Prefix: w.prefix})
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	for range 5 {
		w.put(t, w.key("10.5.1.0-24"), "junk")
		w.put(t, w.key("junk"), strings.Repeat("x", 1000))
		if _, _, err := s.list(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines:\n%s", n, log.String())
	}
	for i := range 2 * mostJunk {
		s.junk.report(s.log, fmt.Sprint(i), errors.New("junk"))
	}
	if n := len(s.junk.seen); n > mostJunk {
		t.Errorf("%d keys are remembered", n)
	}
}

// With no etcd at all everything waits, says so, and stops when told to.
func TestNoEtcd(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // after those of the relays
	for _, o := range []Options{{}, {Username: "weft", Password: "secret"}} {
		r := newRelay(t, "http://127.0.0.1:1") // accepts, and hangs up at once
		o.Endpoints = []string{r.url}
		var log bytes.Buffer
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		if _, err := s.Config(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Config: %v", err)
		}
		if _, err := s.Acquire(ctx, claimFor(t)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Acquire: %v", err)
		}
		if err := s.Keep(ctx, lease.Lease{}); err != nil {
			t.Errorf("Keep: %v", err)
		}
		for range s.Watch(ctx) {
			t.Error("Watch yields after its end")
		}
		cancel()
		if st := s.Status(); st.Connected || !st.LastEvent.IsZero() {
			t.Errorf("status %+v", st)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if strings.Contains(log.String(), "secret") {
			t.Error("the password is in the log")
		}
	}
}

func TestOptions(t *testing.T) {
	for _, tc := range []struct {
		o    Options
		want string
	}{
		{Options{Endpoints: []string{"127.0.0.1:2379"}}, `endpoint "127.0.0.1:2379" is not`},
		{Options{RenewMargin: 24 * time.Hour}, "renew margin 24h0m0s is not in"},
		{Options{RenewMargin: -time.Minute}, "renew margin -1m0s"},
		{Options{CertFile: "a.pem"}, `certificate file "a.pem" and key file "" go together`},
		{Options{KeyFile: "a.pem"}, `key file "a.pem" go together`},
		{Options{CAFile: "/does/not/exist"}, "/does/not/exist"},
		{Options{CertFile: "/no.crt", KeyFile: "/no.key"}, "/no.crt"},
	} {
		if _, err := New(tc.o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.o, err, tc.want)
		}
	}
	s, err := New(Options{Endpoints: []string{" http://127.0.0.1:1 ", ""}, Prefix: "/a/b/"})
	if err != nil || len(s.opt.Endpoints) != 1 || s.config != "/a/b/config" || s.subnets != "/a/b/subnets/" {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err = New(Options{}); err != nil || len(s.opt.Endpoints) != 2 || s.config != "/coreos.com/network/config" {
		t.Errorf("%+v, %v", s, err)
	}
}
