package leasetest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/lease"
)

// A Watcher folds what a Source yields and lets a test wait for it.
type Watcher struct {
	mu      sync.Mutex
	set     lease.Set
	fulls   int
	updates int
	errs    []error
	changed chan struct{} // closed and replaced at each update
	stop    func()
}

// Follow watches s until the test ends or Stop is called.
func Follow(t testing.TB, s lease.Source) *Watcher {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	w := &Watcher{changed: make(chan struct{})}
	w.stop = func() { cancel(); <-done }
	t.Cleanup(w.stop)
	go func() {
		defer close(done)
		for u, err := range s.Watch(ctx) {
			w.fold(u, err)
		}
	}()
	return w
}

// Stop ends the watch and waits until it has ended.
func (w *Watcher) Stop() { w.stop() }

func (w *Watcher) fold(u lease.Update, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.errs = append(w.errs, err)
	} else {
		w.set.Apply(u)
	}
	w.updates++
	if u.Full {
		w.fulls++
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// Await waits until cond holds. It is given the leases as "key=address", in
// order and separated by blanks, and how many full updates there were.
func (w *Watcher) Await(t testing.TB, what string, cond func(leases string, fulls int) bool) {
	t.Helper()
	deadline := time.After(Patience)
	for {
		w.mu.Lock()
		leases, fulls, errs, changed := w.leases(), w.fulls, w.errs, w.changed
		w.mu.Unlock()
		if cond(leases, fulls) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("waited in vain for %s; after %d full updates and errors %v there is %.2000s", what, fulls, errs, leases)
		}
	}
}

// AwaitLeases waits until exactly these leases are known.
func (w *Watcher) AwaitLeases(t testing.TB, want string) {
	t.Helper()
	w.Await(t, want, func(leases string, _ int) bool { return leases == want })
}

func (w *Watcher) leases() string {
	var b []string
	for l := range w.set.All() {
		b = append(b, l.Key()+"="+l.Attrs.PublicIP.String())
	}
	return strings.Join(b, " ")
}

// Expires returns when the lease of that key ends, as far as was told; zero if
// it is not known.
func (w *Watcher) Expires(t testing.TB, key string) time.Time {
	t.Helper()
	l := named(t, key)
	w.mu.Lock()
	defer w.mu.Unlock()
	l, _ = w.set.Get(l.Subnet, l.Subnet6)
	return l.Expires
}

// Updates returns how many updates there were.
func (w *Watcher) Updates() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.updates
}

// A Keeping is a running Keep.
type Keeping struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// StartKeep keeps l until the test ends or Stop is called.
func StartKeep(t testing.TB, s Store, l lease.Lease) *Keeping {
	ctx, cancel := context.WithCancel(context.Background())
	k := &Keeping{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(k.done)
		k.err = s.Keep(ctx, l)
	}()
	t.Cleanup(func() { cancel(); <-k.done })
	return k
}

// Stop ends it as a shutdown does, and returns what Keep returned.
func (k *Keeping) Stop() error {
	k.cancel()
	<-k.done
	return k.err
}

// Wait waits for Keep to give up by itself.
func (k *Keeping) Wait(t testing.TB) error {
	t.Helper()
	select {
	case <-k.done:
		return k.err
	case <-time.After(Patience):
		t.Fatal("Keep does not return")
		return nil
	}
}
