package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"

	"weft/lease"
	"weft/lease/internal/contact"
)

// makeRoom removes one dead lease whose subnet would satisfy c. If there is
// none it returns full, the reason why it was called.
func (s *Store) makeRoom(ctx context.Context, c lease.Claim, full error) error {
	before, err := s.listAgain(ctx)
	if err != nil {
		return err
	}
	own, others := s.divide(c, before)
	var mortal, lasting []entry
	for _, e := range others {
		if e.bad == nil && !e.rec.reserved {
			mortal = append(mortal, e)
		} else {
			lasting = append(lasting, e)
		}
	}
	if _, err := c.Plan(leases(own), leases(lasting), rnd()); err != nil {
		return full // even if all others were dead
	}
	s.log.Warn("no subnet is free; looking for nodes that are gone", "for", s.patience())
	dead, err := s.observe(ctx, mortal)
	if err != nil {
		return err
	}
	rnd().Shuffle(len(dead), func(i, j int) { dead[i], dead[j] = dead[j], dead[i] })
	for _, d := range dead {
		rest := make([]entry, 0, len(others))
		for _, e := range others {
			if e.name != d.name {
				rest = append(rest, e)
			}
		}
		if _, err := c.Plan(leases(own), leases(rest), rnd()); err == nil {
			s.log.Warn("taking the subnet of a node that is gone", "subnet", d.Key(), "peer", d.rec.node)
			return s.retry(ctx, func() error { return s.bury(d) })
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

// observe returns those of es that give no sign of life for DeadAfter
// intervals, in each of which the folder could be read.
func (s *Store) observe(ctx context.Context, es []entry) ([]entry, error) {
	for range s.opt.DeadAfter {
		if !contact.Sleep(ctx, s.opt.Interval) {
			return nil, ctx.Err()
		}
		now, err := s.listAgain(ctx)
		if err != nil {
			return nil, err
		}
		still := es[:0]
		for _, e := range es {
			if n := find(now, e.Lease); n.bad == nil && n.rec.node == e.rec.node && n.rec.beat == e.rec.beat && n.name != "" {
				still = append(still, e)
			}
		}
		es = still
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
	if r, err := decode(data); err != nil || r.beat != e.rec.beat || r.node != e.rec.node {
		if err := os.Link(aside, s.path(e.name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err // its owner will write it again
		}
	}
	return os.Remove(aside)
}
