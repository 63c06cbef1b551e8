package report

import (
	"math"
	"slices"
)

// A Summary is the middle and the spread of some values.
type Summary struct {
	N                int
	Median, Min, Max float64
}

// Summarize returns the summary of values; N is 0 when there are none. Values
// that are not numbers are left out. The median of an even number of values
// is the mean of the two in the middle.
func Summarize(values []float64) Summary {
	sorted := make([]float64, 0, len(values))
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			sorted = append(sorted, v)
		}
	}
	slices.Sort(sorted)
	n := len(sorted)
	if n == 0 {
		return Summary{}
	}
	median := sorted[n/2]
	if n%2 == 0 {
		median = (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return Summary{N: n, Median: median, Min: sorted[0], Max: sorted[n-1]}
}

// Ratios divides values of one plane by those of another, round by round.
// Rounds that one of them lacks, and rounds with a divisor of 0, are left out.
func Ratios(of, by map[int]float64) []float64 {
	var ratios []float64
	for _, round := range sortedKeys(of) {
		if divisor, ok := by[round]; ok && divisor != 0 {
			ratios = append(ratios, of[round]/divisor)
		}
	}
	return ratios
}

func sortedKeys(m map[int]float64) []int {
	keys := make([]int, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
