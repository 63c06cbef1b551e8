package probe

import "math"

// An outcome is what a trial came to.
type outcome uint8

const (
	open    outcome = iota // goes on
	passes                 // an echo of the size was answered
	fails                  // the size does not pass, in all likelihood
	unclear                // too little is answered to tell
)

// A trial finds out whether packets of one size pass. Echoes of that size, the
// large ones, are sent in pairs with small ones, one by one and in random order
// within the pair, until a large one is answered or chance can no longer explain
// that none is:
//
//	large ✗  small ✓ │ small ✓  large ✗ │ large ✗  small ✗ │ …
//
// With p the share of small echoes that are lost, n large ones are lost by
// chance with the probability pⁿ. The trial fails the size when that is below
// doubt. p is taken as the worse of two estimates: from the small echoes of the
// trial, which notice when things are bad at present, and from the latest echoes
// in general, of which there are more. A path without loss takes four pairs, one
// that loses every fifth packet each way about nine. Where echoes are answered
// at a limited rate, either one of a pair is, and the order being random the
// large one is within a few pairs.
type trial struct {
	size     int
	doubt    float64
	large    int  // sent
	small    int  // sent
	answered int  // of small
	largeNow bool // the order of this pair
}

const (
	leastPairs = 3  // RFC 8899 has MAX_PROBES = 3
	mostPairs  = 24 // then it is unclear
	deafPairs  = 6  // no small echo of so many answered: the peer is gone

	doubtful  = 2e-4 // of a step of the search
	doubtless = 1e-6 // before a limit is set
)

// next tells whether the next echo is a large one, and counts it. coin is random.
func (t *trial) next(coin bool) (large bool) {
	if t.large == t.small {
		t.largeNow = coin || t.large == 0 // mostly all is well, and the first echo shows it
	}
	if large = t.largeNow == (t.large == t.small); large {
		t.large++
	} else {
		t.small++
	}
	return large
}

// judge is called before each echo, when the one before it has had its time.
// known and lost are of the latest echoes in general.
func (t *trial) judge(known, lost int) outcome {
	n := t.large
	if t.small != n || n < leastPairs {
		return open
	}
	// Half an echo more is taken for lost than was: none lost of a few is no
	// proof of a perfect path.
	p := max(share(n-t.answered, n), share(lost, known))
	switch {
	case t.answered == 0 && n >= deafPairs, n >= mostPairs:
		return unclear
	case t.answered >= 2 && math.Pow(p, float64(n)) < t.doubt:
		return fails
	}
	return open
}

func share(lost, of int) float64 { return (float64(lost) + 0.5) / (float64(of) + 1) }
