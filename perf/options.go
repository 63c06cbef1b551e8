package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"weft/perf/lab"
	"weft/perf/plane"
	"weft/perf/report"
)

// options are the settings of a run.
type options struct {
	rounds   int
	length   time.Duration // measured time of a cell
	warmup   time.Duration // before it
	retries  int           // of a disturbed cell
	settle   time.Duration // how long a cell may wait for the machine to be quiet
	planes   []plane.Spec
	wires    []lab.Wire
	loads    []loadKind
	leases   int // of the memory measurement; 0 for none
	programs plane.Programs
	suite    string    // "" for what is always compared, or report.TraceSuite
	benches  [2]string // programs of the micro-benchmarks: with the tap, without; "" for none
	runs     int       // of each of their cases with each of the two
	base     string    // plane that ratios are taken against
	out      string    // folder of the results; "" for standard output only
	hold     bool      // lay the labs and wait
	asked    bool      // the planes were named by the user
	named    bool      // the loads were named by the user
	logging  io.Writer // progress
	tables   io.Writer // the results as Markdown
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// words are the flags as they were written.
type words struct {
	quick                   bool
	suite                   string
	seconds                 float64
	planes, wires, only     string
	env, arg, variants      list
	rounds, leases, retries int
	weft, wireguard, noTap  string
	benches                 string
	runs                    int
	base, out               string
	settle                  time.Duration
	hold                    bool
}

func parseOptions(args []string, stderr io.Writer) (*options, error) {
	var w words
	fs := flag.NewFlagSet("perf", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.BoolVar(&w.quick, "quick", false, "1 round of 2 s windows, no files: a first look")
	fs.StringVar(&w.suite, "suite", "", "`trace`: what tracing costs, in place of the planes that are always compared")
	fs.IntVar(&w.rounds, "rounds", 3, "how often everything is measured")
	fs.Float64Var(&w.seconds, "seconds", 3, "length of a measured window")
	fs.StringVar(&w.planes, "planes", "", "comma-separated planes (default: all)")
	fs.StringVar(&w.wires, "wires", "", "comma-separated wires: gso, wire (default: both)")
	fs.StringVar(&w.only, "only", "", "comma-separated loads: "+strings.Join(loadNames(), ", ")+", leases (default: all,\nbut on planes of WireGuard and of two kinds of hosts only some)")
	fs.StringVar(&w.weft, "weft", "bin/weft", "the weft binary")
	fs.StringVar(&w.wireguard, "wireguard-go", "bin/wireguard-go", "the stock wireguard-go binary")
	fs.StringVar(&w.noTap, "weft-notap", "bin/weft-notap", "the weft binary without the tap, for -suite trace")
	fs.StringVar(&w.benches, "benches", "bin/engine.test,bin/engine-notap.test", "the test programs of package engine with the tap and\nwithout, for -suite trace")
	fs.IntVar(&w.runs, "bench-runs", 16, "how often they run each case, for -suite trace")
	fs.Var(&w.env, "weft-env", "`K=V` for the environment of weft; repeatable")
	fs.Var(&w.arg, "weft-arg", "`flag` for weft up; repeatable")
	fs.Var(&w.variants, "plane", "one more plane, `NAME=KIND,weft:PATH,wireguard-go:PATH,env:K=V,arg:FLAG`; repeatable")
	fs.StringVar(&w.base, "base", plane.KernelVXLAN, "the plane that ratios are taken against")
	fs.IntVar(&w.leases, "leases", report.MemoryLeases, "leases of the memory measurement, 0 for none")
	fs.StringVar(&w.out, "out", "perf/results", "folder for results (with -quick none, unless given)")
	fs.IntVar(&w.retries, "retries", 1, "how often a disturbed cell is measured again")
	fs.DurationVar(&w.settle, "settle", 2*time.Second, "how long a cell waits for other programs to be quiet")
	fs.BoolVar(&w.hold, "hold", false, "lay the labs, say their names, wait for Ctrl-C, measure nothing")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return w.options(given, stderr)
}

// options checks the words and makes options of them.
func (w *words) options(given map[string]bool, logging io.Writer) (*options, error) {
	if err := w.presets(given); err != nil {
		return nil, err
	}
	if w.runs < 1 {
		return nil, fmt.Errorf("-bench-runs %d: want at least 1", w.runs)
	}
	if w.rounds < 1 || w.seconds < 0.1 || w.leases < 0 || w.leases > 1<<15 || w.retries < 0 {
		return nil, fmt.Errorf("-rounds %d -seconds %g -leases %d -retries %d: want at least 1, 0.1, 0 (at most 32768) and 0",
			w.rounds, w.seconds, w.leases, w.retries)
	}
	o := &options{
		rounds: w.rounds, length: time.Duration(w.seconds * float64(time.Second)),
		warmup: 500 * time.Millisecond, retries: w.retries, settle: w.settle, leases: w.leases,
		programs: plane.Programs{
			plane.Weft:        {Program: w.weft, Env: w.env, Args: w.arg},
			plane.WireGuardGo: {Program: w.wireguard},
			plane.WeftNoTap:   {Program: w.noTap, Env: w.env, Args: w.arg},
		},
		suite: w.suite, base: w.base, out: w.out, hold: w.hold, asked: w.planes != "", named: w.only != "",
		logging: logging, tables: os.Stdout,
	}
	if o.suite == report.TraceSuite {
		o.warmup, o.base = traceWarmup, ""
	}
	for _, err := range []error{o.choosePlanes(w), o.chooseWires(w.wires), o.chooseLoads(w.only), o.chooseMicro(w)} {
		if err != nil {
			return nil, err
		}
	}
	return o, nil
}

// presets sets the flags that were not given to what -quick and -suite stand for.
func (w *words) presets(given map[string]bool) error {
	set := func(name string, to func()) {
		if !given[name] {
			to()
		}
	}
	if w.suite != "" {
		if err := w.presetTrace(given); err != nil {
			return err
		}
	}
	if w.quick {
		set("rounds", func() { w.rounds = 1 })
		if w.suite == "" {
			set("seconds", func() { w.seconds = 2 })
		}
		set("bench-runs", func() { w.runs = 2 })
		set("out", func() { w.out = "" })
	}
	return nil
}

// choosePlanes takes the planes that -planes names out of all there are.
func (o *options) choosePlanes(w *words) error {
	all := plane.Default(o.programs)
	if o.suite == report.TraceSuite {
		all = traceSpecs(o.programs)
	}
	for _, text := range w.variants {
		s, err := plane.ParseSpec(text, o.programs)
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	byName := make(map[string]plane.Spec)
	var names []string
	for _, s := range all {
		if _, twice := byName[s.Name]; twice {
			return fmt.Errorf("-plane %s: there is a plane of this name", s.Name)
		}
		byName[s.Name] = s
		names = append(names, s.Name)
	}
	chosen, err := choose("-planes", w.planes, names)
	for _, name := range chosen {
		o.planes = append(o.planes, byName[name])
	}
	return err
}

func (o *options) chooseWires(words string) error {
	var names []string
	for _, w := range lab.Wires() {
		names = append(names, string(w))
	}
	chosen, err := choose("-wires", words, names)
	for _, name := range chosen {
		o.wires = append(o.wires, lab.Wire(name))
	}
	return err
}

func (o *options) chooseLoads(words string) error {
	const leases = "leases"
	names := append(loadNames(), leases)
	if o.suite == report.TraceSuite {
		names = append(slices.Clone(traceLoads), microLoad)
	}
	chosen, err := choose("-only", words, names)
	if !slices.Contains(chosen, leases) {
		o.leases = 0
	}
	for _, kind := range loadKinds {
		if slices.Contains(chosen, kind.name) {
			o.loads = append(o.loads, kind)
		}
	}
	return err
}

// choose splits words and checks them against names; no words mean all names.
func choose(flag, words string, names []string) ([]string, error) {
	if words == "" {
		return names, nil
	}
	chosen := strings.Split(words, ",")
	for _, word := range chosen {
		if !slices.Contains(names, word) {
			return nil, fmt.Errorf("%s %q: want some of %s", flag, word, strings.Join(names, ","))
		}
	}
	return chosen, nil
}

// dropMissing leaves out planes whose program does not exist, and says so. A
// plane that was asked for by name is an error instead.
func (o *options) dropMissing(result *report.Result) error {
	var kept []plane.Spec
	for _, s := range o.planes {
		if s.Options.Program == "" {
			kept = append(kept, s)
			continue
		}
		_, err := os.Stat(s.Options.Program)
		if err != nil && s.Kind == plane.StockWireGuard {
			err = fmt.Errorf("%w; build it: go build -o bin/wireguard-go golang.zx2c4.com/wireguard", err)
		}
		switch {
		case err == nil:
			kept = append(kept, s)
		case o.asked:
			return fmt.Errorf("plane %s: %w", s.Name, err)
		default:
			result.Skipped[s.Name] = err.Error()
			fmt.Fprintf(o.logging, "plane %s left out: %v\n", s.Name, err)
		}
	}
	o.planes = kept
	return nil
}
