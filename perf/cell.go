package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	"weft/perf/load"
	"weft/perf/meter"
	"weft/perf/report"
)

// executable is this program, which the parts of a load are played by.
func executable() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this program: %w", err)
	}
	return path, nil
}

// cell measures one load on one plane. A disturbed measurement is made again,
// at most o.retries times, and the last one counts. A measurement that fails
// is a cell with an error; only the end of the run is an error of cell itself.
func (r *runner) cell(ctx context.Context, b *bench, kind loadKind, round int) (report.Cell, error) {
	for attempt := 0; ; attempt++ {
		cell := report.Cell{Round: round, Wire: string(b.lab.Wire), Plane: b.spec.Name, Load: kind.name}
		err := r.attempt(ctx, b, kind, &cell)
		if ctx.Err() != nil {
			return cell, ctx.Err()
		}
		if err != nil {
			cell.Error = err.Error()
			r.fail("%s on %s over %s: %v", kind.name, b.spec.Name, b.lab.Wire, err)
		}
		if cell.Flags == nil || attempt == r.retries {
			return cell, nil
		}
	}
}

// attempt fills a cell with one measurement.
func (r *runner) attempt(ctx context.Context, b *bench, kind loadKind, cell *report.Cell) error {
	quiet, err := r.waitQuiet(ctx)
	if err != nil {
		return err
	}
	w, err := r.traced(ctx, b, kind)
	if err != nil {
		return err
	}
	values, err := kind.values(w)
	if err != nil {
		return err
	}
	cell.Values = w.common()
	maps.Copy(cell.Values, values)
	cell.Flags = w.flags()
	if !quiet {
		cell.Flags = append(cell.Flags, "machine not quiet before")
	}
	return nil
}

// window starts a load, lets it warm up, and measures it.
func (o *options) window(ctx context.Context, b *bench, kind loadKind) (_ *window, err error) {
	roles := make(map[string]*load.Process)
	var started []*load.Process
	defer func() {
		for i := len(started) - 1; i >= 0; i-- {
			err = errors.Join(err, started[i].Stop())
		}
	}()
	if err := b.resetPeaks(); err != nil {
		return nil, err
	}
	for _, p := range kind.parts {
		process, err := p.start(b.lab)
		if err != nil {
			return nil, err
		}
		started = append(started, process)
		roles[p.name] = process
	}
	if err := pause(ctx, o.warmup); err != nil {
		return nil, err
	}
	before, err := b.read(roles)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, o.length); err != nil {
		return nil, err
	}
	after, err := b.read(roles)
	if err != nil {
		return nil, err
	}
	return difference(before, after), nil
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The machine is quiet when it was less than quietShare busy for quietTime.
const (
	quietTime  = 100 * time.Millisecond
	quietShare = 0.10
)

// waitQuiet waits until nothing else runs on the machine, at most o.settle.
func (o *options) waitQuiet(ctx context.Context) (bool, error) {
	deadline := time.Now().Add(o.settle)
	for {
		before, err := meter.ReadCPU()
		if err != nil {
			return false, err
		}
		if err := pause(ctx, quietTime); err != nil {
			return false, err
		}
		after, err := meter.ReadCPU()
		if err != nil {
			return false, err
		}
		if d := after.Sub(before); d.Share(d.Busy()) < quietShare {
			return true, nil
		}
		if time.Now().After(deadline) {
			return false, nil
		}
	}
}

// progress writes one line about a cell.
func (r *runner) progress(c report.Cell) {
	var b strings.Builder
	fmt.Fprintf(&b, "%4d/%d %5.0fs  round %d %-4s %-9s %-14s", len(r.result.Cells), r.cells,
		time.Since(r.begun).Seconds(), c.Round, c.Wire, c.Load, c.Plane)
	if c.Error != "" {
		first, _, _ := strings.Cut(c.Error, "\n")
		fmt.Fprintf(&b, " failed: %s", first)
	}
	for _, table := range report.Tables {
		if c.Error != "" || table.Load != c.Load {
			continue
		}
		for _, column := range table.Columns[:2] {
			fmt.Fprintf(&b, "%10.*f %s", column.Digits, c.Values[column.Key], column.Title)
		}
	}
	if len(c.Flags) > 0 {
		fmt.Fprintf(&b, "  [%s]", strings.Join(c.Flags, "; "))
	}
	fmt.Fprintln(r.logging, b.String())
}
