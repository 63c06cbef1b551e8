package file

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"weft/lease"
)

// errNamesake says that there are leases of which only time can tell whether
// they are this node's.
var errNamesake = errors.New("a lease bears the name of this node and another address")

// namesakeIntervals is how long such a lease is watched.
const namesakeIntervals = 2

// A bond says what a lease is to this node.
type bond int

const (
	others   bond = iota // somebody else's, or nobody knows whose
	namesake             // has our name, but the address and the process are others: ours from before, or a node of the same name
	own
)

// bond goes by the name where there is one, and by the address where somebody
// wrote the file by hand. A reservation has no heartbeat that could be watched.
func (s *Store) bond(a lease.Attrs, e entry) bond {
	sameAddress := lease.Claim{Attrs: a}.Owns(e.Lease)
	switch {
	case e.bad != nil:
		return others
	case e.rec.node == "" && sameAddress:
		return own
	case e.rec.node != s.opt.NodeName:
		return others
	case sameAddress, e.rec.instance == s.instance, e.rec.reserved:
		return own
	}
	return namesake
}

// An acquisition is one call of Acquire and what it has learnt.
type acquisition struct {
	*Store
	claim lease.Claim
	seen  map[string]verdict // on namesakes, by file name
}

// A verdict is what was seen of a namesake.
type verdict struct {
	rec   record // at the last look
	alive bool
}

// divide tells the node's own leases from all others. What cannot be read is
// somebody's. Namesakes on which there is no verdict are in unsure as well as
// in rest.
func (a *acquisition) divide(all []entry) (mine, rest, unsure []entry) {
	for _, e := range all {
		b := a.bond(a.claim.Attrs, e)
		if b == namesake {
			switch v, known := a.seen[e.name]; {
			case known && v.alive && v.rec.instance == e.rec.instance:
				b = others
			case known && !v.alive && v.rec.still(e.rec):
				b = own
			default:
				unsure = append(unsure, e)
			}
		}
		if b == own {
			mine = append(mine, e)
		} else {
			rest = append(rest, e)
		}
	}
	return mine, rest, unsure
}

// watchNamesakes finds out which of them are alive, and so other nodes.
func (a *acquisition) watchNamesakes(ctx context.Context) error {
	all, err := a.listAgain(ctx)
	if err != nil {
		return err
	}
	_, _, unsure := a.divide(all)
	for _, e := range unsure {
		a.log.Info("a lease has this node's name and another address; watching whether its node is alive",
			"subnet", e.Key(), "peer", nodeOf(e), "for", namesakeIntervals*a.opt.Interval)
	}
	quiet, err := a.observe(ctx, unsure, namesakeIntervals)
	if err != nil {
		return err
	}
	for _, e := range unsure {
		alive := !slices.ContainsFunc(quiet, func(q entry) bool { return q.name == e.name })
		a.seen[e.name] = verdict{e.rec, alive}
		if alive {
			a.log.Warn("another node has the name of this one and keeps its subnet",
				"subnet", e.Key(), "peer", nodeOf(e), "err", a.sameName(a.claim.Attrs, e))
		}
	}
	return nil
}

// explain adds to err, a want of subnets, the nodes of our name.
func (a *acquisition) explain(err error) error {
	for _, v := range a.seen {
		if v.alive {
			err = fmt.Errorf("%w; %w", err, a.sameName(a.claim.Attrs, entry{rec: v.rec}))
		}
	}
	return err
}

// sameName says of e that it is held by another node of our name, and what to
// do about it.
func (s *Store) sameName(a lease.Attrs, e entry) error {
	return fmt.Errorf("two nodes have the name %q, %s and %s (this one): give each its own with --node-name",
		s.opt.NodeName, address(e.rec.Attrs), address(a))
}

// address is by which address a node is known.
func address(a lease.Attrs) string {
	if a.PublicIP.IsValid() {
		return a.PublicIP.String()
	}
	return a.PublicIPv6.String()
}

// nodeOf names the node of e for people.
func nodeOf(e entry) string {
	if e.rec.node != "" {
		return fmt.Sprintf("%s (%s)", e.rec.node, address(e.rec.Attrs))
	}
	return address(e.rec.Attrs)
}
