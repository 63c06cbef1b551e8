package trace

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func open(t *testing.T, o Options) *Session {
	t.Helper()
	s, err := new(Hub).Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// hand hands in a record, without asking.
func (s *Session) hand() {
	r := sample()
	s.Deliver(AppendFrame(nil, FrameRecord, r.Append(nil)), 1)
}

// records is how many there are in frames.
func records(t *testing.T, frames []byte) (n uint64) {
	t.Helper()
	for r := NewReader(bytes.NewReader(frames)); ; n++ {
		if _, err := r.Next(); err == io.EOF {
			return n
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// What waits for the reader survives Close, once; nothing is wanted after it.
func TestSessionClose(t *testing.T) {
	s := open(t, Options{})
	for range 3 {
		if !s.Wants() {
			t.Fatal("an open session does not want a packet")
		}
		s.hand()
	}
	s.Deliver(make([]byte, buffered), 5)
	s.Close()
	if s.Wants() {
		t.Error("a closed session wants a packet")
	}
	for _, want := range []struct{ records, lost uint64 }{{3, 5}, {0, 0}} {
		frames, lost, done := s.Next(t.Context(), nil)
		if n := records(t, frames); n != want.records || lost != want.lost || done != "closed" {
			t.Errorf("%d records, %d lost, %q, want %+v", n, lost, done, want)
		}
	}
}

// The end, whichever it is, comes behind what a loop has been asked for.
func TestSessionEndWaitsForLoops(t *testing.T) {
	for want, o := range map[string]Options{"closed": {}, "count reached": {Count: 2}, "time is over": {For: time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, o)
			s.Wants()
			s.Wants()
			s.hand()
			var n uint64
			var over bool
			go func() {
				for done := ""; done == ""; {
					var frames []byte
					frames, _, done = s.Next(context.Background(), nil)
					n += records(t, frames)
					if done != "" && done != want {
						t.Errorf("the end is %q, want %q", done, want)
					}
				}
				over = true
			}()
			time.Sleep(2 * time.Second)
			if want == "closed" {
				s.Close()
			}
			synctest.Wait()
			if over {
				t.Errorf("%s: ended before the second record came", want)
			}
			s.hand()
			synctest.Wait()
			if !over || n != 2 {
				t.Errorf("%s: over %v with %d records, want 2", want, over, n)
			}
		})
	}
}

// Whenever the session is closed under loops at work, each packet that was wanted
// is told of.
func TestSessionTellsAll(t *testing.T) {
	for range 50 {
		s := open(t, Options{})
		const loops = 4
		var wanted [loops]uint64
		var running sync.WaitGroup
		for i := range wanted {
			running.Go(func() {
				for s.Wants() {
					wanted[i]++
					s.hand()
				}
			})
		}
		var told uint64
		for turn, done := 0, ""; done == ""; turn++ {
			var frames []byte
			var lost uint64
			if turn == 1 {
				go s.Close()
			}
			frames, lost, done = s.Next(t.Context(), nil)
			told += records(t, frames) + lost
		}
		running.Wait()
		var all uint64
		for _, n := range wanted {
			all += n
		}
		if told != all {
			t.Fatalf("told of %d packets, %d were wanted", told, all)
		}
	}
}

// Of a batch that is longer than all the room there is, the first records are
// told and the others counted.
func TestSessionLongBatch(t *testing.T) {
	s := open(t, Options{Snaplen: MaxSnaplen})
	var frames []byte
	const n = 256
	body := make([]byte, fixed+MaxSnaplen)
	for range n {
		if !s.Wants() {
			t.Fatal("an open session does not want a packet")
		}
		frames = AppendFrame(frames, FrameRecord, body)
	}
	for range 2 { // the second time there is not even room for one
		s.Deliver(frames, n)
	}
	got, lost, _ := s.Next(t.Context(), nil)
	want := uint64(buffered / (5 + len(body)))
	if told := records(t, got); told != want || lost != 2*n-want {
		t.Errorf("%d records and %d lost, want %d of %d", told, lost, want, 2*n)
	}
	if all := s.hub.Lost(); all != lost {
		t.Errorf("%d lost in all, want %d", all, lost)
	}
}

// What a loop hands in late counts too, and the number never goes back.
func TestHubLost(t *testing.T) {
	var h Hub
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for last := uint64(0); ; {
			now := h.Lost()
			if now < last {
				t.Errorf("%d lost after %d", now, last)
				return
			}
			last = now
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	const sessions = 500
	tooMuch := make([]byte, buffered+1)
	for range sessions {
		s, err := h.Open(Options{})
		if err != nil {
			t.Fatal(err)
		}
		s.Deliver(tooMuch, 2)
		s.Close()
		s.Deliver(tooMuch, 1)
	}
	close(stop)
	reader.Wait()
	if n := h.Lost(); n != 3*sessions {
		t.Errorf("%d lost, want %d", n, 3*sessions)
	}
}
