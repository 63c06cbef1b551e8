package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
	"weft/lease/internal/contact"
)

// Config implements [lease.Registrar]. It looks every second and logs a line
// whenever the reason for waiting changes.
func (s *Store) Config(ctx context.Context) (*lease.Config, error) {
	reason := ""
	for {
		var r *clientv3.GetResponse
		err := s.contact.Retry(ctx, func() (err error) {
			r, err = s.get(ctx, s.config)
			return err
		})
		if err != nil {
			return nil, err
		}
		why := "there is no such key"
		if len(r.Kvs) > 0 {
			c, err := lease.ParseConfig(r.Kvs[0].Value)
			if err == nil {
				return c, nil
			}
			why = err.Error()
		}
		if why != reason {
			s.log.Warn("waiting for a network configuration", "key", s.config, "err", why)
			reason = why
		}
		if !contact.Sleep(ctx, time.Second) {
			return nil, ctx.Err()
		}
	}
}

// Own returns the lease that the store holds for the node with these
// attributes, with the values it has there. A backend can read from it, before
// [Store.Acquire] writes it anew, what should outlive a restart.
func (s *Store) Own(ctx context.Context, a lease.Attrs) (l lease.Lease, found bool, err error) {
	err = s.contact.Retry(ctx, func() error {
		all, _, err := s.list(ctx)
		for _, e := range all {
			if !found && !e.bad && (lease.Claim{Attrs: a}).Owns(e.Lease) {
				l, found = e.Lease, true
			}
		}
		return err
	})
	return l, found, err
}

// errRace says that the leases changed between listing and claiming.
var errRace = errors.New("another node claimed at the same time")

// Acquire implements [lease.Registrar]. It waits for etcd as long as need be;
// its errors are [lease.ErrNoSubnet] and the end of ctx.
func (s *Store) Acquire(ctx context.Context, c lease.Claim) (lease.Lease, error) {
	a := acquisition{s: s, claim: c}
	defer a.giveBack()
	race := contact.Race()
	for {
		err := s.contact.Retry(ctx, func() error { return a.try(ctx) }, lease.ErrNoSubnet, errRace)
		if err == nil {
			return a.got, nil
		}
		if !errors.Is(err, errRace) {
			return lease.Lease{}, err
		}
		if !race.Wait(ctx) {
			return lease.Lease{}, ctx.Err()
		}
	}
}

// An acquisition is the work of one call of Acquire.
type acquisition struct {
	s     *Store
	claim lease.Claim
	id    clientv3.LeaseID // granted for the key, and
	used  bool             // perhaps tied to it
	got   lease.Lease
}

// try lists, plans and claims once.
func (a *acquisition) try(ctx context.Context) error {
	all, rev, err := a.s.list(ctx)
	if err != nil {
		return err
	}
	var own, others []lease.Lease
	entries := map[string]entry{}
	for _, e := range all {
		entries[e.key] = e
		if !e.bad && a.claim.Owns(e.Lease) {
			own = append(own, e.Lease)
		} else {
			others = append(others, e.Lease) // also one that cannot be read is taken
		}
	}
	plan, err := a.claim.Plan(own, others, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
	if err != nil {
		return err
	}
	done, err := a.claimPlan(ctx, plan, entries, rev)
	if err == nil && !done {
		err = errRace
	}
	return err
}

// claimPlan carries out plan if etcd still holds what it was made from.
func (a *acquisition) claimPlan(ctx context.Context, plan lease.Plan, entries map[string]entry, rev int64) (bool, error) {
	key := a.s.key(plan.Lease)
	cmps := []clientv3.Cmp{a.s.nothingNewSince(rev)}
	if old, ok := entries[key]; ok {
		cmps = append(cmps, unchanged(old))
	}
	var ops []clientv3.Op
	for _, l := range plan.Drop {
		old := entries[a.s.key(l)]
		cmps = append(cmps, unchanged(old))
		ops = append(ops, clientv3.OpDelete(old.key))
	}
	value, err := json.Marshal(plan.Lease.Attrs)
	if err != nil {
		return false, err
	}
	put := clientv3.OpPut(key, string(value))
	reservation := plan.Old != nil && plan.Lease.Expires.IsZero()
	if !reservation {
		if a.id == clientv3.NoLease {
			if a.id, err = a.s.grant(ctx); err != nil {
				return false, fmt.Errorf("grant: %w", err)
			}
		}
		plan.Lease.Expires = time.Now().Add(a.s.ttl)
		put = clientv3.OpPut(key, string(value), clientv3.WithLease(a.id))
	}
	done, err := a.s.commit(ctx, cmps, append(ops, put)...)
	a.used = a.used || !reservation && (done || err != nil) // after an error nobody knows
	a.got = plan.Lease
	return done, err
}

// giveBack revokes an etcd lease that was granted in vain. If it fails the
// lease ends by itself.
func (a *acquisition) giveBack() {
	if a.id == clientv3.NoLease || a.used {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := call(ctx, a.s, func(ctx context.Context, c *clientv3.Client) (*clientv3.LeaseRevokeResponse, error) {
		return c.Revoke(ctx, a.id)
	})
	if err != nil {
		a.s.log.Debug("an unused etcd lease was left to expire", "err", err)
	}
}

// nothingNewSince demands that every lease there is was there at rev. Renewals
// do not matter, only keys that came.
func (s *Store) nothingNewSince(rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(s.subnets), "<", rev+1).WithPrefix()
}

// unchanged demands that e is as it was read.
func unchanged(e entry) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(e.key), "=", e.rev)
}
