package trace

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weft/encap"
)

// The flight recorder's bounds. A reason keeps its own records, so that a flood
// of one does not wash out the others.
const (
	flightKept   = 32  // records of each reason
	flightSnap   = 160 // bytes of each datagram
	flightBurst  = 16  // records of one reason in a row
	flightPerSec = 8   // and in each second after that
)

// A Flight keeps the headers of the latest dropped packets of each reason. The
// zero Flight is ready for use, by many goroutines at once. Who reads it takes no
// lock, so that no loop ever waits for a reader.
type Flight struct {
	reasons [encap.NumDrops]flightReason
}

// A flightReason is a ring of records. A record does not change once it is in the
// ring; the next one of its place is another.
type flightReason struct {
	ring [flightKept]atomic.Pointer[Record]
	kept atomic.Uint64 // records so far; the next goes to this one's place

	mu     sync.Mutex // held by loops, for what follows and to put records in
	tokens float64
	last   time.Time
}

// Wants tells whether a packet that was dropped for a reason now is to be kept,
// and counts it as kept: its reason may have had its share of this second.
func (f *Flight) Wants(d encap.Drop, now time.Time) bool {
	if d >= encap.NumDrops || d == encap.Delivered {
		return false
	}
	return f.reasons[d].allow(now)
}

// Keep keeps r, whose Snap is copied. Only what Wants wants is to be kept.
func (f *Flight) Keep(r *Record) {
	kept := *r
	kept.Snap = slices.Clone(r.Snap[:min(len(r.Snap), flightSnap)])
	k := &f.reasons[r.Drop]
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.kept.Load()
	k.ring[n%flightKept].Store(&kept)
	k.kept.Store(n + 1)
}

// allow takes a token at the time now, which may go back.
func (k *flightReason) allow(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last.IsZero() {
		k.tokens = flightBurst
	} else if d := now.Sub(k.last); d > 0 {
		k.tokens = min(flightBurst, k.tokens+d.Seconds()*flightPerSec)
	}
	k.last = now
	if k.tokens < 1 {
		return false
	}
	k.tokens--
	return true
}

// Records returns what is kept, the oldest first. The records are the caller's.
func (f *Flight) Records() []Record {
	var all []Record
	for i := range f.reasons {
		k := &f.reasons[i]
		from := k.kept.Load()
		for j := range uint64(flightKept) {
			if r := k.ring[(from+j)%flightKept].Load(); r != nil {
				all = append(all, *r)
				all[len(all)-1].Snap = slices.Clone(r.Snap)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Record) int { return cmp.Compare(a.Time, b.Time) })
	return all
}

// Latest returns when a packet was kept for a reason last; zero: never.
func (f *Flight) Latest(d encap.Drop) time.Time {
	if d >= encap.NumDrops {
		return time.Time{}
	}
	k := &f.reasons[d]
	n := k.kept.Load()
	if n == 0 {
		return time.Time{}
	}
	return k.ring[(n-1)%flightKept].Load().At()
}
