package plane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"

	"weft/cmd/weft/client"
	"weft/engine/control"
	"weft/perf/lab"
	"weft/perf/meter"
)

// A Trace is one `weft trace` that runs beside the weft of a host. What it
// writes goes to the null device as pcapng: reading the records, rebuilding
// outer headers and encoding are measured, a disk is not.
type Trace struct {
	*process
	node   *client.Client
	before uint64 // records that the node had lost when the trace began
}

// Records is what a trace came to.
type Records struct {
	Shown uint64 // written by the command
	Lost  uint64 // counted by the node: they did not fit the trace's buffer
}

// StartTrace starts `weft trace` on host i, whose weft is the process pid, with
// the program of o. When it returns without an error, the node has begun to
// trace, and End is to be called.
func StartTrace(ctx context.Context, h *lab.Host, i, pid int, o Options, args ...string) (*Trace, error) {
	socket := controlSocket(pid, i)
	node, err := client.New(socket)
	if err != nil {
		return nil, err
	}
	line := append([]string{"trace", "--socket=" + socket, "--write=" + os.DevNull}, args...)
	p, err := start(h, Options{Program: o.Program, Env: o.Env}, nil, line...)
	if err != nil {
		return nil, err
	}
	t := &Trace{process: p, node: node}
	s, err := t.poll(ctx, "begin", p.ended, func(s control.Status) bool { return s.Engine.Traces > 0 })
	if err != nil {
		node.Close()
		return nil, errors.Join(err, p.Stop())
	}
	t.before = s.Engine.TraceLost
	return t, nil
}

// controlSocket is where the weft of host i, the process pid, is asked. It has
// a /run of its own, which others see below its root.
func controlSocket(pid, i int) string {
	return fmt.Sprintf("/proc/%d/root%s/%s", pid, client.SystemDir, client.FileName(nodeName(i)))
}

// poll asks the node until done is content with its status. An end of the
// command before that, told by ended, is an error; nil: it does not matter.
func (t *Trace) poll(ctx context.Context, what string, ended <-chan struct{}, done func(control.Status) bool) (control.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		s, err := t.node.Status(ctx)
		if err != nil {
			return s, fmt.Errorf("trace of %s: %w", t.name, err)
		}
		if done(s) {
			return s, nil
		}
		select {
		case <-tick.C:
		case <-ended:
			t.told = true
			return s, fmt.Errorf("trace of %s ended at once: %w", t.name, t.failure())
		case <-ctx.Done():
			return s, fmt.Errorf("trace of %s did not %s: %w", t.name, what, ctx.Err())
		}
	}
}

// quiet is how long a trace that is through with its records writes nothing: more
// than the delays by which node and command make few writes of many.
const quiet = 100 * time.Millisecond

// drain waits until the command is through with what it has been told, once
// nothing more is carried. Records that are on their way when a trace ends are
// neither shown nor lost.
func (t *Trace) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(quiet)
	defer tick.Stop()
	for before := uint64(0); ; {
		now, err := meter.Written(t.PID())
		if err != nil || now == before {
			return err
		}
		before = now
		select {
		case <-tick.C:
		case <-t.ended: // Stop tells how
			return nil
		case <-ctx.Done():
			return fmt.Errorf("trace of %s: still writing after %v: %w", t.name, startPatience, ctx.Err())
		}
	}
}

// End waits until all records of what was carried are written, ends the trace
// and says what it came to. When it returns without an error, the node does not
// trace any more.
func (t *Trace) End(ctx context.Context) (Records, error) {
	defer t.node.Close()
	drained := t.drain(ctx)
	if err := errors.Join(drained, t.Stop()); err != nil {
		return Records{}, err
	}
	s, err := t.poll(ctx, "end", nil, func(s control.Status) bool { return s.Engine.Traces == 0 })
	if err != nil {
		return Records{}, err
	}
	r, err := parseTally(t.log.String())
	if err != nil {
		return r, fmt.Errorf("trace of %s: %w", t.name, err)
	}
	// The node counts to the end, the command only what it was told.
	r.Lost = max(r.Lost, s.Engine.TraceLost-t.before)
	return r, nil
}

// tally is the last line of `weft trace`.
var tally = regexp.MustCompile(`(?m)^(\d+) (?:shown|captured), (\d+) lost$`)

// parseTally reads what a trace says at its end.
func parseTally(text string) (Records, error) {
	m := tally.FindStringSubmatch(text)
	if m == nil {
		return Records{}, fmt.Errorf("no line %q in what it wrote: %q", "N captured, N lost", text)
	}
	shown, err1 := strconv.ParseUint(m[1], 10, 64)
	lost, err2 := strconv.ParseUint(m[2], 10, 64)
	return Records{Shown: shown, Lost: lost}, errors.Join(err1, err2)
}
