package load

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketsAreInOrderAndNarrow(t *testing.T) {
	for _, v := range []uint64{0, 1, 127, 128, 129, 255, 256, 257, 1000, 12345, 1 << 20, 1<<40 + 12345, math.MaxInt64} {
		bucket := bucketOf(v)
		if bucket < 0 || bucket >= buckets {
			t.Fatalf("%d is in bucket %d of %d", v, bucket, buckets)
		}
		middle := float64(valueOf(bucket))
		if off := math.Abs(middle-float64(v)) / max(float64(v), 1); off > 1.0/subBuckets {
			t.Errorf("%d is counted as %.0f, off by %.2f %%", v, middle, 100*off)
		}
		if v > 0 && bucketOf(v-1) > bucket {
			t.Errorf("bucket of %d is above that of %d", v-1, v)
		}
	}
}

// TestEveryBucketIsItsOwn checks that the middle of a bucket lies in it.
func TestEveryBucketIsItsOwn(t *testing.T) {
	for bucket := range bucketOf(math.MaxInt64) {
		if got := bucketOf(uint64(valueOf(bucket))); got != bucket {
			t.Fatalf("the middle of bucket %d, %d, is in bucket %d", bucket, valueOf(bucket), got)
		}
	}
}

func TestQuantilesAgainstSorting(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h histogram
	var values []int64
	for range 20000 {
		v := int64(math.Exp(random.NormFloat64() + 10)) // some 22 µs, with a long tail
		values = append(values, v)
		h.record(time.Duration(v))
	}
	slices.Sort(values)
	q := h.quantiles()
	if q.Count != 20000 || q.Max != values[len(values)-1] {
		t.Errorf("count %d, largest %d, want 20000 and %d", q.Count, q.Max, values[len(values)-1])
	}
	for _, c := range []struct {
		name      string
		got, want int64
	}{{"p50", q.P50, values[10000]}, {"p99", q.P99, values[19800]}} {
		if off := math.Abs(float64(c.got-c.want)) / float64(c.want); off > 0.01 {
			t.Errorf("%s: %d, want %d", c.name, c.got, c.want)
		}
	}
}

func TestQuantilesOfFew(t *testing.T) {
	var empty histogram
	if q := empty.quantiles(); q != (Quantiles{}) {
		t.Errorf("of nothing: %+v", q)
	}
	var one histogram
	one.record(1000)
	if q := one.quantiles(); q.Count != 1 || q.P99 != q.P50 || q.P50 > 1000 || q.P50 < 990 || q.Max != 1000 {
		t.Errorf("of 1000 ns alone: %+v", q)
	}
	var backwards histogram
	backwards.record(-5)
	if q := backwards.quantiles(); q.Count != 1 || q.P50 != 0 {
		t.Errorf("of a clock that went back: %+v", q)
	}
}

func TestRecorderClosesItsWindow(t *testing.T) {
	r := newRecorder()
	r.record(10)
	if n := r.take().quantiles().Count; n != 1 {
		t.Errorf("first window has %d values, want 1", n)
	}
	if n := r.take().quantiles().Count; n != 0 {
		t.Errorf("second window has %d values, want 0", n)
	}
}
