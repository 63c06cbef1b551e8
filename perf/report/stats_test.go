package report

import (
	"math"
	"slices"
	"testing"
)

func TestSummarize(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	tests := []struct {
		name   string
		values []float64
		want   Summary
	}{
		{"none", nil, Summary{}},
		{"one", []float64{3}, Summary{1, 3, 3, 3}},
		{"odd, unsorted", []float64{9, 1, 4}, Summary{3, 4, 1, 9}},
		{"even", []float64{4, 1, 2, 9}, Summary{4, 3, 1, 9}},
		{"not numbers are left out", []float64{nan, 2, inf}, Summary{1, 2, 2, 2}},
	}
	for _, tt := range tests {
		if got := Summarize(tt.values); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestSummarizeKeepsItsInput(t *testing.T) {
	values := []float64{3, 1, 2}
	Summarize(values)
	if !slices.Equal(values, []float64{3, 1, 2}) {
		t.Errorf("input became %v", values)
	}
}

func TestRatios(t *testing.T) {
	of := map[int]float64{1: 6, 2: 8, 3: 5, 4: 1}
	by := map[int]float64{1: 2, 2: 4, 3: 0, 5: 9}
	// Round 3 has a divisor of 0, round 4 none.
	if got, want := Ratios(of, by), []float64{3, 2}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestRatioIsTakenPerRound uses a machine that halves its speed in round 2:
// the medians' ratio would be wrong, each round's is not.
func TestRatioIsTakenPerRound(t *testing.T) {
	r := &Result{}
	for round, speed := range map[int]float64{1: 8, 2: 4, 3: 8} {
		base := speed
		if round == 3 {
			continue // the base failed in this round
		}
		r.Cells = append(r.Cells, cellOf(round, "base", base))
	}
	for round, speed := range map[int]float64{1: 8, 2: 4, 3: 8} {
		r.Cells = append(r.Cells, cellOf(round, "half", speed/2))
	}
	got := r.Ratio("gso", "half", "base", TCP1, Gbps)
	if want := (Summary{2, 0.5, 0.5, 0.5}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if s := r.Summary("gso", "half", TCP1, Gbps); s != (Summary{3, 4, 2, 4}) {
		t.Errorf("summary %+v", s)
	}
}

func cellOf(round int, plane string, gbps float64) Cell {
	return Cell{Round: round, Wire: "gso", Plane: plane, Load: TCP1, Values: map[string]float64{Gbps: gbps}}
}

func TestCellsWithErrorsDoNotCount(t *testing.T) {
	failed := cellOf(1, "base", 3)
	failed.Error = "nothing arrived"
	r := &Result{Cells: []Cell{failed}}
	if s := r.Summary("gso", "base", TCP1, Gbps); s.N != 0 {
		t.Errorf("summary %+v of a failed cell", s)
	}
}

func TestVerdict(t *testing.T) {
	const reached, missed = "reached", "**not reached**"
	tests := []struct {
		value, goal float64
		atMost      bool
		want        string
	}{
		{0.75, 0.75, false, reached},
		{0.80, 0.75, false, reached},
		{0.74, 0.75, false, missed},
		{1.0, 1.0, true, reached},
		{0.9, 1.0, true, reached},
		{1.1, 1.0, true, missed},
	}
	for _, tt := range tests {
		if got := verdict(tt.value, tt.goal, tt.atMost); got != tt.want {
			t.Errorf("verdict(%v, %v, %v) = %q, want %q", tt.value, tt.goal, tt.atMost, got, tt.want)
		}
	}
}

func TestScale(t *testing.T) {
	tests := []struct {
		top, step float64
		ticks     int
	}{
		{0, 1, 1}, {1, 0.2, 5}, {7.9, 1, 8}, {33, 5, 7}, {95, 20, 5}, {0.35, 0.05, 7}, {12345, 2000, 7},
	}
	for _, tt := range tests {
		step, ticks := scale(tt.top)
		if math.Abs(step-tt.step) > 1e-9*tt.step || ticks != tt.ticks {
			t.Errorf("scale(%v) = %v × %d, want %v × %d", tt.top, step, ticks, tt.step, tt.ticks)
		}
		if step*float64(ticks) < tt.top {
			t.Errorf("scale(%v) ends at %v", tt.top, step*float64(ticks))
		}
	}
}
