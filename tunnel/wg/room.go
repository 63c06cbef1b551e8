package wg

import (
	"sync"
	"time"
)

// A room bounds how many packets are inside the device in one direction. What
// enters takes a place and what leaves gives it back. Packets that the device
// dropped never leave; so whoever waits for a place does so for a moment only,
// and then takes the room for empty.
type room struct {
	mu    sync.Mutex
	used  int
	limit int
	vain  bool          // the latest wait was
	freed chan struct{} // has an element if used fell below limit
}

// patience is how long a full room is believed to be full. Under load places
// come back within a fraction of it. After a wait in vain somebody may be
// filling the room with what never leaves, on purpose: then it is less, until a
// place comes back in time.
const (
	patience  = 10 * time.Millisecond
	suspicion = time.Millisecond
)

func newRoom(limit int) *room { return &room{limit: limit, freed: make(chan struct{}, 1)} }

// take takes n places, whether they are free or not.
func (r *room) take(n int) {
	r.mu.Lock()
	r.used += n
	r.mu.Unlock()
}

// give gives n places back.
func (r *room) give(n int) {
	r.mu.Lock()
	was := r.used
	r.used = max(0, r.used-n)
	wake := was >= r.limit && r.used < r.limit
	r.mu.Unlock()
	if wake {
		r.wake()
	}
}

func (r *room) wake() {
	select {
	case r.freed <- struct{}{}:
	default:
	}
}

func (r *room) full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used >= r.limit
}

// wait returns when there is a place, or done is closed. It reports false if
// none came back for so long that all that is inside must be lost.
func (r *room) wait(timer *time.Timer, done <-chan struct{}) bool {
	if !r.full() {
		return true
	}
	timer.Reset(r.patience())
	defer timer.Stop()
	for {
		select {
		case <-r.freed:
			if r.waited(false) {
				r.wake() // others may be waiting for the same
				return true
			}
		case <-done:
			return true
		case <-timer.C:
			return r.waited(true)
		}
	}
}

func (r *room) patience() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.vain {
		return suspicion
	}
	return patience
}

// waited tells whether there is a place now. If there is none and the wait is
// over, all that is inside must be lost, and there is again.
func (r *room) waited(over bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	free := r.used < r.limit
	if free || over {
		r.vain = !free
	}
	if !free && over {
		r.used = 0
	}
	return free
}
