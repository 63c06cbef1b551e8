package trace

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"weft/engine/trace/filter"
)

// Options says what a session is to be told.
type Options struct {
	Filter  string        // in the language of package filter; empty: everything
	Snaplen int           // bytes of each inner packet that are kept; 0: DefaultSnaplen
	Sample  int           // one of so many matching packets; 0 and 1: all
	Count   int           // the session ends after so many records; 0: never
	For     time.Duration // and after so long; 0: never
}

// Limits of a session.
const (
	// DefaultSnaplen keeps the headers and little of what pods say, in bytes.
	DefaultSnaplen = 128
	// MaxSnaplen is the longest packet there is, in bytes.
	MaxSnaplen = 65535
	// buffered is how many bytes of records wait for the reader, at most.
	buffered = 4 << 20
	// gather is how long records are collected before the reader is given them.
	gather = 10 * time.Millisecond
)

// A Session is one reader's view of what goes on. Loops hand in from their side,
// one goroutine reads with Next, and Close ends it. Each packet that Wants said
// yes to is told by Next in the end, in a record or as one that was lost.
type Session struct {
	Filter  *filter.Filter
	Snaplen int

	hub     *Hub
	sample  uint64
	matched atomic.Uint64 // packets
	left    atomic.Int64  // records that may still come; only if counted
	owed    atomic.Int64  // records that Wants asked for and nobody handed in yet
	ended   atomic.Bool   // nothing is wanted any more
	counted bool
	until   time.Time // zero: no end
	once    sync.Once
	closed  chan struct{}
	wake    chan struct{} // holds a token once there is something to look at

	mu   sync.Mutex
	buf  []byte // whole frames
	lost uint64 // since the last Next
}

func newSession(h *Hub, o Options) (*Session, error) {
	switch {
	case o.Snaplen < 0 || o.Snaplen > MaxSnaplen:
		return nil, fmt.Errorf("snaplen: %d is not a number of bytes from 1 to %d (0: %d)", o.Snaplen, MaxSnaplen, DefaultSnaplen)
	case o.Sample < 0:
		return nil, fmt.Errorf("sample: %d is negative", o.Sample)
	case o.Count < 0:
		return nil, fmt.Errorf("count: %d is negative", o.Count)
	case o.For < 0:
		return nil, fmt.Errorf("for: %v is negative", o.For)
	}
	f, err := filter.Compile(o.Filter)
	if err != nil {
		return nil, err // it begins with "filter: "
	}
	s := &Session{Filter: f, Snaplen: o.Snaplen, hub: h, sample: uint64(max(1, o.Sample)), counted: o.Count > 0,
		closed: make(chan struct{}), wake: make(chan struct{}, 1)}
	s.left.Store(int64(o.Count))
	if s.Snaplen == 0 {
		s.Snaplen = DefaultSnaplen
	}
	if o.For > 0 {
		s.until = time.Now().Add(o.For)
	}
	return s, nil
}

// Wants tells whether a packet that matched the filter is to be told of. If so
// the caller has to hand it in with Deliver, soon: the end of the session waits
// for it.
func (s *Session) Wants() bool {
	if s.sample > 1 && s.matched.Add(1)%s.sample != 1 {
		return false
	}
	if s.counted && s.left.Add(-1) < 0 {
		return false
	}
	s.owed.Add(1) // before the look at ended, so that one of both sees the other
	if s.ended.Load() {
		s.owed.Add(-1)
		s.nudge() // the reader may have seen it
		return false
	}
	return true
}

// Deliver hands in n records as frames, one each. It never waits for the reader:
// the first ones that fit are taken, the others are lost and counted.
func (s *Session) Deliver(frames []byte, n int) {
	s.mu.Lock()
	took := n
	if room := buffered - len(s.buf); len(frames) > room {
		frames, took = whole(frames, room)
	}
	s.buf = append(s.buf, frames...)
	lost := uint64(n - took)
	s.lost += lost
	s.mu.Unlock()
	s.hub.lost.Add(lost)
	s.owed.Add(int64(-n))
	s.nudge()
}

// nudge makes the reader look again.
func (s *Session) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Next waits for records and returns them as frames, with the number of those
// lost since the last call. The frames replace into, which the caller gives back
// from call to call. done says that there will be no more, and why: the session
// was counted out, its time is over, it was closed, or ctx ended. What was wanted
// until then is among the frames or the lost; only the end of ctx does not wait
// for it.
func (s *Session) Next(ctx context.Context, into []byte) (frames []byte, lost uint64, done string) {
	var over <-chan time.Time
	if !s.until.IsZero() {
		t := time.NewTimer(time.Until(s.until))
		defer t.Stop()
		over = t.C
	}
	select {
	case <-s.wake:
	case <-over:
	case <-s.closed:
	case <-ctx.Done():
	}
	s.settle(ctx)
	done = s.over(ctx) // before the buffer is taken: what comes later is for the next call
	if done != "" {
		s.collect(ctx)
	}
	s.mu.Lock()
	frames, s.buf = s.buf, into[:0]
	lost, s.lost = s.lost, 0
	s.mu.Unlock()
	return frames, lost, done
}

// collect waits for what loops are about to hand in, which is never more than
// that of a batch each.
func (s *Session) collect(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	s.ended.Store(true)
	for s.owed.Load() > 0 {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
	}
}

// settle lets some records gather: a wake-up of the reader for each batch would
// cost the loops more than the records do.
func (s *Session) settle(ctx context.Context) {
	if s.over(ctx) != "" {
		return
	}
	t := time.NewTimer(gather)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.closed:
	case <-ctx.Done():
	}
}

// over tells why there will be no more records; empty: there will.
func (s *Session) over(ctx context.Context) string {
	select {
	case <-s.closed:
		return "closed"
	default:
	}
	switch {
	case ctx.Err() != nil:
		return "cancelled"
	case s.counted && s.left.Load() <= 0:
		return "count reached"
	case !s.until.IsZero() && !time.Now().Before(s.until):
		return "time is over"
	}
	return ""
}

// Close ends the session: nothing is wanted any more. What waits for the reader
// is still there for one call of Next.
func (s *Session) Close() {
	s.once.Do(func() {
		s.ended.Store(true)
		close(s.closed)
		s.hub.remove(s)
	})
}
