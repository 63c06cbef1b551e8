package trace

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"weft/encap"
)

// The latest records of each reason are kept, the oldest first, and are copies.
func TestFlightKeeps(t *testing.T) {
	var f Flight
	snap := make([]byte, flightSnap+1)
	for i := range 2*flightKept + 5 {
		for d := range encap.Drop(2) {
			snap[0] = byte(i)
			f.Keep(&Record{ID: uint64(i), Time: int64(10*i) + int64(d), Drop: encap.Delivered + 1 + d, Snap: snap})
		}
	}
	all := f.Records()
	if len(all) != 2*flightKept {
		t.Fatalf("%d records, want %d of each reason", len(all), flightKept)
	}
	for n := range all {
		want, r := flightKept+5+n/2, f.Records()[n]
		if r.ID != uint64(want) || r.Drop != encap.Delivered+1+encap.Drop(n%2) || len(r.Snap) != flightSnap || r.Snap[0] != byte(want) {
			t.Fatalf("record %d: %+v", n, r)
		}
		r.Snap[0]++ // the caller's
	}
	if at := f.Latest(encap.Delivered + 1); !at.Equal(time.Unix(0, 10*(2*flightKept+4))) {
		t.Errorf("the latest is of %v", at)
	}
	if at := f.Latest(encap.Delivered + 3); !at.IsZero() {
		t.Errorf("the latest of a reason without records is of %v", at)
	}
}

// Whoever reads waits for no loop, so no loop waits for who reads: all is told
// while every lock is taken.
func TestFlightReadsWithoutLock(t *testing.T) {
	var f Flight
	f.Keep(&Record{ID: 7, Time: 1, Drop: encap.Delivered + 1})
	for i := range f.reasons {
		f.reasons[i].mu.Lock()
	}
	if all := f.Records(); len(all) != 1 || all[0].ID != 7 || f.Latest(all[0].Drop).IsZero() {
		t.Errorf("%+v", all)
	}
}

// Records are whole while loops put in others.
func TestFlightAtOnce(t *testing.T) {
	var f Flight
	var loops sync.WaitGroup
	for range 2 {
		loops.Go(func() {
			for i := range 2000 {
				f.Wants(encap.Delivered+1, time.Unix(int64(i), 0))
				f.Keep(&Record{ID: uint64(i), Time: 1, Drop: encap.Delivered + 1, Snap: bytes.Repeat([]byte{byte(i)}, 100)})
			}
		})
	}
	for range 500 {
		for _, r := range f.Records() {
			if !bytes.Equal(r.Snap, bytes.Repeat([]byte{byte(r.ID)}, 100)) {
				t.Fatalf("record %d: % x", r.ID, r.Snap)
			}
		}
		f.Latest(encap.Delivered + 1)
	}
	loops.Wait()
}
