package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weft/perf/lab"
	"weft/perf/plane"
	"weft/perf/report"
)

// A runner makes one run and gathers its results.
type runner struct {
	*options
	result *report.Result
	cells  int // planned
	begun  time.Time
}

// run measures everything that o asks for and writes the results, also those
// of a run that was cut short.
func run(ctx context.Context, o *options) error {
	r := &runner{options: o, begun: time.Now(), result: &report.Result{
		Skipped: make(map[string]string),
		Settings: report.Settings{
			Rounds: o.rounds, Seconds: o.length.Seconds(), WarmupSeconds: o.warmup.Seconds(), Base: o.base,
			Suite: o.suite,
		},
	}}
	removed, err := lab.RemoveLeftovers()
	for _, name := range removed {
		fmt.Fprintf(o.logging, "removed what a killed run left: %s\n", name)
	}
	if err != nil {
		return err
	}
	if err := o.dropMissing(r.result); err != nil {
		return err
	}
	if r.result.Environment, err = environment(); err != nil {
		return err
	}
	r.cells = o.plannedCells()
	measured := r.measure(ctx)
	return errors.Join(measured, r.write())
}

// plannedCells counts the cells of a run.
func (o *options) plannedCells() int {
	n := 0
	for _, kind := range o.loads {
		for _, s := range o.planes {
			if o.makes(kind, s) {
				n++
			}
		}
	}
	return n * o.rounds * len(o.wires)
}

// measure makes the micro-benchmarks, all rounds and the memory measurement.
func (r *runner) measure(ctx context.Context) error {
	if err := r.micro(ctx); err != nil {
		return err
	}
	if r.cells > 0 {
		for round := 1; round <= r.rounds; round++ {
			for _, wire := range r.wires {
				if err := r.round(ctx, round, wire); err != nil {
					return err
				}
			}
		}
	}
	if err := r.memory(ctx); err != nil {
		return err
	}
	if n := len(r.result.Failures); n > 0 {
		return fmt.Errorf("%d of the measurements failed; the first: %s", n, r.result.Failures[0])
	}
	return nil
}

// round measures once over one wire: every load on every plane that it is
// made on.
func (r *runner) round(ctx context.Context, round int, wire lab.Wire) (err error) {
	var benches []*bench
	defer func() {
		for _, b := range benches {
			if closeErr := b.close(); closeErr != nil {
				r.fail("plane %s: %v", b.spec.Name, closeErr)
			}
		}
	}()
	for _, spec := range r.planes {
		b, err := r.bench(ctx, spec, wire, benches)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.fail("plane %s: %v", spec.Name, err)
			continue
		}
		benches = append(benches, b)
		if err := r.describe(b); err != nil {
			return err
		}
	}
	fmt.Fprintf(r.logging, "round %d of %d, wire %s: %d labs are laid\n", round, r.rounds, wire, len(benches))
	for _, kind := range r.loads {
		for _, b := range r.turn(benches, round) {
			if !r.makes(kind, b.spec) {
				continue
			}
			cell, err := r.cell(ctx, b, kind, round)
			if err != nil {
				return err
			}
			r.result.Cells = append(r.result.Cells, cell)
			r.progress(cell)
		}
	}
	return nil
}

// fail notes a measurement that could not be made; the run goes on.
func (r *runner) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.result.Failures = append(r.result.Failures, text)
	fmt.Fprintln(r.logging, "failed:", text)
}

// newBench lays a lab and sets the plane up in it.
func newBench(ctx context.Context, spec plane.Spec, wire lab.Wire) (*bench, error) {
	l, err := lab.New(wire)
	if err != nil {
		return nil, err
	}
	b := &bench{spec: spec, plane: spec.New(), lab: l}
	err = b.plane.Setup(ctx, l)
	if err == nil {
		err = l.AttachPods(b.plane.MTU())
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bench) close() error {
	if b.guest {
		return nil
	}
	return errors.Join(b.plane.Teardown(), b.lab.Close())
}

// describe adds to the result what is known of a plane and a wire only once
// they are there.
func (r *runner) describe(b *bench) error {
	env := &r.result.Environment
	if wire := string(b.lab.Wire); env.Wires[wire] == nil {
		features, err := b.lab.Hosts[client].Features(lab.Underlay)
		if err != nil {
			return err
		}
		env.Wires[wire] = features
	}
	for _, p := range r.result.Planes {
		if p.Name == b.spec.Name {
			return nil
		}
	}
	o := b.spec.Options
	r.result.Planes = append(r.result.Planes, report.Plane{
		Name: b.spec.Name, Kind: b.spec.Kind, MTU: b.plane.MTU(), Loads: r.limit(b.spec),
		Program: o.Program, Module: builtFrom(o.Program), Env: o.Env, Args: o.Args,
		Base: b.spec.Base, Trace: b.spec.Trace,
	})
	return nil
}
