package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"weft/perf/report"
)

// What is run of the micro-benchmarks: the engine's two ways, each case in a
// process of its own, so that where the memory happens to lie changes from run
// to run as it does between the builds.
const (
	microWays = "^Benchmark(Up|Down)$"
	microTime = "100ms" // of a run
	microUnit = "ns/pkt"
)

// micro compares two builds of the engine's benchmarks, with the tap and
// without, case by case in the order A B B A A B B A….
func (r *runner) micro(ctx context.Context) error {
	if r.benches[0] == "" {
		return nil
	}
	for _, path := range r.benches {
		if _, err := os.Stat(path); err != nil {
			r.result.Skipped[microLoad] = err.Error()
			fmt.Fprintf(r.logging, "micro-benchmarks left out: %v\n", err)
			return nil
		}
	}
	cases, err := benchmark(ctx, r.benches[0], microWays, "1x")
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		r.fail("micro-benchmarks: %v", err)
		return nil
	}
	for _, c := range cases {
		m, err := r.alternate(ctx, c.name)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.fail("micro-benchmark %s: %v", c.name, err)
			continue
		}
		r.result.Micro = append(r.result.Micro, m)
		fmt.Fprintf(r.logging, "%-28s with the tap ÷ without: %.3f\n", c.name, report.Summarize(m.Ratios()).Median)
	}
	return nil
}

// alternate measures one case with both builds.
func (r *runner) alternate(ctx context.Context, name string) (report.Micro, error) {
	m := report.Micro{Case: name}
	runs := [2]*[]float64{&m.With, &m.Without}
	for i := range 2 * r.runs {
		build := (i + 1) / 2 % 2 // 0 1 1 0 0 1 1 0 …
		got, err := benchmark(ctx, r.benches[build], exactly(name), microTime)
		switch {
		case err != nil:
			return m, err
		case len(got) != 1 || got[0].name != name:
			return m, fmt.Errorf("%s ran %v, want that case alone", r.benches[build], got)
		}
		*runs[build] = append(*runs[build], got[0].value)
	}
	return m, nil
}

// exactly is the pattern of -test.bench that only the benchmark name matches.
func exactly(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// A timed is one result of a benchmark.
type timed struct {
	name  string
	value float64 // in microUnit
}

// benchmark runs the benchmarks of a test program that match a pattern.
func benchmark(ctx context.Context, program, pattern, length string) ([]timed, error) {
	path, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, "-test.run=^$", "-test.bench="+pattern, "-test.benchtime="+length)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", program, err, bytes.TrimSpace(out))
	}
	list, err := parseBenchmarks(out)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	return list, nil
}

// processors is what the testing package appends to a benchmark's name.
var processors = regexp.MustCompile(`-\d+$`)

// parseBenchmarks reads the form of `go test -bench`, a line per case:
//
//	BenchmarkUp/super-2   1000   16853 ns/op   374.5 ns/pkt   0 B/op
func parseBenchmarks(out []byte) (list []timed, err error) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := processors.ReplaceAllString(fields[0], "")
		found := false
		for i := 2; i+1 < len(fields); i += 2 {
			if fields[i+1] != microUnit {
				continue
			}
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("benchmark %s: %w", name, err)
			}
			list, found = append(list, timed{name, v}), true
		}
		if !found {
			return nil, fmt.Errorf("benchmark %s has no value in %s", name, microUnit)
		}
	}
	if len(list) == 0 {
		err = errors.New("no benchmark ran")
	}
	return list, errors.Join(err, lines.Err())
}
