package probe

import (
	"net/netip"
	"sync"
	"time"
)

const (
	peerAsks = 5 // questions and probes of one peer that are answered, a second
	allAsks  = 100
)

// A gate says whose questions are answered, and how many of them. Everything
// that asks passes it before it is queued: what is refused costs a look here and
// no memory, and takes no room from anything else. It has a lock of its own,
// which is held for that look alone, as the data plane waits for it.
type gate struct {
	mu     sync.Mutex
	askers map[string]*asker // by key
	all    bucket
}

// An asker is a peer as far as it asks.
type asker struct {
	bucket
	dst, alt netip.Addr // its tunnel addresses
}

func newGate() gate {
	return gate{askers: map[string]*asker{}, all: newBucket(allAsks, 2*allAsks)}
}

// open lets a target ask, or takes note of its other addresses.
func (g *gate) open(t *Target) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.askers[t.Key]
	if a == nil {
		a = &asker{bucket: newBucket(peerAsks, 4*peerAsks)}
		g.askers[t.Key] = a
	}
	a.dst, a.alt = t.Dst, t.Alt
}

func (g *gate) close(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.askers, key)
}

// foreign tells whether a packet that came from the peer with the key is not of
// that node itself: src is neither of its tunnel addresses, so it is a pod's.
func (g *gate) foreign(key string, src netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.askers[key]
	return a != nil && src != a.dst && src != a.alt
}

// admit tells whether the node with the key is a peer and has not asked too
// often, nor all of them together, and counts the question if so.
func (g *gate) admit(key string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	a, now := g.askers[key], time.Now()
	return a != nil && a.take(now) && g.all.take(now)
}
