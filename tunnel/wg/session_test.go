package wg

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/replay"
)

// A window knows of each counter what the device's own filter does.
func TestWindow(t *testing.T) {
	const never = 1<<64 - 1<<13 - 1 // RejectAfterMessages
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		var w window
		var f replay.Filter
		for top := uint64(0); top < 1<<17; {
			var c uint64
			switch rnd.IntN(10) {
			case 0:
				c = top + 1 + rnd.Uint64N(20000) // further than the window is long
			case 1, 2, 3:
				c = top - min(top, rnd.Uint64N(windowBits+200))
			case 4:
				c = top - min(top, windowBits-2+rnd.Uint64N(5)) // at its end
			default:
				c = top + rnd.Uint64N(3)
			}
			used := w.used(c)
			if fresh := f.ValidateCounter(c, never); fresh == used {
				t.Fatalf("seed %d: counter %d with %d the highest: used %v, the device takes it: %v", seed, c, top, used, fresh)
			} else if fresh {
				w.mark(c)
			}
			top = max(top, c)
		}
	}
}

// The highest counters there are do no harm.
func TestWindowEnd(t *testing.T) {
	var w window
	for _, c := range []uint64{0, 1, 1<<64 - 1, 1<<64 - 2, 1<<64 - 1 - windowBits} {
		if w.used(c) {
			t.Errorf("%d is used", c)
		}
		w.mark(c)
		if !w.used(c) {
			t.Errorf("%d is not used", c)
		}
	}
	if !w.used(0) || !w.used(1<<64-2-windowBits) || w.used(1<<64-3) {
		t.Error("the window is not where it should be")
	}
}

// What comes out says what did not.
func TestSessionCame(t *testing.T) {
	var s session
	s.handed.Store(10)
	for _, step := range []struct{ ord, lost, done uint64 }{
		{0, 0, 0}, {11, 0, 0}, {1 << 63, 0, 0}, {1, 0, 1}, {2, 0, 1}, {5, 2, 3}, {5, 0, 0}, {3, 0, 0}, {10, 4, 5}, {11, 0, 0},
	} {
		if lost, done := s.came(step.ord); lost != step.lost || done != step.done {
			t.Errorf("number %d: %d lost, %d done; want %d and %d", step.ord, lost, done, step.lost, step.done)
		}
	}
}

func offered(id uint32) []byte {
	return binary.LittleEndian.AppendUint32([]byte{typeInitiation, 0, 0, 0}, id)
}

// What was in the device when settle looked last, and is still, is lost.
func TestSettle(t *testing.T) {
	var ss sessions
	now := time.Now()
	ss.offer(offered(1), now)
	ss.offer(offered(2), now)
	a, b := ss.find(1), ss.find(2)
	a.handed.Store(5)
	b.handed.Store(1)
	if n := ss.settle(); n != 0 {
		t.Errorf("%d lost, which has just entered", n)
	}
	a.came(3)
	b.came(1)
	a.handed.Store(7)
	if n := ss.settle(); n != 2 { // 4 and 5
		t.Errorf("%d lost, want 2", n)
	}
	if lost, done := a.came(5); lost != 0 || done != 0 {
		t.Errorf("counted twice: %d %d", lost, done)
	}
	if lost, done := a.came(7); lost != 1 || done != 2 {
		t.Errorf("%d lost, %d done; want 1 and 2", lost, done)
	}
	for range 2 {
		if n := ss.settle(); n != 0 {
			t.Errorf("%d lost, want none", n)
		}
	}
}

// Sessions are forgotten when no message can be for them any more.
func TestSessionsAge(t *testing.T) {
	var ss sessions
	if ss.find(1) != nil {
		t.Error("found in nothing")
	}
	now := time.Now()
	for i := range 10000 {
		ss.offer(offered(uint32(i)), now.Add(time.Duration(i)*time.Second))
	}
	if n, most := len(ss.byID), int((sessionLife+sessionLife/20)/time.Second)+2; n > most {
		t.Errorf("%d sessions are kept, want at most %d", n, most)
	}
	if ss.find(9999) == nil || ss.find(9999-180) == nil || ss.find(9000) != nil {
		t.Error("not those that are of use")
	}
	last := ss.find(9999)
	last.handed.Store(3)
	ss.offer(offered(9999), now.Add(1e4*time.Second))
	if ss.find(9999).handed.Load() != 0 {
		t.Error("a new session goes on where another one of its index ended")
	}
}
