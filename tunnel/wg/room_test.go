package wg

import (
	"testing"
	"testing/synctest"
	"time"
)

func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// A room lets in while there is a place, and no longer.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, began := newRoom(4), time.Now()
		timer := stoppedTimer()
		for range 4 {
			if !r.wait(timer, nil) {
				t.Fatal("a place was not believed")
			}
			r.take(1)
		}
		go r.give(1)
		if !r.wait(timer, nil) || time.Since(began) != 0 {
			t.Errorf("a place that came back was not taken at once, but after %v", time.Since(began))
		}
		r.give(100) // more than there is
		if inUse(r) != 0 {
			t.Errorf("%d places are used", inUse(r))
		}
	})
}

// Places that never come back are given up, after a moment and not before.
func TestRoomGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, began := newRoom(4), time.Now()
		r.take(9)
		r.give(1) // still full
		if r.wait(stoppedTimer(), nil) || time.Since(began) != patience {
			t.Errorf("waited %v", time.Since(began))
		}
		if inUse(r) != 0 {
			t.Errorf("%d places are used", inUse(r))
		}
	})
}

// Whoever waits when all is over is let go.
func TestRoomDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, began, done := newRoom(1), time.Now(), make(chan struct{})
		r.take(1)
		go close(done)
		if !r.wait(stoppedTimer(), done) || time.Since(began) != 0 {
			t.Errorf("waited %v", time.Since(began))
		}
	})
}

// A place that comes back wakes all who wait, not one of them.
func TestRoomWakesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, began, woken := newRoom(4), time.Now(), make(chan bool, 3)
		r.take(4)
		for range cap(woken) {
			go func() { woken <- r.wait(stoppedTimer(), nil) }()
		}
		synctest.Wait()
		r.give(2)
		for range cap(woken) {
			if !<-woken {
				t.Error("gave up")
			}
		}
		if time.Since(began) != 0 {
			t.Errorf("the last one waited %v", time.Since(began))
		}
		r.take(2) // the word of a place that is gone again is not believed
		if r.wait(stoppedTimer(), nil) || time.Since(began) != patience {
			t.Errorf("waited %v", time.Since(began))
		}
	})
}
