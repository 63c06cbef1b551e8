package contact

import (
	"context"
	"math/rand/v2"
	"time"
)

// A Backoff is a wait between tries that doubles from Min to Max. Each wait is
// drawn from its upper half, so that nodes that failed together do not come
// back together.
type Backoff struct {
	Min, Max time.Duration
	next     time.Duration
}

// Retry is the backoff for a store that does not answer; flannel's figures.
func Retry() Backoff { return Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second} }

// Race is the backoff after a race for a subnet was lost.
func Race() Backoff { return Backoff{Min: 5 * time.Millisecond, Max: 500 * time.Millisecond} }

// Reset starts again from Min.
func (b *Backoff) Reset() { b.next = 0 }

// Wait waits; it reports false if ctx ended.
func (b *Backoff) Wait(ctx context.Context) bool {
	d := max(b.next, b.Min)
	b.next = min(2*d, b.Max)
	return Sleep(ctx, d/2+rand.N(d/2+1))
}

// Sleep waits for d; it reports false if ctx ended.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
