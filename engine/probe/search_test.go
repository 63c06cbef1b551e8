package probe

import (
	"fmt"
	"net/netip"
	"testing"
)

var (
	a4, b4 = netip.MustParseAddr("10.1.1.0"), netip.MustParseAddr("10.1.2.0")
	a6, b6 = netip.MustParseAddr("fd00:1::"), netip.MustParseAddr("fd00:2::")
)

// settle runs a search on a path that passes up to mtu bytes and returns the
// number of sizes tried.
func settle(t *testing.T, s *search, mtu int) (tries int) {
	t.Helper()
	s.start()
	for size := s.size(); size != 0; size = s.size() {
		if tries++; tries > 40 {
			t.Fatalf("mtu %d: no end: %+v", mtu, s)
		}
		if size <= mtu {
			s.told(passes)
		} else {
			s.told(fails)
		}
	}
	return tries
}

// check holds the result against the path's true MTU.
func (s *search) check(t *testing.T, mtu int) {
	t.Helper()
	got := s.limit
	if got == 0 {
		got = s.full
	}
	if want := min(mtu, s.full); !s.proven || got > want || got <= want-grain {
		t.Errorf("mtu %d, full %d: limit %d, proven %v", mtu, s.full, s.limit, s.proven)
	}
}

func TestSearchFindsEveryMTU(t *testing.T) {
	for _, c := range []Target{
		{Dst: b4, MTU: 1450, Overhead: 50}, {Dst: b4, MTU: 1472, Overhead: 28}, {Dst: b4, MTU: 8950, Overhead: 50},
		{Dst: b6, MTU: 1430, Overhead: 70}, {Dst: b6, MTU: 1285}, {Dst: b4, MTU: 580},
	} {
		most := 0
		for mtu := newSearch(&c).base; mtu <= c.MTU+20; mtu++ {
			s := newSearch(&c)
			most = max(most, settle(t, &s, mtu))
			s.check(t, mtu)
		}
		if most > 17 {
			t.Errorf("%+v: %d sizes tried", c, most)
		}
	}
}

// A path that changes is followed in both directions, from every limit.
func TestSearchFollows(t *testing.T) {
	c := Target{Dst: b4, MTU: 1450, Overhead: 50}
	for first := base4; first <= 1460; first += 7 {
		for second := base4; second <= 1460; second += 11 {
			s := newSearch(&c)
			settle(t, &s, first)
			settle(t, &s, second)
			s.check(t, second)
		}
	}
}

// The MTUs of links in use are found exactly, and soon.
func TestSearchKnowsCommonMTUs(t *testing.T) {
	for _, outer := range commonMTUs {
		s := newSearch(&Target{Dst: b4, MTU: 1550, Overhead: 50})
		tries := settle(t, &s, outer-50)
		if s.limit != outer-50 {
			t.Errorf("outer %d: limit %d", outer, s.limit)
		}
		if tries > 7 {
			t.Errorf("outer %d: %d sizes tried", outer, tries)
		}
	}
}

// An unchanged path costs one size if it has no limit, and three if it has.
func TestSearchConfirmsCheaply(t *testing.T) {
	for mtu, want := range map[int]int{2000: 1, 1350: 3, 1000: 3} {
		s := newSearch(&Target{Dst: b4, MTU: 1450, Overhead: 50})
		settle(t, &s, mtu)
		before := s.limit
		if got := settle(t, &s, mtu); got != want || s.limit != before {
			t.Errorf("mtu %d: %d sizes tried, limit %d, then %d", mtu, got, before, s.limit)
		}
	}
}

// A peer that does not echo what is long is not behind a narrow path.
func TestSearchLeavesDeafPeersAlone(t *testing.T) {
	for mtu := range base4 {
		s := newSearch(&Target{Dst: b4, MTU: 1450, Overhead: 50})
		settle(t, &s, mtu)
		if s.limit != 0 || s.proven {
			t.Fatalf("mtu %d: limit %d, proven %v", mtu, s.limit, s.proven)
		}
	}
}

// What is unclear, at any point, changes nothing.
func TestSearchUnclear(t *testing.T) {
	for _, before := range []int{2000, 1300} {
		for stop := 1; ; stop++ {
			s := newSearch(&Target{Dst: b4, MTU: 1450, Overhead: 50})
			settle(t, &s, before)
			was := s.limit
			s.start()
			for i := 1; i < stop && s.phase != rest; i++ {
				o := fails
				if s.size() <= 1000 {
					o = passes
				}
				s.told(o)
			}
			if s.phase == rest {
				break
			}
			s.told(unclear)
			if s.limit != was || s.proven || s.searching() {
				t.Errorf("before %d, stop %d: %+v", before, stop, s)
			}
		}
	}
}

// A narrow device has no path that is narrower.
func TestSearchNothing(t *testing.T) {
	for _, c := range []Target{{Dst: b4, MTU: 576}, {Dst: b6, MTU: 1280}, {Dst: b4}} {
		s := newSearch(&c)
		if settle(t, &s, 0) != 0 || s.limit != 0 {
			t.Errorf("%+v: %+v", c, s)
		}
	}
}

func ExampleTarget() {
	s := newSearch(&Target{Dst: b4, MTU: 1450, Overhead: 50})
	s.start()
	for s.phase != rest { // a path of 1360 bytes
		fmt.Print(s.size(), " ")
		if s.size() <= 1360 {
			s.told(passes)
		} else {
			s.told(fails)
		}
	}
	fmt.Println("→", s.limit)
	// Output: 1450 576 1370 1330 1350 1358 1364 1450 → 1358
}
