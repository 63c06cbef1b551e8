package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
	"weft/lease/internal/contact"
)

// A rivalry is what a keeper knows of another process that writes its key.
type rivalry struct {
	paced    time.Time       // when something was last written over
	fight    contact.Backoff // before the next time
	repaired time.Time       // our last repair of the value that nobody has undone
	undoings int             // of such repairs, in a row

	heard    time.Time // the last sign of a rival; zero: there is none
	heardRev int64     // the write that was that sign
	told     time.Time // when the log last told of one
}

const (
	// strife is how soon the next repair belongs to the same fight. Two that
	// fight each wait for a minute at most.
	strife = 3 * time.Minute
	// calm is how long a rival must be silent to be forgotten, and the least
	// time between two lines in the log about one.
	calm = 10 * time.Minute
	// patient is how many repairs may be undone in a row before it is a rival's
	// doing. An administrator may well try something twice.
	patient = 2
)

// foreign reports whether another process with our public address wrote e: the
// key hangs on an etcd lease that is neither the one last seen there nor of our
// granting.
//
// These are not foreign: what the first look finds, unless this process has
// claimed the key with an etcd lease; a reservation, and what was made of one;
// and what is not newer than what was seen before, since then etcd came up with
// older data.
func (k *keeper) foreign(e entry) bool {
	if e.id == clientv3.NoLease || e.id == k.id || k.s.grants.has(e.id) {
		return false
	}
	if k.rev == 0 {
		return !k.own.Expires.IsZero() && k.s.grants.any()
	}
	return k.id != clientv3.NoLease && e.rev > k.rev
}

// takeBack puts the key under an etcd lease of ours again: that of before if it
// lasts, so that a long fight does not fill etcd with leases.
func (k *keeper) takeBack(ctx context.Context, e entry) error {
	k.accuse(e)
	if err := k.pace(ctx); err != nil {
		return err
	}
	if k.s.grants.has(k.id) && time.Now().Before(k.renew) {
		err := k.put(ctx, unchanged(e), clientv3.WithLease(k.id))
		if !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return err
		}
	}
	return k.putLeased(ctx, unchanged(e))
}

// pace waits before something is written over yet again. Two programs with one
// public address must not fight at full speed.
func (k *keeper) pace(ctx context.Context) error {
	if time.Since(k.paced) > strife {
		k.fight = contact.Backoff{Min: 50 * time.Millisecond, Max: time.Minute}
	} else if !k.fight.Wait(ctx) {
		return ctx.Err()
	}
	k.paced = time.Now()
	return nil
}

// undone notes that our value is to be written again, and reports whether that
// was undone too often.
func (k *keeper) undone() bool {
	switch {
	case k.repaired.IsZero(): // there was none, or it is counted already
		return false
	case time.Since(k.repaired) > strife:
		k.undoings = 0
	default:
		k.undoings++
	}
	k.repaired = time.Time{}
	return k.undoings >= patient
}

// accuse tells of the rival that wrote e.
func (k *keeper) accuse(e entry) {
	if e.rev == k.heardRev {
		return
	}
	k.heardRev, k.heard = e.rev, time.Now()
	at := nodeOf(k.own.Attrs)
	k.s.contact.Rival(fmt.Sprintf("another process with the public address %s writes the lease of %s: another node with that address, or a flanneld on this host",
		at, subnetsOf(k.own)))
	if time.Since(k.told) < calm {
		return
	}
	k.told = k.heard
	k.s.log.Error("another process writes this node's lease: two nodes have this public address (is it that of a NAT interface? see --iface), or flanneld still runs on this host",
		"subnet", k.own.Key(), "public", at)
}

// subnetsOf names the subnets of l for a person.
func subnetsOf(l lease.Lease) string {
	switch {
	case !l.Subnet6.IsValid():
		return l.Subnet.String()
	case !l.Subnet.IsValid():
		return l.Subnet6.String()
	}
	return l.Subnet.String() + " and " + l.Subnet6.String()
}

// forgive forgets a rival that has long been silent.
func (k *keeper) forgive() {
	if k.heard.IsZero() || time.Since(k.heard) < calm {
		return
	}
	k.heard = time.Time{}
	k.s.contact.Rival("")
	k.s.log.Info("no other process has written this node's lease for long", "subnet", k.own.Key(), "for", calm)
}

// grants remembers which etcd leases this process was given, so that it knows
// its own writes, also those whose success it was never told of.
type grants struct {
	mu  sync.Mutex
	ids []clientv3.LeaseID // the latest last
}

// mostGrants bounds what is remembered. One is made a day, and one for each
// failed try to write the key.
const mostGrants = 100

func (g *grants) add(id clientv3.LeaseID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.ids) == mostGrants {
		g.ids = slices.Delete(g.ids, 0, 1)
	}
	g.ids = append(g.ids, id)
}

func (g *grants) has(id clientv3.LeaseID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.ids, id)
}

// any reports whether there was any.
func (g *grants) any() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.ids) > 0
}
