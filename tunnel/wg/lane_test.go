package wg

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Without a session a few may wait, and one superpacket of any size.
func TestLaneAdmit(t *testing.T) {
	l := newLanes().add(PublicKey{1}, func() {})
	if !l.Admit(2*staged) || l.Admit(1) || l.inside.Load() != 2*staged {
		t.Errorf("%d inside after a superpacket", l.inside.Load())
	}
	if n := l.flushed(); n != 2*staged {
		t.Errorf("%d flushed", n)
	}
	for range staged {
		if !l.Admit(1) {
			t.Fatalf("refused with %d inside", l.inside.Load())
		}
	}
	if l.Admit(1) {
		t.Error("one too many")
	}
	l.left(1) // so there is a session
	for range 10 {
		if !l.Admit(staged) {
			t.Fatal("refused with a session")
		}
	}
	if got, want := l.inside.Load(), int64(staged-1+10*staged); got != want {
		t.Errorf("%d inside, want %d", got, want)
	}
	l.left(1 << 40)
	if l.inside.Load() != 0 {
		t.Errorf("%d inside", l.inside.Load())
	}
}

// A lane that does not move when the reader waits in vain is closed the second
// time, and what is new may try again: the device may hold nothing any more.
func TestLaneStalls(t *testing.T) {
	ls := newLanes()
	a, b, idle := ls.add(PublicKey{1}, func() {}), ls.add(PublicKey{2}, func() {}), ls.add(PublicKey{3}, func() {})
	for _, l := range []*Lane{a, b, idle} {
		l.Admit(1)
		l.left(1)
	}
	a.Admit(300)
	b.Admit(300)
	ls.stalled()
	if !a.open.Load() || !b.open.Load() {
		t.Error("closed at once")
	}
	b.left(1)
	ls.stalled()
	if a.open.Load() || !b.open.Load() || !idle.open.Load() {
		t.Errorf("open: %v %v %v; want only the first closed", a.open.Load(), b.open.Load(), idle.open.Load())
	}
	if !a.Admit(staged) || a.Admit(1) {
		t.Errorf("%d inside, %d stuck: not as many as wait for a session", a.inside.Load(), a.stuck.Load())
	}
	a.left(290) // they were there after all
	if a.stuck.Load() != 10 || a.inside.Load() != staged || !a.open.Load() {
		t.Errorf("%d inside, %d stuck", a.inside.Load(), a.stuck.Load())
	}
	a.left(20)
	if a.stuck.Load() != 0 || a.inside.Load() != staged-10 {
		t.Errorf("%d inside, %d stuck", a.inside.Load(), a.stuck.Load())
	}
	b.open.Store(false)
	b.stuck.Store(5)
	if n := b.flushed(); n != 299+5 {
		t.Errorf("%d flushed", n)
	}
}

// Numbers are small and used again, and 0 is nobody's.
func TestLaneNumbers(t *testing.T) {
	ls := newLanes()
	var all []*Lane
	for i := range 5 {
		all = append(all, ls.add(PublicKey{byte(i), 29: byte(i)}, func() {}))
	}
	check := func() {
		t.Helper()
		if ls.lane(0) != nil || ls.lane(99) != nil || ls.lane(1<<32-1) != nil {
			t.Error("a number that nobody has is somebody's")
		}
		var seen []*Lane
		ls.all(func(l *Lane) { seen = append(seen, l) })
		for _, l := range seen {
			if ls.lane(l.id) != l || l.id == 0 || l.id > 5 {
				t.Errorf("lane %d is not its own", l.id)
			}
		}
		if len(seen) != len(all) {
			t.Errorf("%d lanes, want %d", len(seen), len(all))
		}
	}
	check()
	gone := all[2]
	ls.remove(gone)
	all = slices.Delete(all, 2, 3)
	check()
	if _, ok := ls.byName.Load(gone.strange); ok || ls.lane(gone.id) != nil {
		t.Error("a removed lane is found")
	}
	all = append(all, ls.add(PublicKey{9}, func() {}))
	if all[4].id != gone.id {
		t.Errorf("number %d is not used again, but %d", gone.id, all[4].id)
	}
	check()
}

// One goroutine reads, several send, one adds and removes. For the race
// detector; the sum must be right all the same.
func TestLaneRace(t *testing.T) {
	ls := newLanes()
	l := ls.add(PublicKey{1}, func() {})
	l.left(0)
	var wg sync.WaitGroup
	const each, senders = 1000, 4
	l.Admit(each * senders)
	for range senders {
		wg.Go(func() {
			for range each {
				ls.lane(l.id).left(1)
			}
		})
	}
	wg.Go(func() {
		for i := range 200 {
			ls.remove(ls.add(PublicKey{2, byte(i)}, func() {}))
			l.Admit(0)
		}
	})
	wg.Wait()
	if l.inside.Load() != 0 || l.stuck.Load() != 0 {
		t.Errorf("%d inside, %d stuck", l.inside.Load(), l.stuck.Load())
	}
}

// TestCrowdedLane: without a session no more than staged packets are let in,
// whatever their number, and the peer is called on once a second.
func TestCrowdedLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		knocks := 0
		l := newLanes().add(PublicKey{1}, func() { knocks++ })
		for range 1000 {
			l.Admit(64)
			time.Sleep(10 * time.Millisecond)
		}
		if l.inside.Load() != staged || knocks < 9 || knocks > 11 {
			t.Errorf("%d inside, %d knocks in ten seconds", l.inside.Load(), knocks)
		}
	})
}

// TestCrowdedLanes: many silent peers together hold no more than stagedAll and
// one batch each.
func TestCrowdedLanes(t *testing.T) {
	ls, all := newLanes(), []*Lane{}
	for i := range 100 {
		all = append(all, ls.add(PublicKey{byte(i), 29: byte(i)}, func() {}))
	}
	for range 200 {
		for _, l := range all {
			l.Admit(1)
		}
	}
	if n := ls.waiting(); n < stagedAll || n > stagedAll+int64(len(all)) {
		t.Errorf("%d wait", n)
	}
	all[0].open.Store(true)
	if !all[0].Admit(500) {
		t.Error("a peer with a session is refused")
	}
}

// TestHeard: the first packet tells that a peer answers, once; it tells nothing
// while handshakes go unanswered.
func TestHeard(t *testing.T) {
	told := 0
	l := newLanes().add(PublicKey{1}, func() {})
	l.told = func() { told++ }
	for range 3 {
		l.Heard()
	}
	if told != 1 || !l.open.Load() || l.answers.Load() != sessionHeld {
		t.Errorf("told %d times, open %v", told, l.open.Load())
	}
	l.becomes(sessionTrying)
	if l.Heard(); told != 1 || l.answers.Load() != sessionTrying {
		t.Errorf("told %d times, state %d", told, l.answers.Load())
	}
	new(Lane).Heard()
}
