package probe

import (
	"math"
	"slices"
	"testing"
	"time"
)

// within tells whether limit is what was to be found out about a path of mtu
// bytes.
func within(limit, mtu int) bool { return limit <= mtu && limit > mtu-grain }

// Black holes of every kind of width are found within a minute of the first
// answer; what is told are the limits and nothing before.
func TestPathBlackHole(t *testing.T) {
	for i, mtu := range []int{576, 577, 700, 1000, 1229, 1330, 1350, 1351, 1369, 1400, 1430, 1442, 1449} {
		simulate(t, uint64(i), map[string]*link{"b": {mtu: mtu, delay: 30 * ms}}, func(t *testing.T, w *world) {
			time.Sleep(time.Minute)
			s := w.state("b")
			told := w.told("b")
			if !within(s.Limit, mtu) || s.PathMTU != s.Limit || s.Searching || len(told) != 1 || told[0] != s.Limit {
				t.Errorf("mtu %d: told %v, %+v", mtu, told, s)
			}
			if !slices.ContainsFunc(w.changes("b"), func(s State) bool { return s.Searching }) {
				t.Errorf("mtu %d: the search was not told of", mtu)
			}
		})
	}
}

// What cannot even leave is known without waiting.
func TestPathRefused(t *testing.T) {
	simulate(t, 1, map[string]*link{"b": {local: 1392, delay: ms}}, func(t *testing.T, w *world) {
		time.Sleep(time.Second)
		if s := w.state("b"); !within(s.Limit, 1392) || s.Searching || s.SendErr != nil {
			t.Errorf("%+v", s)
		}
	})
}

// A path that becomes narrower, then wider, is followed, and Recheck makes it
// quicker.
func TestPathChanges(t *testing.T) {
	simulate(t, 2, map[string]*link{"b": {delay: 5 * ms}}, func(t *testing.T, w *world) {
		time.Sleep(time.Minute)
		for _, mtu := range []int{1350, 900, 1100, 1500, 600, 1449, 0} {
			w.change("b", func(l *link) { l.mtu = mtu })
			time.Sleep(12 * time.Minute)
			s := w.state("b")
			if full := mtu == 0 || mtu >= 1450; full && s.Limit != 0 || !full && !within(s.Limit, mtu) {
				t.Errorf("mtu %d: %+v", mtu, s)
			}
		}
		w.change("b", func(l *link) { l.mtu = 1200 })
		w.Recheck("b")
		time.Sleep(time.Minute)
		if s := w.state("b"); !within(s.Limit, 1200) {
			t.Errorf("after a recheck: %+v", s)
		}
		w.Recheck("nobody")
	})
}

// No loss by chance, up to a fifth of the packets each way, is taken for a
// limit: 50 paths, four hours each.
func TestPathRandomLoss(t *testing.T) {
	for seed := range uint64(10) {
		loss := 0.05 * float64(seed%5)
		links := map[string]*link{"b": {loss: loss, delay: 10 * ms}, "c": {loss: loss, delay: 200 * ms},
			"d": {loss: loss}, "e": {loss: loss, delay: 50 * ms}, "f": {loss: loss, delay: ms}}
		simulate(t, seed, links, func(t *testing.T, w *world) {
			time.Sleep(4 * time.Hour)
			for key := range links {
				for _, limit := range w.told(key) {
					if limit != 0 {
						t.Errorf("seed %d, %s, loss %g: limit %d", seed, key, loss, limit)
					}
				}
				known := 1 - (1-loss)*(1-loss)
				s := w.state(key)
				if s.PathMTU == 0 && !s.Searching || time.Since(s.Probed) > 30*time.Minute {
					t.Errorf("seed %d, %s, loss %g: %+v", seed, key, loss, s)
				}
				if got := 1 - float64(s.Answered)/float64(s.Sent); math.Abs(got-known) > 0.1 {
					t.Errorf("seed %d, %s: lost %g, want about %g", seed, key, got, known)
				}
			}
		}, func(o *Options) { o.Interval = 30 * time.Second })
	}
}

// Black holes behind random loss are found as well. By chance a size that
// passes may be given up once in a while, which costs a few bytes until the next
// search; what does not pass is never taken to.
func TestPathBlackHoleAndLoss(t *testing.T) {
	exact := 0
	for seed := range uint64(20) {
		simulate(t, seed, map[string]*link{"b": {mtu: 1300, loss: 0.01 * float64(seed), delay: 20 * ms}}, func(t *testing.T, w *world) {
			time.Sleep(25 * time.Minute)
			s := w.state("b")
			if s.Limit > 1300 || s.Limit < 1200 {
				t.Errorf("seed %d: %+v", seed, s)
			}
			if within(s.Limit, 1300) {
				exact++
			}
		})
	}
	if exact < 14 {
		t.Errorf("%d of 20 limits are the best", exact)
	}
}

// A peer that answers nothing long is not behind a narrow path; one that
// answers at a limited rate is not either.
func TestPathOddPeers(t *testing.T) {
	for seed := range uint64(3) {
		links := map[string]*link{
			"deaf": {deaf: 128, delay: ms},
			"1/s":  {every: time.Second, delay: ms}, "2/s": {every: 500 * ms, delay: ms},
			"1/3s": {every: 3 * time.Second, delay: ms}, "1/8s": {every: 8 * time.Second, delay: ms},
			"1/20s": {every: 20 * time.Second, delay: ms},
		}
		simulate(t, seed, links, func(t *testing.T, w *world) {
			time.Sleep(2 * time.Hour)
			for key := range links {
				if s := w.state(key); s.Limit != 0 || s.Answered == 0 {
					t.Errorf("%s: %+v", key, s)
				}
				for _, limit := range w.told(key) {
					if limit != 0 {
						t.Errorf("%s: limit %d", key, limit)
					}
				}
			}
		})
	}
}

// A path that goes down in the midst of a search is not blamed on the size.
func TestPathOutage(t *testing.T) {
	for at := range 40 {
		simulate(t, uint64(at), map[string]*link{"b": {mtu: 1250, delay: ms}}, func(t *testing.T, w *world) {
			time.Sleep(time.Duration(at) * 900 * ms)
			w.change("b", func(l *link) { l.down = true })
			time.Sleep(2 * time.Minute)
			w.change("b", func(l *link) { l.down = false })
			time.Sleep(2 * time.Minute)
			if s := w.state("b"); !within(s.Limit, 1250) {
				t.Errorf("outage after %d·0.9 s: %+v", at, s)
			}
			for _, limit := range w.told("b") {
				if !within(limit, 1250) {
					t.Errorf("outage after %d·0.9 s: told %d", at, limit)
				}
			}
		})
	}
}
