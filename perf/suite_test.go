package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/perf/lab"
	"weft/perf/meter"
	"weft/perf/plane"
	"weft/perf/report"
)

func suiteOptions(t *testing.T, args ...string) *options {
	t.Helper()
	o, err := parseOptions(append([]string{"-suite=trace"}, args...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestSuite(t *testing.T) {
	o := suiteOptions(t, "-weft=/with", "-weft-notap=/without", "-weft-env=A=1")
	if o.suite != report.TraceSuite || o.leases != 0 || o.base != "" || o.retries != 0 || o.warmup != traceWarmup ||
		o.settle != traceSettle || o.benches[1] != "bin/engine-notap.test" || o.runs != 16 {
		t.Errorf("%+v", o)
	}
	// Both wires, three backends: bulk on four planes, the round trip on two.
	if got, want := o.plannedCells(), o.rounds*2*3*(4*2+2); got != want {
		t.Errorf("%d cells, want %d", got, want)
	}
	for _, s := range o.planes {
		if want := strings.HasSuffix(s.Name, report.NoTap); (s.Options.Program == "/without") != want || len(s.Options.Env) != 1 {
			t.Errorf("%s runs %+v", s.Name, s.Options)
		}
		if (s.Base == "") != slices.Contains(report.TracedPlanes, s.Name) {
			t.Errorf("%s is compared with %q", s.Name, s.Base)
		}
		// The trace of everything has no filter, and is not nil, which would be no trace.
		traced := strings.HasSuffix(s.Name, report.FullTrace) || strings.HasSuffix(s.Name, report.FilterTrace)
		if (s.Trace != nil) != traced || strings.HasSuffix(s.Name, report.FullTrace) && len(s.Trace) != 0 {
			t.Errorf("%s is traced by %q", s.Name, s.Trace)
		}
	}
}

// TestSuiteLeavesTheDefault checks that what is always compared has nothing of
// the suite in it.
func TestSuiteLeavesTheDefault(t *testing.T) {
	o, err := parseOptions(nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.suite != "" || o.benches[0] != "" || o.warmup != 500*time.Millisecond || o.base != plane.KernelVXLAN || o.retries != 1 {
		t.Errorf("%+v", o)
	}
	for _, s := range o.planes {
		if s.Trace != nil || s.Base != "" || s.Options.Program == "bin/weft-notap" {
			t.Errorf("%+v", s)
		}
	}
}

func TestSuiteChoice(t *testing.T) {
	if o := suiteOptions(t, "-only=micro"); o.plannedCells() != 0 || o.benches[0] == "" {
		t.Errorf("-only micro: %d cells, benches %q", o.plannedCells(), o.benches)
	}
	if o := suiteOptions(t, "-only=tcp1", "-wires=gso", "-rounds=1"); o.plannedCells() != 12 || o.benches[0] != "" {
		t.Errorf("-only tcp1: %d cells, benches %q", o.plannedCells(), o.benches)
	}
	if o := suiteOptions(t, "-quick"); o.out != "" || o.rounds != 1 || o.runs != 2 || o.length.Seconds() != traceSeconds {
		t.Errorf("-quick: %+v", o)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-suite=race"}, `"race"`},
		{[]string{"-suite=trace", "-base=routes"}, "-base"},
		{[]string{"-suite=trace", "-leases=3"}, "-leases"},
		{[]string{"-suite=trace", "-plane=x=routes"}, "-plane"},
		{[]string{"-suite=trace", "-planes=routes"}, "routes"},
		{[]string{"-suite=trace", "-only=leases"}, "leases"},
		{[]string{"-suite=trace", "-benches=one"}, `"one"`},
		{[]string{"-suite=trace", "-bench-runs=0"}, "-bench-runs 0"},
		{[]string{"-only=micro"}, "micro"},
	} {
		if _, err := parseOptions(tt.args, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want one with %q", tt.args, err, tt.want)
		}
	}
}

func TestGuests(t *testing.T) {
	r := &runner{}
	host := &bench{spec: plane.Spec{Name: "weft-udp"}, plane: plane.Spec{Kind: plane.Routes}.New(), lab: &lab.Lab{}}
	got, err := r.bench(t.Context(), plane.Spec{Name: "weft-udp-trace", Base: "weft-udp", Trace: []string{}}, lab.WireGSO, []*bench{host})
	if err != nil || got.lab != host.lab || got.plane != host.plane || got.spec.Name != "weft-udp-trace" {
		t.Fatalf("%+v, %v", got, err)
	}
	// Closing the guest leaves the lab to its owner: this one would not survive it.
	if err := got.close(); err != nil {
		t.Error(err)
	}
}

func TestTurn(t *testing.T) {
	a, b := &bench{}, &bench{}
	list := []*bench{a, b}
	suite, usual := &options{suite: report.TraceSuite}, &options{}
	for _, tt := range []struct {
		o     *options
		round int
		first *bench
	}{{suite, 1, a}, {suite, 2, b}, {suite, 3, a}, {usual, 1, a}, {usual, 2, a}} {
		if got := tt.o.turn(list, tt.round); len(got) != 2 || got[0] != tt.first {
			t.Errorf("suite %q, round %d: the wrong plane is first", tt.o.suite, tt.round)
		}
	}
	if list[0] != a {
		t.Error("the list itself was turned")
	}
}

// TestTracedWindow checks what a window tells of those who trace, and that they
// are no strangers.
func TestTracedWindow(t *testing.T) {
	a := &reading{traces: []meter.Process{{User: 1, System: 1}, {User: 2}}}
	b := &reading{traces: []meter.Process{{User: 2, System: 2}, {User: 4}}, at: a.at.Add(2 * time.Second), cpu: meter.CPU{User: 3, Idle: 1}}
	w := difference(a, b)
	if flags := w.flags(); flags != nil {
		t.Errorf("flags %q, with all user time that of the traces", flags)
	}
	if _, told := w.common()[report.TraceShown]; told {
		t.Error("records of a window that nobody traced")
	}
	w.records = &plane.Records{Shown: 30, Lost: 10}
	got := w.common()
	if got[report.TraceShown] != 30 || got[report.TraceLost] != 10 || got[report.TraceLostShare] != 25 || got[report.TraceCores] != 2 {
		t.Errorf("%v", got)
	}
}
