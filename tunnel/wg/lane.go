package wg

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Lane is what the near end knows of a peer: whether there is a session with
// it, and how many of its packets are inside the device. The zero Lane is that
// of a peer without a session, by itself.
type Lane struct {
	id      uint32
	inside  atomic.Int64 // packets read and not sent
	stuck   atomic.Int64 // packets read before the latest stall and not sent
	open    atomic.Bool  // what enters leaves soon: there is a session
	moved   atomic.Bool  // packets left since the reader last waited in vain
	of      *lanes
	knock   func()       // begins a handshake
	knocked atomic.Int64 // nanoseconds of the Unix epoch: when it did last
	told    func()       // is told when the peer begins to answer
	strange string       // how the device's log calls the peer

	answers atomic.Int32 // sessionNone, sessionTrying, sessionHeld
	since   atomic.Int64 // nanoseconds of the Unix epoch: of answers
}

// staged is how many packets wait for a session, as in the kernel's WireGuard
// (drivers/net/wireguard/messages.h, MAX_STAGED_PACKETS), and stagedAll how many
// for those with all peers together: each holds 64 KiB of the device's memory.
const (
	staged    = 128
	stagedAll = 8 * staged
)

// Admit counts n packets about to be handed to the device. It reports false,
// and they must be dropped, if there is no session and enough wait for one.
// Then it knocks once a second: the device begins a handshake when it gets a
// packet, and at no other time if the last one was begun by the peer and broke
// off.
func (l *Lane) Admit(n int) bool {
	if !l.open.Load() && l.crowded(int64(n)) {
		l.callAgain(time.Now().UnixNano())
		return false
	}
	l.inside.Add(int64(n))
	return true
}

// crowded tells whether too many wait to let n more in. The first always may.
func (l *Lane) crowded(n int64) bool {
	had := l.inside.Load()
	return had > 0 && (had+n > staged || l.of != nil && l.of.waiting()+n > stagedAll)
}

// callAgain knocks if that was not done lately.
func (l *Lane) callAgain(now int64) {
	if l.knock != nil && now-l.knocked.Load() >= int64(time.Second) {
		l.knocked.Store(now)
		l.knock()
	}
}

// lanes numbers the peers of a tunnel, for notes.
type lanes struct {
	mu     sync.Mutex
	table  atomic.Pointer[[]*Lane] // by id; index 0 is nobody
	byName sync.Map                // strange → *Lane
}

func newLanes() *lanes {
	l := &lanes{}
	l.table.Store(&[]*Lane{nil})
	return l
}

// waiting returns how many packets wait for sessions.
func (ls *lanes) waiting() (n int64) {
	ls.all(func(l *Lane) {
		if !l.open.Load() {
			n += l.inside.Load() + l.stuck.Load()
		}
	})
	return n
}

// add makes a lane; knock begins a handshake with its peer.
func (ls *lanes) add(key PublicKey, knock func()) *Lane {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := &Lane{strange: deviceName(key), of: ls, knock: knock}
	old := *ls.table.Load()
	next := append(make([]*Lane, 0, len(old)+1), old...)
	for id := 1; id < len(next) && l.id == 0; id++ {
		if next[id] == nil {
			l.id, next[id] = uint32(id), l
		}
	}
	if l.id == 0 {
		l.id, next = uint32(len(next)), append(next, l)
	}
	ls.table.Store(&next)
	ls.byName.Store(l.strange, l)
	return l
}

// remove frees the lane's number.
func (ls *lanes) remove(l *Lane) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	next := append([]*Lane(nil), *ls.table.Load()...)
	next[l.id] = nil
	ls.table.Store(&next)
	ls.byName.CompareAndDelete(l.strange, l)
}

// lane returns the lane of that number, or nil.
func (ls *lanes) lane(id uint32) *Lane {
	if t := *ls.table.Load(); id < uint32(len(t)) {
		return t[id]
	}
	return nil
}

// all calls f for each lane.
func (ls *lanes) all(f func(*Lane)) {
	for _, l := range *ls.table.Load() {
		if l != nil {
			f(l)
		}
	}
}

// left counts n packets of l that were sent: there is a session.
func (l *Lane) left(n int) {
	l.moved.Store(true)
	l.open.Store(true)
	if m := int64(n) - takeFrom(&l.stuck, int64(n)); m > 0 { // what is stuck came first
		takeFrom(&l.inside, m)
	}
}

// takeFrom takes up to n from what v counts, and returns how many there were.
func takeFrom(v *atomic.Int64, n int64) int64 {
	for {
		was := v.Load()
		if k := min(n, was); k <= 0 || v.CompareAndSwap(was, was-k) {
			return max(0, k)
		}
	}
}

// stalled is called when packets have not come out for too long: lanes that
// have not moved are taken to have no session. The device may have dropped what
// they hold, so others are admitted in its place: without any packet there
// would never be a session.
func (ls *lanes) stalled() {
	ls.all(func(l *Lane) {
		if !l.moved.Swap(false) && l.inside.Load() > 0 {
			l.open.Store(false)
			l.stuck.Add(l.inside.Swap(0))
		}
	})
}

// flushed counts the packets that the device dropped because the peer did not
// answer for a long time.
func (l *Lane) flushed() int64 {
	l.open.Store(false)
	return l.inside.Swap(0) + l.stuck.Swap(0)
}

// The states of a session, as the handshake messages tell them.
const (
	sessionNone int32 = iota
	sessionTrying
	sessionHeld
)

// Heard notes that an authentic packet of the peer's came. If nothing else was
// known of it, it answers: it has a session with us, and knows of it. When
// handshakes of ours go unanswered, what still comes on an old session proves
// nothing.
func (l *Lane) Heard() {
	if l.answers.Load() != sessionNone || !l.answers.CompareAndSwap(sessionNone, sessionHeld) {
		return
	}
	l.since.Store(time.Now().UnixNano())
	l.open.Store(true) // what comes now leaves at once
	if l.told != nil {
		l.told()
	}
}

// becomes notes a change of state and reports whether it is one.
func (l *Lane) becomes(state int32) bool {
	if l.answers.Swap(state) == state {
		return false
	}
	l.since.Store(time.Now().UnixNano())
	return true
}
