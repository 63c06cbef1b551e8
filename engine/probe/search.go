package probe

import (
	"slices"
)

// A search finds the longest packet that passes a path, in the manner of RFC
// 8899. It says which size to try next and is told the outcome; it knows neither
// clocks nor packets.
//
//	         passes                        passes
//	rest ◄───────────── full ◄──────────────────────────────── verify ──► rest
//	 │ ▲                 │ fails                                  ▲  fails: the limit
//	 │ └ every 10 min ─► ├─────────────────┐                      │  is what passed
//	 └───────────────────┘                 ▼                      │
//	                  no limit yet       limit ──passes──┐        │
//	                       │               │ fails       ▼        │ converged on less
//	                       └────► base ◄───┘           halve ─────┤
//	                              │  └─────passes──────►  ▲ │     │ on as much or more
//	       fails: this peer does  ▼                       └─┘     └──► rest
//	       not echo what is long rest
//
// A trial that is unclear ends the search and leaves the limit alone, as does
// one that not even the base size passes: there are no such paths in practice
// (a link of IPv6 carries 1280 bytes), so then it is not the path.
type search struct {
	base, full int   // what is taken to pass; the longest that is ever sent
	pad        int   // all sizes but full are multiples of it
	grain      int   // how far a size above one that passes is tried
	rungs      []int // sizes that are likely, rising, between base and full
	limit      int   // the result so far; 0: none
	lo, hi     int   // lo passes, hi does not, while there is something to find
	phase      phase
	proven     bool // the latest search came to a result
}

type phase uint8

const (
	rest phase = iota
	tryFull
	tryLimit
	tryBase
	halve
	verify
)

const (
	grain = 8 // bytes that the limit may be less than it could be, where nothing is padded

	base4 = 576 // every host takes as much, RFC 791
	base6 = 1280
)

// Lengths of outer packets that links and tunnels in use have: Ethernet, PPPoE,
// tunnels in IPv4 or IPv6, WireGuard, and what people set to be safe.
var commonMTUs = []int{1280, 1380, 1400, 1420, 1480, 1492, 1500}

func newSearch(t *Target) search {
	s := search{base: base4, full: t.MTU, pad: max(1, t.Pad)}
	if t.Dst.Is6() {
		s.base = base6
	}
	s.base = s.whole(s.base)
	s.grain = s.whole(grain + s.pad - 1)
	for _, mtu := range commonMTUs {
		if size := s.whole(mtu - t.Overhead); size > s.base && size < s.full {
			s.rungs = append(s.rungs, size)
		}
	}
	s.rungs = slices.Compact(s.rungs)
	return s
}

// whole is the longest size up to n that is a multiple of the padding. Those
// between it and the next one take as much of the link as the next one.
func (s *search) whole(n int) int { return n - n%s.pad }

// start begins a search, if there is anything to search.
func (s *search) start() {
	if s.full > s.base {
		s.phase, s.lo, s.hi = tryFull, s.base, s.full+1
	}
}

// searching tells whether a size was found not to pass, and what does is being
// looked for.
func (s *search) searching() bool { return s.phase > tryFull }

// size is what is tried next; 0: nothing. It is the same until told is called.
func (s *search) size() int {
	switch s.phase {
	case tryFull, verify:
		return s.full
	case tryLimit:
		return s.limit
	case tryBase:
		return s.base
	case halve:
		return s.between()
	}
	return 0
}

// doubt is how sure a trial must be that the size does not pass.
func (s *search) doubt() float64 {
	if s.phase == verify {
		return doubtless
	}
	return doubtful
}

// between is a size above lo and below hi, which are more than a grain apart.
// What is just above a size that is likely to be the limit settles the matter if
// it is.
func (s *search) between() int {
	if s.lo == s.limit {
		return s.lo + s.grain
	}
	from, _ := slices.BinarySearch(s.rungs, s.lo+1)
	to, _ := slices.BinarySearch(s.rungs, s.hi)
	if from < to {
		return s.rungs[(from+to)/2]
	}
	if slices.Contains(s.rungs, s.lo) {
		return s.lo + s.grain
	}
	return max(s.whole((s.lo+s.hi)/2), s.lo+s.pad)
}

// told moves on by the outcome of a trial of size.
func (s *search) told(o outcome) {
	switch {
	case o == unclear, o == fails && s.phase == tryBase:
		s.proven, s.phase = false, rest
		return
	case o == passes:
		s.lo = s.size()
	case o == fails:
		s.hi = s.size()
	}
	switch {
	case s.lo >= s.full:
		s.found(0)
	case s.phase == verify:
		s.found(s.lo)
	case s.phase == tryFull && s.limit > 0:
		s.phase = tryLimit
	case s.phase == tryFull, s.phase == tryLimit && o == fails:
		s.phase = tryBase
	case s.hi-s.lo > s.grain:
		s.phase = halve
	case s.limit > 0 && s.lo >= s.limit:
		s.found(s.lo)
	default:
		s.phase = verify
	}
}

func (s *search) found(limit int) { s.limit, s.proven, s.phase = limit, true, rest }
