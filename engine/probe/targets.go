package probe

import (
	"container/heap"
	"time"
)

// Set says who the peers are. What is known of those that stay is kept, and the
// same targets again change nothing.
func (p *Prober) Set(targets []Target) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	stay := make(map[string]bool, len(targets))
	for _, t := range targets {
		if !t.usable() {
			p.opt.Log.Debug("peer cannot be probed", "peer", t.Key, "src", t.Src, "dst", t.Dst)
			continue
		}
		stay[t.Key] = true
		q := p.peers[t.Key]
		switch {
		case q == nil:
			q = newPeer(t, now)
			p.peers[t.Key] = q
			heap.Push(&p.due, q)
		case q.Target != t:
			q.retarget(t, now)
		default:
			continue
		}
		p.gate.open(&t)
		p.arrange(q)
		p.rouse()
	}
	for key, q := range p.peers {
		if !stay[key] {
			heap.Remove(&p.due, q.index)
			q.gone = true
			delete(p.peers, key)
			p.gate.close(key)
		}
	}
}

// rouse has Run look at what is due.
func (p *Prober) rouse() {
	select {
	case p.wake <- struct{}{}:
	default: // it is awake
	}
}

// State returns what is known about a peer.
func (p *Prober) State(key string) (State, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.peers[key]
	if q == nil {
		return State{}, false
	}
	return q.state(time.Now()), true
}

// Limits returns, by key, the bytes of the longest inner packet that passes, for
// every target with a path that has such a limit: what [Options.Limit] was told,
// or is about to be, for who has to apply it again. It costs a look at each
// target.
func (p *Prober) Limits() map[string]int {
	limits := map[string]int{}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, q := range p.peers {
		if q.search.limit > 0 {
			limits[key] = q.search.limit
		}
	}
	return limits
}

// Recheck has the path to a peer that answers made sure of now, if that is not
// under way.
func (p *Prober) Recheck(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.peers[key]; q != nil && q.search.phase == rest && q.alive {
		q.at[taskPath] = time.Now()
		p.arrange(q)
		p.rouse()
	}
}

// Missed is how many messages to Input and InputOuter were let go because
// too many came at once.
func (p *Prober) Missed() uint64 { return p.missed.Load() }

// A note is what the engine is told of a peer.
type note struct {
	key   string
	state State
	limit bool // the limit is news
}

// notes takes what is to be told. The caller of the callbacks holds no lock.
func (p *Prober) notes() (out []note) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, q := range p.unspoken {
		if q.unspoken = false; q.gone {
			continue
		}
		n := note{key: q.Key, state: q.state(now)}
		// A search without a result is no news, and one under way has none yet.
		if q.told != q.search.limit && (q.search.proven || q.told >= 0) {
			q.told, n.limit = q.search.limit, true
		}
		out = append(out, n)
	}
	p.unspoken = p.unspoken[:0]
	return out
}

// tell calls back about what has changed.
func (p *Prober) tell() {
	for _, n := range p.notes() {
		if n.limit && p.opt.Limit != nil {
			p.opt.Limit(n.key, n.state.Limit)
		}
		if p.opt.Changed != nil {
			p.opt.Changed(n.key, n.state)
		}
	}
}
