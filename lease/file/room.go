package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"

	"weft/lease/internal/contact"
)

// makeRoom removes one dead lease whose subnet would satisfy the claim. If there is
// none it returns full, the reason why it was called.
func (a *acquisition) makeRoom(ctx context.Context, full error) error {
	before, err := a.listAgain(ctx)
	if err != nil {
		return err
	}
	mine, rest, _ := a.divide(before)
	var mortal, lasting []entry
	for _, e := range rest {
		if e.bad == nil && !e.rec.reserved {
			mortal = append(mortal, e)
		} else {
			lasting = append(lasting, e)
		}
	}
	if _, err := a.claim.Plan(leases(mine), leases(lasting), rnd()); err != nil {
		return full // even if all others were dead
	}
	a.log.Warn("no subnet is free; looking for nodes that are gone", "for", a.patience())
	dead, err := a.observe(ctx, mortal, a.opt.DeadAfter)
	if err != nil {
		return err
	}
	rnd().Shuffle(len(dead), func(i, j int) { dead[i], dead[j] = dead[j], dead[i] })
	for _, d := range dead {
		left := slices.DeleteFunc(slices.Clone(rest), func(e entry) bool { return e.name == d.name })
		if _, err := a.claim.Plan(leases(mine), leases(left), rnd()); err == nil {
			a.log.Warn("taking the subnet of a node that is gone", "subnet", d.Key(), "peer", nodeOf(d))
			return a.retry(ctx, func() error { return a.bury(d) })
		}
	}
	return full
}

func (s *Store) listAgain(ctx context.Context) ([]entry, error) {
	var all []entry
	err := s.retry(ctx, func() (err error) {
		all, err = s.list()
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// observe returns those of es that give no sign of life for so many intervals,
// in each of which the folder could be read. When all gave one it returns.
func (s *Store) observe(ctx context.Context, es []entry, intervals int) ([]entry, error) {
	for i := 0; i < intervals && len(es) > 0; i++ {
		if !contact.Sleep(ctx, s.opt.Interval) {
			return nil, ctx.Err()
		}
		now, err := s.listAgain(ctx)
		if err != nil {
			return nil, err
		}
		var quiet []entry
		for _, e := range es {
			if n := find(now, e.Lease); n.bad == nil && n.name != "" && e.rec.still(n.rec) {
				quiet = append(quiet, e)
			}
		}
		es = quiet
	}
	return es, nil
}

// bury removes the dead lease e. It first takes the file aside, which only one
// node can do, and looks whether its owner came back at the last moment.
func (s *Store) bury(e entry) error {
	aside := s.path(fmt.Sprintf(".dead-%s-%016x", e.Key(), rand.Uint64()))
	err := os.Rename(s.path(e.name), aside)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody else did it
	}
	if err != nil {
		return err
	}
	data, err := readText(aside)
	if err != nil {
		return err
	}
	if r, err := decode(data); err != nil || !e.rec.still(r) {
		if err := os.Link(aside, s.path(e.name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err // its owner will write it again
		}
	}
	return os.Remove(aside)
}
