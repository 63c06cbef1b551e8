package wg

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
)

// Message types and sizes (WireGuard whitepaper, section 5.4), in bytes.
const (
	typeInitiation = 1
	typeResponse   = 2
	typeCookie     = 3
	typeTransport  = 4

	initiationBytes = 148
	responseBytes   = 92
	cookieBytes     = 64
	keepaliveBytes  = Overhead // a transport message without a packet
)

// A session is one key that peers may send to us with, named by the index that
// we gave it in a handshake message.
type session struct {
	made    time.Time
	handed  atomic.Uint64 // datagrams given to the device; the number of the latest
	settled atomic.Uint64 // what became of those up to this number is known
	idle    uint64        // handed when settle looked last
	replay  atomic.Pointer[window]
}

// sessions holds the sessions that transport messages may belong to.
type sessions struct {
	mu    sync.RWMutex
	byID  map[uint32]*session
	swept time.Time
}

// sessionLife is how long an index is of use: a key is refused 180 s after it
// was made (whitepaper, Reject-After-Time), which is at most a few handshake
// timeouts after the index was sent.
const sessionLife = 200 * time.Second

// offer notes the index in a handshake message of ours, and drops old ones.
func (ss *sessions) offer(message []byte, now time.Time) {
	id := binary.LittleEndian.Uint32(message[4:])
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.byID == nil {
		ss.byID = map[uint32]*session{}
	}
	ss.byID[id] = &session{made: now}
	if now.Sub(ss.swept) < sessionLife/20 {
		return
	}
	ss.swept = now
	for id, s := range ss.byID {
		if now.Sub(s.made) > sessionLife {
			delete(ss.byID, id)
		}
	}
}

// find returns the session of an index, or nil.
func (ss *sessions) find(id uint32) *session {
	ss.mu.RLock()
	defer ss.mu.RUnlock()
	return ss.byID[id]
}

// settle returns how many datagrams the device must have dropped of those that
// it was given before the last call: what comes out does so within moments.
// The caller sees to it that calls are well apart.
func (ss *sessions) settle() (lost uint64) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, s := range ss.byID {
		if done := s.settled.Load(); done < s.idle && s.settled.CompareAndSwap(done, s.idle) {
			lost += s.idle - done
		}
		s.idle = s.handed.Load()
	}
	return lost
}

// came notes that the datagram numbered ord left the device, and returns how
// many before it did not, and how many are accounted for.
func (s *session) came(ord uint64) (lost, done uint64) {
	was := s.settled.Load()
	if ord <= was || ord > s.handed.Load() || !s.settled.CompareAndSwap(was, ord) {
		return 0, 0 // settled meanwhile, or no number of ours
	}
	return ord - was - 1, ord - was
}

// A window remembers which of the latest counters of a session were
// authenticated. It is as long as wireguard-go's own (RFC 6479). One goroutine
// marks, any may ask.
type window struct {
	top   atomic.Uint64 // highest counter so far
	words [windowWords]atomic.Uint64
}

const (
	windowWords = 128
	windowBits  = (windowWords - 1) * 64
)

// mark notes an authenticated counter.
func (w *window) mark(counter uint64) {
	top := w.top.Load()
	if counter > top {
		for i, n := top/64+1, counter/64; i <= n && i-top/64 <= windowWords; i++ {
			w.words[i%windowWords].Store(0)
		}
		w.top.Store(counter)
	}
	word := &w.words[counter/64%windowWords]
	word.Store(word.Load() | 1<<(counter%64))
}

// used tells whether counter was marked, or is so old that nobody can tell.
func (w *window) used(counter uint64) bool {
	top := w.top.Load()
	switch {
	case counter > top:
		return false
	case top-counter > windowBits:
		return true
	}
	return w.words[counter/64%windowWords].Load()>>(counter%64)&1 != 0
}

// mark notes a counter of s as authenticated.
func (s *session) mark(counter uint64) {
	w := s.replay.Load()
	if w == nil {
		w = new(window)
		s.replay.Store(w)
	}
	w.mark(counter)
}

// replayed tells whether a datagram with this counter has been seen.
func (s *session) replayed(counter uint64) bool {
	w := s.replay.Load()
	return w != nil && w.used(counter)
}
