package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// print writes what a reader wants of a run: what failed and why, what was
// skipped and why, and a table.
func (r *report) print(w io.Writer) {
	for _, s := range r.steps {
		for _, f := range s.failures {
			if f.said == "" && s.ended {
				continue // it failed with its subtests, who say why
			}
			fmt.Fprintf(w, "\n%s: FAIL %s %s\n%s\n", r.series, s.name, f.test, f.said)
		}
		if s.err != "" {
			fmt.Fprintf(w, "\n%s: FAIL %s: %s\n", r.series, s.name, s.err)
		}
	}
	fmt.Fprintf(w, "\nkernel %s: %s\n", r.series, r.headline())
	if r.err != nil {
		fmt.Fprintf(w, "  stopped: %v\n", r.err)
	}
	fmt.Fprintf(w, "  modules   %s\n", r.moduleList())
	for _, b := range slices.Sorted(maps.Keys(r.features)) {
		fmt.Fprintf(w, "  features  %s: %s\n", b, r.features[b])
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "passed\tfailed\tskipped\tseconds\t  \t")
	for _, s := range r.steps {
		fmt.Fprintf(t, "%d\t%d\t%d\t%.0f\t  %s\n", s.passed, s.failed, s.skipped, s.seconds, s.name+s.remark())
	}
	t.Flush()
	for _, s := range r.steps {
		for _, f := range s.skips {
			fmt.Fprintf(w, "  skipped %s %s: %s\n", s.name, f.test, lastLine(f.said))
		}
	}
}

func (r *report) headline() string {
	if r.release == "" {
		return "did not boot"
	}
	return fmt.Sprintf("%s booted in %s, all of it took %s", r.release, r.boot.Round(100*time.Millisecond), r.whole.Round(time.Second))
}

func (r *report) moduleList() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(r.modules)) {
		if why := r.modules[name]; why != "" {
			name = "no " + name + " (" + why + ")"
		}
		list = append(list, name)
	}
	return strings.Join(list, ", ")
}

func (s *result) remark() string {
	switch {
	case !s.ended:
		return " (did not end)"
	case s.err != "":
		return " (failed)"
	}
	return ""
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
