package report

import (
	"slices"
	"strings"
	"testing"
)

func TestMicroRatios(t *testing.T) {
	m := Micro{With: []float64{10, 12, 12, 8}, Without: []float64{5, 4, 4, 8}}
	if got, want := m.Ratios(), []float64{2, 3, 3, 1}; !slices.Equal(got, want) {
		t.Errorf("ratios %v, want %v", got, want)
	}
	// Neighbours of one build: Without 0 and 1, 2 and 3; With 1 and 2.
	if got, want := m.Noise(), []float64{1.25, 0.5, 1}; !slices.Equal(got, want) {
		t.Errorf("noise %v, want %v", got, want)
	}
}

func TestMiddle(t *testing.T) {
	for _, tt := range []struct {
		values    []float64
		low, high float64
	}{{nil, 0, 0}, {[]float64{4}, 4, 4}, {[]float64{9, 1}, 1, 9}, {[]float64{8, 1, 2, 3, 4, 5, 6, 7}, 3, 6}} {
		if low, high := middle(tt.values); low != tt.low || high != tt.high {
			t.Errorf("%v: %v to %v, want %v to %v", tt.values, low, high, tt.low, tt.high)
		}
	}
}

// traced is a run of the suite over one wire: the full trace takes half, and the
// build without the tap is in one of two rounds a little slower.
func traced() *Result {
	r := sample()
	r.Settings = Settings{Rounds: 2, Seconds: 1, Suite: TraceSuite}
	r.Memory, r.Cells = nil, nil
	r.Micro = []Micro{
		{Case: "BenchmarkUp/super", With: []float64{100, 101}, Without: []float64{100, 100}},
		{Case: "BenchmarkDown/super", With: []float64{110, 110}, Without: []float64{100, 100}},
	}
	r.Planes = []Plane{{Name: "weft-udp", MTU: 1472}}
	for ending, speeds := range map[string][]float64{"": {10, 10}, NoTap: {9, 12}, FilterTrace: {8, 9}, FullTrace: {5, 6}} {
		name := "weft-udp" + ending
		if ending != "" {
			r.Planes = append(r.Planes, Plane{Name: name, Base: "weft-udp"})
		}
		for i, v := range speeds {
			c := cellOf(i+1, name, v)
			if ending == FullTrace {
				c.Values[TraceShown], c.Values[TraceLost], c.Values[TraceLostShare] = 900, 100, 10
			}
			r.Cells = append(r.Cells, c)
		}
	}
	return r
}

func TestTraceMarkdown(t *testing.T) {
	text := Markdown(traced())
	for _, want := range []string{
		"# Measurements of tracing\n",
		"| time of BenchmarkUp/super, tap ÷ no tap | – | ≤ 1.01 | 1.005 (1.000–1.010) | reached |\n",
		"| time of BenchmarkDown/super, tap ÷ no tap | – | ≤ 1.01 | 1.100 (1.100–1.100) | **not reached** |\n",
		"| TCP 1 stream, weft-udp, tap ÷ no tap | gso | noise | 0.97 (0.83–1.11) | reached |\n",
		"| TCP 1 stream, weft-udp, trace that matches nothing ÷ no trace | gso | ≥ 0.9 | 0.85 (0.80–0.90) | **not reached** |\n",
		"| TCP 1 stream, weft-udp, every packet traced ÷ no trace | gso | ≥ 0.5 | 0.55 (0.50–0.60) | reached |\n",
		"| UDP 64 B packets/s, weft-udp, every packet traced ÷ no trace | gso | ≥ 0.5 | – | not measured |\n",
		"| BenchmarkUp/super | 2 | 100.5 (100.0–101.0) | 100.0 (100.0–100.0) | 1.005 (1.000–1.010) | 1.000 (1.000–1.000) |\n",
		"| weft-udp-filter | 8.50 (8.00–9.00) | 0.85 |",
		"| tcp1, gso, weft-udp-trace | 900 (900–900) | 100 (100–100) | 10.0 (10.0–10.0) | – |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing: %s", want)
		}
	}
	for _, unwanted := range []string{"resident memory", "kernel-vxlan", "NaN"} {
		if strings.Contains(text, unwanted) {
			t.Errorf("unwanted: %s", unwanted)
		}
	}
	// A plane that nobody traced has no row among the records, only among the costs.
	if n := strings.Count(text, "| tcp1, gso, weft-udp-notap |"); n != 1 {
		t.Errorf("weft-udp-notap has %d rows, want 1", n)
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestNoise(t *testing.T) {
	for _, tt := range []struct {
		s    Summary
		want string
	}{
		{Summary{}, "not measured"},
		{Summary{3, 0.99, 0.95, 1.01}, "reached"},
		{Summary{3, 1.2, 1.1, 1.3}, "reached"},
		{Summary{3, 0.9, 0.85, 0.95}, "**not reached**"},
	} {
		if got := noise(tt.s); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.s, got, tt.want)
		}
	}
}

// TestUsualReportHasNoSuite checks that a report of what is always compared is
// not changed by what belongs to the suite.
func TestUsualReportHasNoSuite(t *testing.T) {
	text := Markdown(sample())
	for _, unwanted := range []string{"Records of the traces", "The engine alone", "tap"} {
		if strings.Contains(text, unwanted) {
			t.Errorf("unwanted: %s", unwanted)
		}
	}
}
