package load

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// A histogram counts durations in buckets that are 1/128 of their value wide,
// so a quantile is off by less than 0.8 %. Durations below 128 ns have a
// bucket each. It is written by one goroutine and may be read by another.
//
//	bucket   0 … 127    128 … 255    256 … 383
//	value    0 … 127    128 … 255    256 … 510 in steps of 2, and so on
type histogram struct {
	counts [buckets]atomic.Uint64
	max    atomic.Int64
}

const (
	subBits    = 7
	subBuckets = 1 << subBits
	buckets    = (64 - subBits) * subBuckets
)

// Quantiles summarises a histogram; durations are in nanoseconds.
type Quantiles struct {
	Count         uint64
	P50, P99, Max int64
}

func bucketOf(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return (shift+1)<<subBits + int(v>>shift) - subBuckets
}

// valueOf returns the middle of a bucket.
func valueOf(bucket int) int64 {
	if bucket < subBuckets {
		return int64(bucket)
	}
	shift := bucket>>subBits - 1
	low := uint64(subBuckets+bucket&(subBuckets-1)) << shift
	return int64(low + (uint64(1)<<shift)/2)
}

func (h *histogram) record(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(uint64(d))].Add(1)
	if int64(d) > h.max.Load() {
		h.max.Store(int64(d))
	}
}

// quantile returns the value below or at which the fraction q of all n lies.
func (h *histogram) quantile(q float64, n uint64) int64 {
	rank := uint64(q * float64(n))
	var seen uint64
	for i := range h.counts {
		seen += h.counts[i].Load()
		if seen > rank {
			return min(valueOf(i), h.max.Load())
		}
	}
	return h.max.Load()
}

func (h *histogram) quantiles() Quantiles {
	var n uint64
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	if n == 0 {
		return Quantiles{}
	}
	return Quantiles{Count: n, P50: h.quantile(0.50, n), P99: h.quantile(0.99, n), Max: h.max.Load()}
}

// A recorder is a histogram whose window can be closed from outside.
type recorder struct{ current atomic.Pointer[histogram] }

func newRecorder() *recorder {
	r := new(recorder)
	r.current.Store(new(histogram))
	return r
}

func (r *recorder) record(d time.Duration) { r.current.Load().record(d) }

// take ends the window and begins a new one. A duration that is being recorded
// at this moment may be lost.
func (r *recorder) take() *histogram { return r.current.Swap(new(histogram)) }
