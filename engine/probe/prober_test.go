package probe

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

// A peer that answers is found alive at once, with its round trip time and the
// path's full size made sure of.
func TestPeerAnswers(t *testing.T) {
	simulate(t, 1, map[string]*link{"b": {delay: 20 * ms}}, func(t *testing.T, w *world) {
		time.Sleep(time.Second)
		s := w.state("b")
		if !s.Alive || s.RTT != 40*ms || s.MinRTT != 40*ms || s.SRTT != 40*ms || s.Answered == 0 {
			t.Errorf("after a second: %+v", s)
		}
		if s.PathMTU != 1450 || s.Limit != 0 || s.Probed.IsZero() || s.Searching {
			t.Errorf("path after a second: %+v", s)
		}
		time.Sleep(10 * time.Minute)
		s = w.state("b")
		if s.Loss != 0 || s.Window != windowSize || s.Sent < 55 || s.Sent > 72 || time.Since(s.LastAnswer) > 12*time.Second {
			t.Errorf("after ten minutes: %+v", s)
		}
		time.Sleep(2 * time.Minute)
		if since := time.Since(w.state("b").Probed); since > 5*time.Minute {
			t.Errorf("path made sure of %v ago", since)
		}
		if got := w.told("b"); !slices.Equal(got, []int{0}) {
			t.Errorf("limits told: %v", got)
		}
	})
}

// A peer that never answers gets fewer and fewer echoes, no large ones, no
// questions and no limit.
func TestPeerSilent(t *testing.T) {
	simulate(t, 2, map[string]*link{"b": {down: true}}, func(t *testing.T, w *world) {
		time.Sleep(time.Hour)
		s := w.state("b")
		if s.Alive || s.Sent < 50 || s.Sent > 80 || s.Loss != 1 || s.FirstTried.IsZero() || !s.LastAnswer.IsZero() {
			t.Errorf("%+v", s)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.limits) > 0 || len(w.news) > 0 || slices.Max(w.bytes["b"]) != 84 {
			t.Errorf("limits %v, news %v, longest %d", w.limits, w.news, slices.Max(w.bytes["b"]))
		}
	})
}

// A peer that goes away is noticed within half a minute, and so is its return.
func TestPeerGoesAndReturns(t *testing.T) {
	simulate(t, 3, map[string]*link{"b": {delay: ms}}, func(t *testing.T, w *world) {
		for range 5 {
			time.Sleep(5 * time.Minute)
			w.change("b", func(l *link) { l.down = true })
			time.Sleep(30 * time.Second)
			if s := w.state("b"); s.Alive {
				t.Errorf("gone for 30 s: %+v", s)
			}
			time.Sleep(5 * time.Minute)
			w.change("b", func(l *link) { l.down = false })
			time.Sleep(12 * time.Second)
			if s := w.state("b"); !s.Alive {
				t.Errorf("back for 12 s: %+v", s)
			}
		}
		var alive []bool
		for _, s := range w.changes("b") {
			if n := len(alive); n == 0 || alive[n-1] != s.Alive {
				alive = append(alive, s.Alive)
			}
		}
		if len(alive) != 11 {
			t.Errorf("told of its coming and going: %v", alive)
		}
		if got := w.told("b"); !slices.Equal(got, []int{0}) {
			t.Errorf("limits told: %v", got)
		}
	})
}

// Hundreds of peers are all probed, without bursts, and no faster than allowed.
func TestManyPeers(t *testing.T) {
	links := map[string]*link{}
	for i := range 700 {
		links[fmt.Sprint(i)] = &link{delay: ms}
	}
	simulate(t, 4, links, func(t *testing.T, w *world) {
		time.Sleep(time.Minute)
		for key := range links {
			if s := w.state(key); !s.Alive || s.PathMTU != 1450 || s.Sent < 5 {
				t.Fatalf("%s: %+v", key, s)
			}
		}
		w.mu.Lock()
		for i := range w.sent {
			if j := i + echoRate; j < len(w.sent) && w.sent[j].Sub(w.sent[i]) < 900*ms {
				t.Fatalf("%d packets in %v", echoRate, w.sent[j].Sub(w.sent[i]))
			}
		}
		w.mu.Unlock()
		time.Sleep(20 * time.Second)
		w.Prober.mu.Lock()
		defer w.Prober.mu.Unlock()
		if n := len(w.flights.of); n > 200 {
			t.Errorf("%d flights are remembered", n)
		}
	})
}

// Set keeps what is known of peers that stay, and forgets the others.
func TestSetByDifference(t *testing.T) {
	simulate(t, 5, map[string]*link{"b": {}, "c": {mtu: 1400}}, func(t *testing.T, w *world) {
		time.Sleep(5 * time.Minute)
		before, targets := w.state("c"), w.targets()
		if before.Limit <= 1400-grain || before.Limit > 1400 {
			t.Fatalf("limit: %+v", before)
		}
		w.Set(targets[1:])
		if _, ok := w.State("b"); ok {
			t.Error("b is still there")
		}
		if after := w.state("c"); after.Sent != before.Sent || after.Limit != before.Limit {
			t.Errorf("c forgotten: %+v", after)
		}
		sent := w.packets("b")
		targets[1].Path = "2" // another way, and a wider one
		w.change("c", func(l *link) { l.mtu = 0 })
		w.Set(targets[1:])
		time.Sleep(time.Second)
		if s := w.state("c"); s.Limit != 0 || s.PathMTU != 1450 || s.Sent <= before.Sent {
			t.Errorf("c on another path: %+v", s)
		}
		targets[1].MTU = 1300 // another device, the same way
		w.Set(targets[1:])
		time.Sleep(time.Second)
		if s := w.state("c"); s.PathMTU != 1300 || s.Window < 3 {
			t.Errorf("c with another MTU: %+v", s)
		}
		targets[1].Alt = b6 // nothing is sent there
		w.Set(targets[1:])
		if s := w.state("c"); s.PathMTU != 1300 {
			t.Errorf("c with another address that may ask: %+v", s)
		}
		if got := w.told("c"); !slices.Equal(got, []int{before.Limit, 0}) {
			t.Errorf("limits told: %v", got)
		}
		for i, s := range w.changes("c") {
			if !s.Alive {
				t.Errorf("change %d: c is said not to answer", i)
			}
		}
		time.Sleep(time.Hour)
		if w.packets("b") != sent {
			t.Error("b is still probed")
		}
		w.Set([]Target{{Key: "x"}, {Key: "y", Src: a4, Dst: b6}})
		if _, ok := w.State("x"); ok {
			t.Error("a target without addresses was taken")
		}
	})
}

// What the data plane says of an echo that cannot leave is shown until one does.
func TestSendError(t *testing.T) {
	refused := errors.New("network is unreachable")
	simulate(t, 6, map[string]*link{"b": {}}, func(t *testing.T, w *world) {
		time.Sleep(time.Second)
		w.change("b", func(l *link) { l.err = refused })
		time.Sleep(time.Minute)
		if s := w.state("b"); s.Alive || s.SendErr != refused {
			t.Errorf("%+v", s)
		}
		w.change("b", func(l *link) { l.err = nil })
		time.Sleep(time.Minute)
		if s := w.state("b"); !s.Alive || s.SendErr != nil {
			t.Errorf("%+v", s)
		}
	})
}
