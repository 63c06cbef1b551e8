package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Markdown renders the result: the figures, one table per load and wire, the
// planes' own costs, and where it was measured.
func Markdown(r *Result) string {
	var b strings.Builder
	writeTitle(&b, r)
	writeLimits(&b, r)
	writeFigures(&b, r)
	writeMicro(&b, r)
	for _, table := range Tables {
		for _, wire := range r.wires() {
			if slices.Contains(r.loads(), table.Load) {
				writeTable(&b, r, table, wire)
			}
		}
	}
	writeRecords(&b, r)
	writeCosts(&b, r)
	writeDoubts(&b, r)
	writeEnvironment(&b, r)
	return b.String()
}

// writeTitle says what was measured and how to read it.
func writeTitle(b *strings.Builder, r *Result) {
	title, base := "Measurements", r.Settings.Base
	if r.Settings.Suite == TraceSuite {
		title, base = "Measurements of tracing", "the same plane while nobody traces it"
	}
	fmt.Fprintf(b, "# %s\n\n", title)
	fmt.Fprintf(b, "Medians of %d round(s), windows of %g s after %g s of warm-up; in parentheses the least and the largest.\n"+
		"Ratios are medians of the rounds' ratios to %s. README.md in the folder above tells how to read them.\n",
		r.Settings.Rounds, r.Settings.Seconds, r.Settings.WarmupSeconds, base)
}

// writeLimits says which planes not every load was made on. In the suite that is
// so of most.
func writeLimits(b *strings.Builder, r *Result) {
	if r.Settings.Suite == TraceSuite {
		return
	}
	for _, p := range r.Planes {
		if len(p.Loads) > 0 {
			fmt.Fprintf(b, "On %s only %s were measured, to keep the run short.\n", p.Name, enumerate(p.Loads))
		}
	}
}

// enumerate writes a list as a sentence has it.
func enumerate(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// row writes one line of a table.
func row(b *strings.Builder, cells ...string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

// head writes the head of a table: the first column to the left, the others
// to the right.
func head(b *strings.Builder, cells ...string) {
	row(b, cells...)
	b.WriteString("|---" + strings.Repeat("|---:", len(cells)-1) + "|\n")
}

func writeTable(b *strings.Builder, r *Result, t Table, wire string) {
	fmt.Fprintf(b, "\n## %s (%s)\n\n", t.Title, wire)
	titles := []string{"plane"}
	for _, c := range t.Columns {
		titles = append(titles, c.Title)
		if c.Ratio {
			titles = append(titles, "ratio")
		}
	}
	head(b, titles...)
	for _, p := range r.planesOf(t.Load) {
		cells := []string{p.Name}
		for _, c := range t.Columns {
			cells = append(cells, r.Summary(wire, p.Name, t.Load, c.Key).text(c.Digits))
			if c.Ratio {
				cells = append(cells, r.Ratio(wire, p.Name, cmp.Or(p.Base, r.Settings.Base), t.Load, c.Key).short(2))
			}
		}
		row(b, cells...)
	}
}

// text is the median with its spread.
func (s Summary) text(digits int) string {
	switch s.N {
	case 0:
		return "–"
	case 1:
		return s.short(digits)
	}
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, s.Median, digits, s.Min, digits, s.Max)
}

// short is the median alone.
func (s Summary) short(digits int) string {
	if s.N == 0 {
		return "–"
	}
	return fmt.Sprintf("%.*f", digits, s.Median)
}

// writeCosts shows where the processor time went, and what was dropped.
func writeCosts(b *strings.Builder, r *Result) {
	columns := []Column{
		{UserShare, "user %", 0, false}, {SystemShare, "system %", 0, false}, {SoftIRQShare, "softirq %", 0, false},
		{StealShare, "steal %", 1, false}, {PlaneCores, "plane, cores", 2, false}, {PlaneUser, "of it user %", 0, false},
		{PlaneRSS, "RSS, MiB", 1, false}, {PlanePeak, "peak, MiB", 1, false}, {DeviceDrops, "device drops", 0, false},
		{HostUDPDrops, "host UDP overflows", 0, false}, {PodUDPDrops, "pod UDP overflows", 0, false},
		{FrameBytes, "bytes/frame", 0, false},
	}
	b.WriteString("\n## Where the time went, and the packets\n\n" +
		"Shares of the whole machine's time. Drops are counted in both hosts; pod overflows are the load's own receiver.\n\n")
	titles := []string{"load, wire, plane"}
	for _, c := range columns {
		titles = append(titles, c.Title)
	}
	head(b, titles...)
	for _, load := range r.loads() {
		for _, wire := range r.wires() {
			for _, p := range r.planesOf(load) {
				cells := []string{fmt.Sprintf("%s, %s, %s", load, wire, p.Name)}
				for _, c := range columns {
					cells = append(cells, r.Summary(wire, p.Name, load, c.Key).short(c.Digits))
				}
				row(b, cells...)
			}
		}
	}
}

// writeDoubts lists what went wrong or makes cells doubtful.
func writeDoubts(b *strings.Builder, r *Result) {
	flagged := make(map[string]int)
	for _, c := range r.Cells {
		for _, f := range c.Flags {
			name := strings.TrimRight(f, " %.0123456789")
			flagged[name]++
		}
	}
	b.WriteString("\n## Doubts\n\n")
	if len(flagged)+len(r.Skipped)+len(r.Failures) == 0 {
		b.WriteString("None: no cell was disturbed, nothing failed, nothing was left out.\n")
	}
	for _, name := range slices.Sorted(maps.Keys(flagged)) {
		fmt.Fprintf(b, "- %d of %d cells: %s\n", flagged[name], len(r.Cells), name)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Skipped)) {
		fmt.Fprintf(b, "- plane %s was left out: %s\n", name, r.Skipped[name])
	}
	for _, f := range r.Failures {
		first, _, _ := strings.Cut(f, "\n")
		fmt.Fprintf(b, "- failed: %s\n", first)
	}
}

func writeEnvironment(b *strings.Builder, r *Result) {
	e := r.Environment
	b.WriteString("\n## Where\n\n")
	head(b, "what", "value")
	row(b, "time", e.Time.Format("2006-01-02 15:04 MST"))
	row(b, "commit", orUnknown(e.Commit))
	row(b, "kernel", e.Kernel)
	row(b, "processor", fmt.Sprintf("%s, %d cores", e.CPU, e.Cores))
	row(b, "memory", fmt.Sprintf("%.1f GiB", float64(e.MemoryBytes)/(1<<30)))
	row(b, "Go", e.GoVersion)
	for _, p := range r.Planes {
		row(b, "plane "+p.Name, p.text())
	}
	for _, name := range slices.Sorted(maps.Keys(e.Mitigations)) {
		if state := e.Mitigations[name]; state != "Not affected" {
			row(b, name, state)
		}
	}
}

// text tells the plane's MTU and, if it runs a program, which one and how.
func (p Plane) text() string {
	text := fmt.Sprintf("MTU %d", p.MTU)
	if p.Program != "" {
		text += ", " + strings.Join(slices.Concat([]string{p.Program}, p.Env, p.Args), " ")
	}
	if p.Module != "" {
		text += ", " + p.Module
	}
	if p.Trace != nil {
		text += fmt.Sprintf(", traced by weft trace %q", p.Trace)
	}
	return text
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
