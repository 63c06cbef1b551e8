package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/perf/report"
)

func TestParseBenchmarks(t *testing.T) {
	got, err := parseBenchmarks([]byte("goos: linux\ncpu: BenchmarkMaker 9000\n" +
		"BenchmarkUp/super-2         \t   10000\t     29363 ns/op\t2177.99 MB/s\t       652.5 ns/pkt\t       2 B/op\n" +
		"BenchmarkDown/64_small_of_8_peers \t 1\t 9 ns/op\t 1e+03 ns/pkt\nPASS\n"))
	want := []timed{{"BenchmarkUp/super", 652.5}, {"BenchmarkDown/64_small_of_8_peers", 1000}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "PASS\n", "BenchmarkUp/super-2 1 5 ns/op 3 B/op\n", "BenchmarkUp/super-2 1 5 ns/op x ns/pkt\n"} {
		if got, err := parseBenchmarks([]byte(bad)); err == nil {
			t.Errorf("%q: %v, want an error", bad, got)
		}
	}
}

func TestExactly(t *testing.T) {
	if got, want := exactly("BenchmarkUp/64_small"), "^BenchmarkUp$/^64_small$"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// player writes a program that plays a test program with two cases: each run
// takes one ns per packet more than all before, and is noted in a log.
func player(t *testing.T, dir, name string) string {
	t.Helper()
	path, log := filepath.Join(dir, name), filepath.Join(dir, "log")
	script := fmt.Sprintf(`#!/bin/sh
echo "%s $*" >>%s
n=$(wc -l <%[2]s)
case "$*" in
*'^64_small$'*) echo "BenchmarkUp/64_small-2 1 1 ns/op $n ns/pkt";;
*'^super$'*) echo "BenchmarkUp/super-2 1 1 ns/op $n ns/pkt";;
*) echo "BenchmarkUp/super-2 1 1 ns/op 5 ns/pkt"; echo "BenchmarkUp/64_small-2 1 1 ns/op 5 ns/pkt";;
esac
`, name, log)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMicro checks that every case runs with both programs in the order
// A B B A A B B A, and that the runs' values go to the right one.
func TestMicro(t *testing.T) {
	dir := t.TempDir()
	r := &runner{options: &options{benches: [2]string{player(t, dir, "A"), player(t, dir, "B")}, runs: 4, logging: io.Discard},
		result: &report.Result{Skipped: map[string]string{}}}
	if err := r.micro(t.Context()); err != nil || len(r.result.Failures) > 0 {
		t.Fatalf("%v, %q", err, r.result.Failures)
	}
	if len(r.result.Micro) != 2 {
		t.Fatalf("%+v", r.result.Micro)
	}
	first := r.result.Micro[0]
	if first.Case != "BenchmarkUp/super" || !slices.Equal(first.With, []float64{2, 5, 6, 9}) || !slices.Equal(first.Without, []float64{3, 4, 7, 8}) {
		t.Errorf("%+v", first)
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	var order []byte
	for line := range strings.Lines(string(log)) {
		order = append(order, line[0])
	}
	if got, want := string(order), "A"+"ABBAABBA"+"ABBAABBA"; got != want {
		t.Errorf("the programs ran in the order %s, want %s", got, want)
	}
}

func TestMicroFails(t *testing.T) {
	dir := t.TempDir()
	failing := filepath.Join(dir, "failing")
	if err := os.WriteFile(failing, []byte("#!/bin/sh\necho broken; exit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		benches [2]string
		failed  bool
		skipped bool
	}{
		{benches: [2]string{}},
		{benches: [2]string{filepath.Join(dir, "none"), failing}, skipped: true},
		{benches: [2]string{failing, failing}, failed: true},
		{benches: [2]string{player(t, dir, "A"), failing}, failed: true},
	} {
		r := &runner{options: &options{benches: tt.benches, runs: 1, logging: io.Discard}, result: &report.Result{Skipped: map[string]string{}}}
		if err := r.micro(t.Context()); err != nil {
			t.Fatal(err)
		}
		if (len(r.result.Failures) > 0) != tt.failed || (r.result.Skipped[microLoad] != "") != tt.skipped || len(r.result.Micro) > 0 {
			t.Errorf("%q: failures %q, skipped %q", tt.benches, r.result.Failures, r.result.Skipped)
		}
		if tt.failed && !strings.Contains(strings.Join(r.result.Failures, ""), "broken") {
			t.Errorf("the failure %q does not say what the program said", r.result.Failures)
		}
	}
}
