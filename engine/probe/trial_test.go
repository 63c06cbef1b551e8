package probe

import (
	"math/rand/v2"
	"testing"
)

// run lets a trial come to its end on a path that loses small and large echoes
// with these probabilities, which were the same before.
func run(r *rand.Rand, small, large, doubt float64) (outcome, int) {
	lost := 0
	for range windowSize {
		if r.Float64() < small {
			lost++
		}
	}
	t := trial{doubt: doubt}
	for {
		if o := t.judge(windowSize, lost); o != open {
			return o, t.large
		}
		if t.next(r.Uint32()&1 == 0) {
			if r.Float64() >= large {
				return passes, t.large
			}
		} else if r.Float64() >= small {
			t.answered++
		}
	}
}

// On a path without loss a black hole is known after four pairs; the surer
// verdict takes two more.
func TestTrialBlackHole(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for doubt, want := range map[float64]int{doubtful: 4, doubtless: 6} {
		if o, n := run(r, 0, 1, doubt); o != fails || n != want {
			t.Errorf("doubt %g: outcome %d after %d pairs, want %d", doubt, o, n, want)
		}
	}
}

// A path that loses 36 % of all echoes, a fifth each way, is not taken for a
// black hole but once in more than a thousand trials; twice in a row, of which
// the second is surer, comes to nothing.
func TestTrialRandomLoss(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const trials = 200_000
	for _, doubt := range []float64{doubtful, doubtless} {
		wrong := 0
		for range trials {
			if o, _ := run(r, 0.36, 0.36, doubt); o == fails {
				wrong++
			}
		}
		t.Logf("doubt %g: %d of %d", doubt, wrong, trials)
		if allowed := doubt * 10 * trials; float64(wrong) > allowed {
			t.Errorf("doubt %g: %d of %d trials fail what passes, more than %g", doubt, wrong, trials, allowed)
		}
	}
}

// A black hole behind the same loss is found nearly always.
func TestTrialBlackHoleAndLoss(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	found, pairs := 0, 0
	for range 1000 {
		o, n := run(r, 0.36, 1, doubtful)
		if o == fails {
			found++
		}
		pairs += n
	}
	t.Logf("%d of 1000 found, %d pairs on average", found, pairs/1000)
	if found < 980 {
		t.Errorf("%d of 1000 black holes found", found)
	}
}

// When nothing comes back it is not the size.
func TestTrialDeadPeer(t *testing.T) {
	if o, n := run(rand.New(rand.NewPCG(7, 8)), 1, 1, doubtful); o != unclear || n != deafPairs {
		t.Errorf("outcome %d after %d pairs", o, n)
	}
}

// Pairs are pairs, and their order is the coin's but for the first.
func TestTrialOrder(t *testing.T) {
	var tr trial
	var got []bool
	for range 3 {
		got = append(got, tr.next(false), tr.next(true))
	}
	want := []bool{true, false, false, true, false, true}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("large: %v, want %v", got, want)
		}
	}
}
