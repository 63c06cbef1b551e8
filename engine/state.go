package engine

import "sync"

// state is what a node says of itself. Its methods may be called from
// anywhere at any time.
type state struct {
	mu     sync.Mutex
	causes []string // why the node is not ready; empty: it is
	plane  dataPlane
	alive  map[string]bool // peers that answered the prober last

	running *running // what is known once there is a lease; nil before
	set     leaseState
	ahead   *float64 // seconds that the store's clock is ahead of ours; nil: not known
	nested  string   // what kind of tunnel the underlay interface is itself
}

// runs says that the node has a lease, and what it is.
func (s *state) runs(r *running, nested string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.nested = r, nested
}

// listed takes in what is known of the set of leases.
func (s *state) listed(l leaseState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = l
}

// Ready reports whether the node carries packets, and if not, why. A lease
// store that is away is no reason: packets flow without it.
func (s *state) Ready() (ok bool, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.causes) == 0 {
		return true, ""
	}
	return false, s.causes[len(s.causes)-1]
}

// carries says that p is the data plane of the node.
func (s *state) carries(p dataPlane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plane = p
}

// fail adds a cause for not being ready.
func (s *state) fail(why string) {
	s.mend(why)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.causes = append(s.causes, why)
}

// mend removes a cause.
func (s *state) mend(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, c := range s.causes {
		if c == why {
			s.causes = append(s.causes[:i], s.causes[i+1:]...)
			return
		}
	}
}

// ready ends the start.
func (s *state) ready() { s.mend("starting") }
