package report

import (
	"fmt"
	"slices"
	"strings"
)

// TraceSuite is the selection of planes and loads that shows what tracing costs.
const TraceSuite = "trace"

// TracedPlanes are the planes of the suite without a trace. Those which are
// compared with them bear their names and one of the endings below.
var TracedPlanes = []string{"weft-udp", "weft-vxlan", "weft-wireguard"}

// The endings.
const (
	NoTap       = "-notap"  // cannot be traced
	FilterTrace = "-filter" // traced with a filter that matches nothing
	FullTrace   = "-trace"  // every packet is traced
)

// The goals of the suite, as ratios to the same without.
const (
	microGoal  = 1.01 // time of a benchmark, tap ÷ no tap, at most
	filterGoal = 0.9
	fullGoal   = 0.5
)

// A Micro is a case of the micro-benchmarks, run by turns with two builds in the
// order With Without Without With With….
type Micro struct {
	Case    string
	With    []float64 // the tap, ns per packet, in the order of the runs
	Without []float64 // the same
}

// Ratios divides each run with the tap by the neighbouring one without.
func (m Micro) Ratios() (ratios []float64) {
	for i := range min(len(m.With), len(m.Without)) {
		ratios = append(ratios, m.With[i]/m.Without[i])
	}
	return ratios
}

// Noise divides neighbouring runs of one build by each other: what Ratios would
// be if the builds did not differ.
func (m Micro) Noise() (ratios []float64) {
	for i := 1; i < len(m.Without); i += 2 {
		ratios = append(ratios, m.Without[i-1]/m.Without[i])
	}
	for i := 2; i < len(m.With); i += 2 {
		ratios = append(ratios, m.With[i-1]/m.With[i])
	}
	return ratios
}

// middle returns the values between which the middle half of values lies.
func middle(values []float64) (low, high float64) {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0, 0
	}
	quarter := len(sorted) / 4
	return sorted[quarter], sorted[len(sorted)-1-quarter]
}

// halfText is the median with the middle half.
func halfText(values []float64) string {
	if len(values) == 0 {
		return "–"
	}
	low, high := middle(values)
	return fmt.Sprintf("%.3f (%.3f–%.3f)", Summarize(values).Median, low, high)
}

// writeTraceFigures writes the rows of the table of goals.
func writeTraceFigures(b *strings.Builder, r *Result) {
	for _, m := range r.Micro {
		ratios := m.Ratios()
		row(b, "time of "+m.Case+", tap ÷ no tap", "–", fmt.Sprintf("≤ %g", microGoal), halfText(ratios),
			verdict(Summarize(ratios).Median, microGoal, true))
	}
	for _, wire := range r.wires() {
		for _, base := range r.untraced() {
			for _, load := range []Figure{{Title: "TCP 1 stream", Load: TCP1, Key: Gbps}, {Title: "UDP 64 B packets/s", Load: UDP64, Key: Kpps}} {
				writeTraceRatios(b, r, load, wire, base)
			}
			idle := r.Ratio(wire, base+FullTrace, base, RR, P50)
			row(b, fmt.Sprintf("request-response p50, %s, every packet traced ÷ no trace", base), wire, "–", idle.text(2), "–")
		}
	}
}

// untraced lists the planes of the run without a trace.
func (r *Result) untraced() (names []string) {
	for _, p := range r.Planes {
		if slices.Contains(TracedPlanes, p.Name) {
			names = append(names, p.Name)
		}
	}
	return names
}

// writeTraceRatios writes the rows of one load, wire and plane.
func writeTraceRatios(b *strings.Builder, r *Result, f Figure, wire, base string) {
	s := r.Ratio(wire, base, base+NoTap, f.Load, f.Key)
	row(b, fmt.Sprintf("%s, %s, tap ÷ no tap", f.Title, base), wire, "noise", s.text(2), noise(s))
	for _, traced := range []struct {
		ending, what string
		goal         float64
	}{
		{FilterTrace, "trace that matches nothing ÷ no trace", filterGoal},
		{FullTrace, "every packet traced ÷ no trace", fullGoal},
	} {
		s, result := r.Ratio(wire, base+traced.ending, base, f.Load, f.Key), "not measured"
		if s.N > 0 {
			result = verdict(s.Median, traced.goal, false)
		}
		row(b, fmt.Sprintf("%s, %s, %s", f.Title, base, traced.what), wire, fmt.Sprintf("≥ %g", traced.goal), s.text(2), result)
	}
}

// noise says whether a ratio shows no loss: 1 is not above all rounds' ratios.
func noise(s Summary) string {
	switch {
	case s.N == 0:
		return "not measured"
	case s.Max >= 1:
		return "reached"
	}
	return "**not reached**"
}

// writeMicro writes the table of the micro-benchmarks.
func writeMicro(b *strings.Builder, r *Result) {
	if len(r.Micro) == 0 {
		return
	}
	b.WriteString("\n## The engine alone, with the tap and without\n\n" +
		"Nobody traces. Runs of the two builds by turns, A B B A; ratios of neighbouring runs, in parentheses the middle half\n" +
		"of them. Same build: ratios of neighbouring runs of one build, which is what the machine does by itself.\n\n")
	head(b, "benchmark", "runs of each", "tap, ns/packet", "no tap, ns/packet", "tap ÷ no tap", "same build")
	for _, m := range r.Micro {
		row(b, m.Case, fmt.Sprint(len(m.With)), Summarize(m.With).text(1), Summarize(m.Without).text(1),
			halfText(m.Ratios()), halfText(m.Noise()))
	}
}

// writeRecords says what those came to who traced.
func writeRecords(b *strings.Builder, r *Result) {
	var rows [][]string
	columns := []Column{{TraceShown, "shown", 0, false}, {TraceLost, "lost", 0, false}, {TraceLostShare, "lost, %", 1, false},
		{TraceCores, "weft trace, cores", 2, false}}
	for _, load := range r.loads() {
		for _, wire := range r.wires() {
			for _, p := range r.planesOf(load) {
				if r.Summary(wire, p.Name, load, TraceShown).N == 0 {
					continue
				}
				cells := []string{fmt.Sprintf("%s, %s, %s", load, wire, p.Name)}
				for _, c := range columns {
					cells = append(cells, r.Summary(wire, p.Name, load, c.Key).text(c.Digits))
				}
				rows = append(rows, cells)
			}
		}
	}
	if len(rows) == 0 {
		return
	}
	b.WriteString("\n## Records of the traces\n\n" +
		"Of both nodes together, from before the warm-up to the end of the load; a record is a packet or superpacket at one\n" +
		"node. weft trace writes pcapng to the null device. Lost is what did not fit the node's buffer because the command was\n" +
		"behind; the packets themselves passed.\n\n")
	titles := []string{"load, wire, plane"}
	for _, c := range columns {
		titles = append(titles, c.Title)
	}
	head(b, titles...)
	for _, cells := range rows {
		row(b, cells...)
	}
}
