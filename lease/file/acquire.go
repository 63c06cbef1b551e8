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
// be. If a lease has this node's name and another address, it first watches
// for two intervals whether another node keeps it. If every subnet is taken it first watches for DeadAfter intervals
// whether one of the others is dead, and takes that one's; if none is, the
// error is [lease.ErrNoSubnet].
func (s *Store) Acquire(ctx context.Context, c lease.Claim) (lease.Lease, error) {
	a := &acquisition{Store: s, claim: c, seen: map[string]verdict{}}
	race := contact.Race()
	for {
		var got lease.Lease
		err := s.retry(ctx, func() (err error) {
			got, err = a.try()
			return err
		}, lease.ErrNoSubnet, errRace, errNamesake)
		switch {
		case err == nil:
			return got, nil
		case errors.Is(err, errNamesake):
			err = a.watchNamesakes(ctx)
		case errors.Is(err, lease.ErrNoSubnet):
			err = a.makeRoom(ctx, a.explain(err))
		case errors.Is(err, errRace):
			err = nil
		}
		if err != nil {
			return lease.Lease{}, err
		}
		if !race.Wait(ctx) {
			return lease.Lease{}, ctx.Err()
		}
	}
}

// try lists, plans and claims once.
func (a *acquisition) try() (lease.Lease, error) {
	if err := os.Mkdir(a.subnets, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return lease.Lease{}, err // above all: the shared disk is not there
	}
	all, err := a.list()
	if err != nil {
		return lease.Lease{}, err
	}
	mine, rest, unsure := a.divide(all)
	if len(mine) == 0 && len(unsure) > 0 {
		return lease.Lease{}, errNamesake
	}
	plan, err := a.claim.Plan(leases(mine), leases(rest), rnd())
	if err != nil {
		return lease.Lease{}, err
	}
	rec := a.record(a.claim.Attrs)
	if plan.Old != nil {
		old := find(mine, *plan.Old)
		rec.reserved, rec.beat = old.rec.reserved, old.rec.beat
	}
	rec = rec.next()
	name := fileName(plan.Lease)
	if e := find(mine, plan.Lease); e.name == name {
		err = a.replace(name, rec)
	} else {
		err = a.claimAlone(name, rec, plan.Lease, func(e entry) bool {
			was := find(mine, e.Lease)
			return was.name != "" && e.bad == nil && was.rec.instance == e.rec.instance
		})
	}
	if err != nil {
		return lease.Lease{}, err
	}
	for _, l := range plan.Drop {
		if err := os.Remove(a.path(fileName(l))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return lease.Lease{}, err
		}
	}
	plan.Lease.Expires = a.expiry(rec)
	return plan.Lease, nil
}

// record is the first one that this process writes.
func (s *Store) record(a lease.Attrs) record {
	return record{Attrs: a, node: s.opt.NodeName, instance: s.instance, time: time.Now()}
}

// claimAlone claims a new file and makes sure that nobody else claimed the
// same addresses under another name; mine tells which leases it may succeed.
func (s *Store) claimAlone(name string, rec record, l lease.Lease, mine func(entry) bool) error {
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
	for _, e := range all {
		if e.name != name && e.Overlaps(l) && !mine(e) {
			err = errRace
		}
	}
	if err != nil {
		return errors.Join(err, os.Remove(s.path(name)))
	}
	return nil
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
