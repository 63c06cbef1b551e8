package probe

import (
	"maps"
	"testing"
	"time"
)

// padded is what a packet of size bytes has in the tunnel to c, as WireGuard
// pads: never above the MTU.
func padded(size int, c *Target) int {
	return min(max(size, c.MTU), (size+c.Pad-1)/c.Pad*c.Pad)
}

// Where packets are padded the longest that passes is found exactly, sizes that
// are padded to the same are tried once, and no limit is one that padding makes
// longer.
func TestSearchPads(t *testing.T) {
	for _, c := range []Target{
		{Dst: b4, MTU: 1420, Overhead: 60, Pad: 16}, {Dst: b4, MTU: 1440, Overhead: 60, Pad: 16}, {Dst: b6, MTU: 1423, Overhead: 80, Pad: 16},
		{Dst: b4, MTU: 8921, Overhead: 60, Pad: 16}, {Dst: b4, MTU: 580, Overhead: 60, Pad: 16}, {Dst: b6, MTU: 1297, Overhead: 80, Pad: 16},
		{Dst: b4, MTU: 1500, Pad: 64},
	} {
		for link := newSearch(&c).base; link <= c.MTU+20; link++ {
			s := newSearch(&c)
			for range 2 { // at first, and when it is confirmed
				tried := map[int]bool{}
				s.start()
				for n := s.size(); n != 0; n = s.size() {
					if at := padded(n, &c); n%c.Pad != 0 && n != c.MTU || tried[at] && s.phase != verify {
						t.Fatalf("%+v, link %d: %d is tried in vain", c, link, n)
					}
					if tried[padded(n, &c)] = true; len(tried) > 16 {
						t.Fatalf("%+v, link %d: no end: %+v", c, link, s)
					}
					if padded(n, &c) <= link {
						s.told(passes)
					} else {
						s.told(fails)
					}
				}
				want := link - link%c.Pad
				if link >= c.MTU {
					want = 0
				}
				if s.limit != want || !s.proven {
					t.Fatalf("%+v, link %d: limit %d, want %d", c, link, s.limit, want)
				}
			}
		}
	}
}

// The same from end to end, and what was found can be asked for as a whole.
func TestLimitsOfPaddedPaths(t *testing.T) {
	links := map[string]*link{"b": {mtu: 1391, pad: 16}, "c": {mtu: 1449, pad: 16}, "d": {pad: 16}, "e": {down: true}}
	simulate(t, 1, links, func(t *testing.T, w *world) {
		targets := w.targets()
		for i := range targets {
			targets[i].Pad, targets[i].Path = 16, "padded"
		}
		w.Set(targets)
		if got := w.Limits(); len(got) != 0 {
			t.Errorf("limits before any search: %v", got)
		}
		time.Sleep(time.Minute)
		for key, want := range map[string]int{"b": 1376, "c": 1440, "d": 1450} {
			if s := w.state(key); s.PathMTU != want || s.Limit != want%1450 {
				t.Errorf("%s: %+v, want %d", key, s, want)
			}
		}
		if got := w.Limits(); !maps.Equal(got, map[string]int{"b": 1376, "c": 1440}) {
			t.Errorf("limits: %v", got)
		}
		w.Set(targets[1:])
		if got := w.Limits(); !maps.Equal(got, map[string]int{"c": 1440}) {
			t.Errorf("limits without b: %v", got)
		}
		w.change("c", func(l *link) { l.mtu = 0 })
		w.Recheck("c")
		time.Sleep(time.Minute)
		if got := w.Limits(); len(got) != 0 {
			t.Errorf("limits when the path is wide again: %v", got)
		}
	})
}
