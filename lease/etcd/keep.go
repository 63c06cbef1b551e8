package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
	"weft/lease/internal/contact"
)

// Keep implements [lease.Registrar]. It holds the key as it should be:
//
//	found                               done about it
//	the key is gone                     written again, unless another node now
//	                                    holds addresses of the subnet: ErrTaken
//	another node's value                ErrTaken
//	a value of ours, but a different    our value, same etcd lease
//	one, or one that cannot be read
//	an etcd lease of another process    our value, an etcd lease of ours, and
//	                                    the rival is told of
//	no etcd lease                       nothing: it is a reservation (now)
//	an etcd lease that ends soon        a new one of 24 h, as flannel does
func (s *Store) Keep(ctx context.Context, l lease.Lease) error {
	value, err := json.Marshal(l.Attrs)
	if err != nil {
		return fmt.Errorf("keep %s: %w", l.Key(), err)
	}
	k := keeper{s: s, own: l, key: s.key(l), value: string(value), wake: make(chan struct{}, 1)}
	defer s.contact.Rival("") // whoever keeps the key next looks for itself
	watching, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { k.listen(watching) })
	return k.run(ctx)
}

// A keeper holds one key.
type keeper struct {
	s     *Store
	own   lease.Lease
	key   string
	value string
	wake  chan struct{} // the key may have changed

	id    clientv3.LeaseID // the etcd lease last seen on the key,
	renew time.Time        // and when it is to be replaced

	rev int64 // of the key as it was last seen, without what a rival wrote; 0: never
	rivalry
}

// errAgain says that the key changed under our hands.
var errAgain = errors.New("the key changed meanwhile")

func (k *keeper) run(ctx context.Context) error {
	race := contact.Race()
	for {
		err := k.s.contact.Retry(ctx, func() error { return k.check(ctx) }, lease.ErrTaken, errAgain)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errAgain):
			race.Wait(ctx)
			continue
		case err != nil:
			return fmt.Errorf("keep %s: %w", k.own.Key(), err)
		}
		race.Reset()
		t := time.NewTimer(k.pause())
		select {
		case <-k.wake:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// pause returns how long nothing is to be done unless the key changes.
func (k *keeper) pause() time.Duration {
	if k.id == clientv3.NoLease {
		return k.s.checkEvery
	}
	return max(0, min(k.s.checkEvery, time.Until(k.renew)))
}

// check compares the key with what it should be and repairs the difference.
func (k *keeper) check(ctx context.Context) error {
	r, err := k.s.get(ctx, k.key)
	if err != nil {
		return err
	}
	if len(r.Kvs) == 0 {
		return k.recreate(ctx)
	}
	e, _ := k.s.read(r.Kvs[0]) // the key is ours, so it names subnets
	if !e.bad && !(lease.Claim{Attrs: k.own.Attrs}).Owns(e.Lease) && hasAddr(e.Attrs) {
		return fmt.Errorf("%w, at %s", lease.ErrTaken, nodeOf(e.Attrs))
	}
	if k.foreign(e) {
		return k.takeBack(ctx, e)
	}
	k.rev = e.rev
	k.forgive()
	if string(r.Kvs[0].Value) != k.value && !e.Attrs.Equal(k.own.Attrs) {
		return k.restore(ctx, e)
	}
	return k.extend(ctx, e)
}

// restore writes our value over another one.
func (k *keeper) restore(ctx context.Context, e entry) error {
	if k.undone() {
		k.accuse(e)
	}
	if err := k.pace(ctx); err != nil {
		return err
	}
	k.s.log.Warn("the value of the own lease was changed; it is written again", "subnet", k.own.Key())
	err := k.put(ctx, unchanged(e), clientv3.WithIgnoreLease())
	if err == nil {
		k.repaired = time.Now()
	}
	return err
}

// extend renews the etcd lease of the key if it is time.
func (k *keeper) extend(ctx context.Context, e entry) error {
	if e.id == clientv3.NoLease {
		k.id = e.id
		return nil
	}
	if e.id != k.id {
		left, err := k.timeLeft(ctx, e.id)
		if err != nil {
			return err
		}
		k.id, k.renew = e.id, time.Now().Add(left-k.s.opt.RenewMargin)
	}
	if time.Now().Before(k.renew) {
		return nil
	}
	return k.putLeased(ctx, unchanged(e))
}

// timeLeft asks how long the etcd lease of the own key still runs.
func (k *keeper) timeLeft(ctx context.Context, id clientv3.LeaseID) (time.Duration, error) {
	r, err := call(ctx, k.s, func(ctx context.Context, c *clientv3.Client) (*clientv3.LeaseTimeToLiveResponse, error) {
		return c.TimeToLive(ctx, id)
	})
	if err != nil {
		return 0, err
	}
	return time.Duration(r.TTL) * time.Second, nil // -1 when it has just ended
}

// recreate writes the vanished key again if nobody else has taken its place.
func (k *keeper) recreate(ctx context.Context) error {
	all, rev, err := k.s.list(ctx)
	if err != nil {
		return err
	}
	me := lease.Claim{Attrs: k.own.Attrs}
	for _, e := range all {
		if !e.bad && !me.Owns(e.Lease) && hasAddr(e.Attrs) && e.Overlaps(k.own) {
			return fmt.Errorf("%w, at %s", lease.ErrTaken, nodeOf(e.Attrs))
		}
	}
	k.s.log.Warn("the own lease vanished; it is written again", "subnet", k.own.Key())
	absent := clientv3.Compare(clientv3.Version(k.key), "=", 0)
	return k.putLeased(ctx, absent, k.s.nothingNewSince(rev))
}

// putLeased writes the key with a fresh etcd lease. The one before, if any, is
// left to expire: it may carry keys that are not ours.
func (k *keeper) putLeased(ctx context.Context, cmps ...clientv3.Cmp) error {
	id, err := k.s.grant(ctx)
	if err != nil {
		return err
	}
	granted := time.Now()
	done, err := k.s.commit(ctx, cmps, clientv3.OpPut(k.key, k.value, clientv3.WithLease(id)))
	if err == nil && !done {
		err = errAgain
	}
	if err == nil {
		k.id, k.renew = id, granted.Add(k.s.ttl-k.s.opt.RenewMargin)
	}
	return err
}

func (k *keeper) put(ctx context.Context, cmp clientv3.Cmp, opts ...clientv3.OpOption) error {
	done, err := k.s.commit(ctx, []clientv3.Cmp{cmp}, clientv3.OpPut(k.key, k.value, opts...))
	if err == nil && !done {
		err = errAgain
	}
	return err
}

// listen wakes the keeper when the key changes. It watches exactly this key: a
// longer one that begins with it is another lease.
func (k *keeper) listen(ctx context.Context) {
	for b := contact.Retry(); ctx.Err() == nil; b.Wait(ctx) {
		c, err := k.s.dial(ctx)
		if err != nil {
			continue // check finds out as well, and reports it
		}
		for range c.Watch(clientv3.WithRequireLeader(ctx), k.key, clientv3.WithCreatedNotify()) {
			k.poke()
		}
		k.poke()
	}
}

func (k *keeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// hasAddr reports whether a says at all which node it is.
func hasAddr(a lease.Attrs) bool { return a.PublicIP.IsValid() || a.PublicIPv6.IsValid() }

// nodeOf names the node of a for an error.
func nodeOf(a lease.Attrs) string {
	if a.PublicIP.IsValid() {
		return a.PublicIP.String()
	}
	return a.PublicIPv6.String()
}
