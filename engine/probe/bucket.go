package probe

import "time"

// A bucket lets through rate events a second, and burst in a row (token bucket).
type bucket struct {
	rate, burst float64
	tokens      float64
	last        time.Time
}

func newBucket(rate, burst float64) bucket { return bucket{rate: rate, burst: burst, tokens: burst} }

// take tells whether an event may happen now, and counts it if so.
func (b *bucket) take(now time.Time) bool {
	if b.wait(now) > 0 {
		return false
	}
	b.tokens--
	return true
}

// wait is the time until an event may happen; 0: now.
func (b *bucket) wait(now time.Time) time.Duration {
	if !b.last.IsZero() {
		b.tokens = min(b.burst, b.tokens+max(0, now.Sub(b.last).Seconds())*b.rate)
	}
	b.last = now
	if b.tokens >= 1 {
		return 0
	}
	// Rounded up, so that who waits this long finds a whole token.
	return time.Duration((1-b.tokens)/b.rate*float64(time.Second)) + time.Microsecond
}
