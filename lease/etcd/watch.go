package etcd

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
	"weft/lease/internal/contact"
)

// Watch implements [lease.Source]. A lease whose value cannot be read is left
// out of a full update; when an event brings such a value, what was known
// before stays until the next full one. While etcd does not answer an error is
// yielded at once and then every half minute.
func (s *Store) Watch(ctx context.Context) iter.Seq2[lease.Update, error] {
	return func(yield func(lease.Update, error) bool) {
		w := watcher{s: s, yield: yield, backoff: contact.Retry()}
		for ctx.Err() == nil && w.round(ctx) && w.backoff.Wait(ctx) {
		}
	}
}

// A watcher is one consumer's view of the leases.
type watcher struct {
	s       *Store
	yield   func(lease.Update, error) bool
	backoff contact.Backoff
	seen    atomic.Int64 // the newest revision known
}

// round lists and follows until there is a gap. It reports false if the
// consumer stopped.
func (w *watcher) round(ctx context.Context) bool {
	all, rev, err := w.s.list(ctx)
	if err != nil {
		return w.failed(ctx, err)
	}
	w.seen.Store(rev)
	full := lease.Update{Full: true}
	for _, e := range all {
		if !e.bad {
			full.Events = append(full.Events, lease.Event{Type: lease.Added, Lease: e.Lease})
		}
	}
	return w.yield(full, nil) && w.follow(ctx, rev+1)
}

// failed tells the consumer about err if it is time to.
func (w *watcher) failed(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if report := w.s.contact.Failed(err); report != nil {
		return w.yield(lease.Update{}, report)
	}
	return true
}

// follow yields changes from revision rev on until there may be a gap.
func (w *watcher) follow(parent context.Context, rev int64) bool {
	ctx, gap := context.WithCancel(clientv3.WithRequireLeader(parent))
	var probe sync.WaitGroup
	defer probe.Wait()
	defer gap()
	c, err := w.s.dial(ctx)
	if err != nil {
		return w.failed(ctx, err)
	}
	probe.Go(func() { w.probe(ctx, gap) })
	for resp := range c.Watch(ctx, w.s.subnets, clientv3.WithPrefix(), clientv3.WithRev(rev)) {
		if err := resp.Err(); err != nil {
			if ctx.Err() != nil {
				break
			}
			// A new listing cures it, so it is told but is no outage.
			return w.yield(lease.Update{}, fmt.Errorf("etcd watch: %w", err))
		}
		w.seen.Store(resp.Header.Revision)
		w.s.contact.OK()
		w.backoff.Reset()
		if u := w.changes(resp.Events); len(u.Events) > 0 && !w.yield(u, nil) {
			return false
		}
	}
	return parent.Err() == nil
}

// changes turns etcd's events into ours.
func (w *watcher) changes(events []*clientv3.Event) lease.Update {
	var u lease.Update
	for _, ev := range events {
		if ev.Type == clientv3.EventTypeDelete {
			key := string(ev.Kv.Key)
			w.s.junk.forget(key)
			if l, err := w.s.parseKey(key); err == nil {
				u.Events = append(u.Events, lease.Event{Type: lease.Removed, Lease: l})
			}
			continue
		}
		if e, ok := w.s.read(ev.Kv); ok && !e.bad {
			u.Events = append(u.Events, lease.Event{Type: lease.Added, Lease: e.Lease})
		}
	}
	return u
}

// probe asks etcd for a sign of life now and then, which the watch, silent when
// nothing changes, does not give. It calls gap after an outage, and when the
// revision went back: then etcd came up with other data and would never send
// what we wait for.
func (w *watcher) probe(ctx context.Context, gap func()) {
	t := time.NewTicker(w.s.checkEvery)
	defer t.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		began := time.Now()
		seen := w.seen.Load() // before the call: etcd can only be ahead of it
		r, err := w.s.get(ctx, w.s.config, clientv3.WithCountOnly())
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failed = true
			w.s.contact.Log(err, began)
		case failed || r.Header.Revision < seen:
			gap()
			return
		}
	}
}
