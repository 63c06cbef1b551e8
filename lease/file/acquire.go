package file

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"

	"weft/lease"
	"weft/lease/internal/contact"
)

// errRace says that another node claimed the same addresses at the same time.
var errRace = errors.New("another node claimed at the same time")

// Acquire implements [lease.Registrar]. It waits for the disk as long as need
// be. If every subnet is taken it first watches for DeadAfter intervals
// whether one of the others is dead, and takes that one's; if none is, the
// error is [lease.ErrNoSubnet].
func (s *Store) Acquire(ctx context.Context, c lease.Claim) (lease.Lease, error) {
	race := contact.Race()
	for {
		var got lease.Lease
		err := s.retry(ctx, func() (err error) {
			got, err = s.try(c)
			return err
		}, lease.ErrNoSubnet, errRace)
		switch {
		case err == nil:
			return got, nil
		case errors.Is(err, lease.ErrNoSubnet):
			if err := s.makeRoom(ctx, c, err); err != nil {
				return lease.Lease{}, err
			}
		case !errors.Is(err, errRace):
			return lease.Lease{}, err
		}
		if !race.Wait(ctx) {
			return lease.Lease{}, ctx.Err()
		}
	}
}

// try lists, plans and claims once.
func (s *Store) try(c lease.Claim) (lease.Lease, error) {
	if err := os.Mkdir(s.subnets, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return lease.Lease{}, err // above all: the shared disk is not there
	}
	all, err := s.list()
	if err != nil {
		return lease.Lease{}, err
	}
	own, others := s.divide(c, all)
	plan, err := c.Plan(leases(own), leases(others), rnd())
	if err != nil {
		return lease.Lease{}, err
	}
	rec := record{Attrs: c.Attrs, node: s.opt.NodeName, time: time.Now()}
	if plan.Old != nil {
		old := find(own, *plan.Old)
		rec.reserved, rec.beat = old.rec.reserved, old.rec.beat
	}
	rec = rec.next()
	name := fileName(plan.Lease)
	if e := find(own, plan.Lease); e.name == name {
		err = s.replace(name, rec)
	} else {
		err = s.claimAlone(c, name, rec, plan.Lease)
	}
	if err != nil {
		return lease.Lease{}, err
	}
	for _, l := range plan.Drop {
		if err := os.Remove(s.path(fileName(l))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return lease.Lease{}, err
		}
	}
	plan.Lease.Expires = s.expiry(rec)
	return plan.Lease, nil
}

// claimAlone claims a new file and makes sure that nobody else claimed the
// same addresses under another name.
func (s *Store) claimAlone(c lease.Claim, name string, rec record, l lease.Lease) error {
	text, err := rec.encode()
	if err != nil {
		return err
	}
	if err := s.claim(name, text); errors.Is(err, fs.ErrExist) {
		return errRace
	} else if err != nil {
		return err
	}
	all, err := s.list()
	if err == nil {
		_, others := s.divide(c, all)
		for _, e := range others {
			if e.Overlaps(l) {
				err = errRace
			}
		}
	}
	if err != nil {
		return errors.Join(err, os.Remove(s.path(name)))
	}
	return nil
}

// divide tells the node's own leases from all others. What cannot be read is
// somebody's.
func (s *Store) divide(c lease.Claim, all []entry) (own, others []entry) {
	for _, e := range all {
		if s.owns(c.Attrs, e) {
			own = append(own, e)
		} else {
			others = append(others, e)
		}
	}
	return own, others
}

func leases(es []entry) []lease.Lease {
	ls := make([]lease.Lease, len(es))
	for i, e := range es {
		ls[i] = e.Lease
	}
	return ls
}

// find returns the entry of l, or a zero one.
func find(es []entry, l lease.Lease) entry {
	for _, e := range es {
		if e.name == fileName(l) {
			return e
		}
	}
	return entry{}
}

// expiry is when a lease with a heartbeat just seen may at the earliest be dead.
func (s *Store) expiry(r record) time.Time {
	if r.reserved {
		return time.Time{}
	}
	return time.Now().Add(s.patience())
}

// patience is how long a heartbeat may fail to appear.
func (s *Store) patience() time.Duration {
	return time.Duration(s.opt.DeadAfter) * s.opt.Interval
}

func rnd() *rand.Rand { return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) }
