package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"weft/perf/lab"
	"weft/perf/plane"
	"weft/perf/report"
)

// bench returns a bench of the plane: a guest in the lab of its base if it is
// only traced there, or one with a lab of its own.
func (r *runner) bench(ctx context.Context, spec plane.Spec, wire lab.Wire, laid []*bench) (*bench, error) {
	for _, b := range laid {
		if spec.Trace != nil && b.spec.Name == spec.Base {
			return &bench{spec: spec, plane: b.plane, lab: b.lab, guest: true}, nil
		}
	}
	return newBench(ctx, spec, wire)
}

// turn returns the benches in the order of a round. In the suite it is turned
// round from round to round, A B C then C B A, since what one plane leaves
// behind for the next would otherwise look like a difference of the planes.
func (o *options) turn(benches []*bench, round int) []*bench {
	if o.suite != report.TraceSuite || round%2 == 1 {
		return benches
	}
	turned := slices.Clone(benches)
	slices.Reverse(turned)
	return turned
}

// traced makes a window of a load, with whoever traces the plane beside it.
func (o *options) traced(ctx context.Context, b *bench, kind loadKind) (*window, error) {
	if b.spec.Trace == nil {
		return o.window(ctx, b, kind)
	}
	err := b.startTraces(ctx)
	var w *window
	if err == nil {
		w, err = o.window(ctx, b, kind)
	}
	records, ended := b.endTraces(ctx)
	if err = errors.Join(err, ended); err != nil {
		return nil, err
	}
	w.records = &records
	return w, nil
}

// startTraces starts a trace on each host.
func (b *bench) startTraces(ctx context.Context) error {
	pids := b.plane.Processes()
	if len(pids) != len(b.lab.Hosts) {
		return fmt.Errorf("plane %s: %d processes on %d hosts: it cannot be traced", b.spec.Name, len(pids), len(b.lab.Hosts))
	}
	for i, h := range b.lab.Hosts {
		t, err := plane.StartTrace(ctx, h, i, pids[i], b.spec.Options, b.spec.Trace...)
		if err != nil {
			return err
		}
		b.traces = append(b.traces, t)
	}
	return nil
}

// endTraces ends all traces and adds up what they came to.
func (b *bench) endTraces(ctx context.Context) (sum plane.Records, _ error) {
	records, errs := make([]plane.Records, len(b.traces)), make([]error, len(b.traces))
	var ends sync.WaitGroup
	for i, t := range b.traces {
		ends.Go(func() { records[i], errs[i] = t.End(ctx) })
	}
	ends.Wait()
	for _, r := range records {
		sum.Shown += r.Shown
		sum.Lost += r.Lost
	}
	b.traces = nil
	return sum, errors.Join(errs...)
}
