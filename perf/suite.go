package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"weft/perf/plane"
	"weft/perf/report"
)

// The suite "trace" measures what it costs to be able to trace, and to trace:
//
//	weft-udp          nobody traces
//	weft-udp-notap    a weft that cannot be traced, built with the tag weft_notap
//	weft-udp-filter   weft trace on both nodes, with a filter that matches nothing
//	weft-udp-trace    weft trace on both nodes, every packet
//
// and the same for the other backends. The planes that are traced use the lab
// and the processes of the one that is not, so that the trace is all that
// differs.

// microLoad is what -only calls the micro-benchmarks.
const microLoad = "micro"

// traceLoads are the loads of the suite.
var traceLoads = append(slices.Clone(bulk), report.RR)

// Lengths of the suite's cells.
const (
	traceSeconds = 0.5
	traceWarmup  = 250 * time.Millisecond
	traceSettle  = 500 * time.Millisecond
)

// matchesNothing is a filter that looks at addresses and ports of every packet
// and wants none.
const matchesNothing = "host 192.0.2.99 and tcp port 1"

// traceSpecs lists the planes of the suite, those without a trace first.
func traceSpecs(programs plane.Programs) []plane.Spec {
	var specs []plane.Spec
	for _, kind := range report.TracedPlanes {
		with, without := programs[plane.Weft], programs[plane.WeftNoTap]
		specs = append(specs,
			plane.Spec{Name: kind, Kind: kind, Options: with, Loads: traceLoads},
			plane.Spec{Name: kind + report.NoTap, Kind: kind, Options: without, Base: kind, Loads: bulk},
			plane.Spec{Name: kind + report.FilterTrace, Kind: kind, Options: with, Base: kind, Loads: bulk, Trace: []string{matchesNothing}},
			plane.Spec{Name: kind + report.FullTrace, Kind: kind, Options: with, Base: kind, Loads: traceLoads, Trace: []string{}},
		)
	}
	return specs
}

// presetTrace sets the flags that were not given to what the suite takes.
func (w *words) presetTrace(given map[string]bool) error {
	if w.suite != report.TraceSuite {
		return fmt.Errorf("-suite %q: want %s", w.suite, report.TraceSuite)
	}
	for _, name := range []string{"plane", "base", "leases", "wireguard-go"} {
		if given[name] {
			return fmt.Errorf("-%s does not go with -suite %s", name, w.suite)
		}
	}
	// The suite is to take no more than six minutes, whatever else runs: a
	// doubtful window stays in, marked as such.
	if !given["seconds"] {
		w.seconds = traceSeconds
	}
	if !given["retries"] {
		w.retries = 0
	}
	if !given["settle"] {
		w.settle = traceSettle
	}
	return nil
}

// chooseMicro decides whether the micro-benchmarks are made.
func (o *options) chooseMicro(w *words) error {
	if o.suite != report.TraceSuite || o.named && !slices.Contains(strings.Split(w.only, ","), microLoad) {
		return nil
	}
	with, without, ok := strings.Cut(w.benches, ",")
	if !ok || with == "" || without == "" {
		return fmt.Errorf("-benches %q: want the paths of two test programs, with a comma between", w.benches)
	}
	o.benches, o.runs = [2]string{with, without}, w.runs
	return nil
}
