package wg

import (
	"math"
	"testing"
	"time"
)

// A feed judges one datagram every millisecond and tells when it was to be
// dropped.
type feed struct {
	c   codel
	now time.Time
}

func newFeed() *feed { return &feed{now: time.Unix(1_700_000_000, 0)} }

func (f *feed) wait(waited, lasting time.Duration) (drops []time.Duration) {
	for begin := f.now; f.now.Sub(begin) < lasting; f.now = f.now.Add(time.Millisecond) {
		if f.c.judge(waited, f.now) {
			drops = append(drops, f.now.Sub(begin))
		}
	}
	return drops
}

func TestCodelLeavesShortQueuesAlone(t *testing.T) {
	f := newFeed()
	if d := f.wait(codelTarget-1, 10*time.Second); d != nil {
		t.Errorf("dropped at %v although nothing waited too long", d)
	}
	for range 100 { // bursts that pass within an interval
		if d := f.wait(50*codelTarget, codelInterval); d != nil {
			t.Fatalf("dropped at %v of a burst", d)
		}
		if d := f.wait(0, time.Millisecond); d != nil {
			t.Fatalf("dropped at %v after a burst", d)
		}
	}
}

// TestCodelDropsMoreAndMore: while a queue stands, the n-th drop comes
// interval/√n after the one before it (RFC 8289 section 4.3).
func TestCodelDropsMoreAndMore(t *testing.T) {
	f := newFeed()
	d := f.wait(2*codelTarget, time.Second)
	if len(d) < 80 || d[0] != codelInterval {
		t.Fatalf("%d drops, the first after %v, want many and one after %v", len(d), d[0], codelInterval)
	}
	due := codelInterval
	for n := 1; n < 80; n++ { // later drops are due at less than the feed's steps
		due += time.Duration(float64(codelInterval) / math.Sqrt(float64(n)))
		if late := d[n] - due; late < 0 || late >= time.Millisecond {
			t.Fatalf("drop %d after %v, want it due at %v", n+1, d[n], due)
		}
	}
}

// TestCodelRemembers: once the queue was short, a new one is given an interval
// again; if it comes soon, drops begin at the rate that was right before, if
// late, anew.
func TestCodelRemembers(t *testing.T) {
	for _, tc := range []struct {
		pause time.Duration
		soon  bool
	}{{codelInterval, true}, {100 * codelInterval, false}} {
		f := newFeed()
		f.wait(2*codelTarget, time.Second)
		if d := f.wait(0, tc.pause); d != nil {
			t.Fatalf("dropped at %v while nothing waited", d)
		}
		d := f.wait(2*codelTarget, 2*codelInterval)
		if len(d) == 0 || d[0] != codelInterval {
			t.Fatalf("after a pause of %v dropped at %v, want the first after %v", tc.pause, d, codelInterval)
		}
		if many := len(d) > 2; many != tc.soon {
			t.Errorf("after a pause of %v %d drops within an interval of the first", tc.pause, len(d))
		}
	}
}

// TestCodelLeavesSparseTrafficAlone: one datagram now and then is no queue, even
// on a machine that takes long to wake up.
func TestCodelLeavesSparseTrafficAlone(t *testing.T) {
	f := newFeed()
	for gap := time.Second; gap < 200*time.Second; gap *= 2 {
		f.now = f.now.Add(gap)
		f.c.empty()
		if f.c.judge(2*codelTarget, f.now) {
			t.Errorf("dropped %v after the one before it", gap)
		}
	}
}
