package trace

import (
	"slices"
	"sync"
	"sync/atomic"
)

// A Hub is where loops hand in what they saw. The zero Hub is ready for use;
// nobody traces, and the flight recorder runs.
type Hub struct {
	Flight Flight

	active atomic.Pointer[[]*Session] // nil: nobody traces
	ids    atomic.Uint64
	lost   atomic.Uint64 // of all sessions

	mu sync.Mutex // held while active changes
}

// Active returns the sessions there are; nil, most of the time. A loop asks
// once per batch.
func (h *Hub) Active() []*Session {
	if s := h.active.Load(); s != nil {
		return *s
	}
	return nil
}

// IDs reserves n consecutive packet IDs and returns the first.
func (h *Hub) IDs(n int) uint64 { return h.ids.Add(uint64(n)) - uint64(n) + 1 }

// Lost returns the records that did not fit into a session's buffer, of all
// sessions so far.
func (h *Hub) Lost() uint64 { return h.lost.Load() }

// Open begins a session. An error is about o and names the option.
func (h *Hub) Open(o Options) (*Session, error) {
	s, err := newSession(h, o)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	all := append(slices.Clone(h.Active()), s)
	h.active.Store(&all)
	return s, nil
}

// remove takes s out.
func (h *Hub) remove(s *Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(h.Active()), func(t *Session) bool { return t == s })
	if len(all) == 0 {
		h.active.Store(nil)
	} else {
		h.active.Store(&all)
	}
}
