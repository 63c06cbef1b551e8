package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"weft/cmd/weft/client"
	"weft/engine/control"
)

// traceFlags are those of `weft trace`.
type traceFlags struct {
	selection
	verbose, json, paths bool
	relative, delta      bool
	write                string
	wireshark, truePorts bool
}

func (p *program) traceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace [flags] [FILTER]",
		Short: "Show packets as they pass, and what becomes of each",
		Long: `Show packets as they pass through the node, a line for each: when, in which
direction, to or from which node, its id, what became of it, and what it was.

FILTER is in pcap-filter's language and looks at the inner packet. It has words
of its own: inner and outer, peer ADDRESS, lease SUBNET, dir in|out, vni N, and
drop [REASON]. Quote it, or at least its parentheses.

VERDICT is sent (out, to the wire), sealed (out, handed to WireGuard), deliv (in,
to the device), own (in, for weft itself), TOOBIG, DROP, or REPORT (delivered
although a check failed, by --source-check=report).

A superpacket stands for many packets that are carried as one; its length is
shown as what it is made of: len 57972 = 52 + 40 × 1448.

Packets are never delayed by a trace. What it cannot keep up with is counted as
lost.

Ctrl-C ends a trace; what the node still has to tell of is shown, for 2 seconds at
most. A second Ctrl-C ends it at once.`,
		Example: `  weft trace host 10.244.2.7 and tcp port 80
  weft trace -v -c 1 drop                       one dropped packet, stage by stage
  weft trace --for 10s --json peer 192.0.2.12
  weft trace -w file.pcapng 'outer udp port 8472 or drop'
  weft trace --wireshark
  ssh node weft trace -w - | wireshark -k -i -
  weft trace paths --for 10s                    which ways packets take`,
		Args: cobra.ArbitraryArgs,
	}
	var t traceFlags
	t.selection.flags(cmd)
	f := cmd.Flags()
	f.IntVar(&t.snaplen, "snaplen", 0, "`bytes` of each inner packet to look at (default 128: headers)")
	f.BoolVarP(&t.verbose, "verbose", "v", false, "a line for each stage of each packet")
	f.BoolVar(&t.json, "json", false, "a JSON object for each packet")
	f.BoolVar(&t.paths, "paths", false, "as \"weft trace paths\"")
	f.BoolVar(&t.relative, "relative", false, "time since the first packet")
	f.BoolVar(&t.delta, "delta", false, "time since the packet before")
	f.StringVarP(&t.write, "write", "w", "", "write a capture (pcapng) to `FILE`; \"-\": standard output")
	f.BoolVar(&t.wireshark, "wireshark", false, "start Wireshark and show the packets there")
	f.BoolVar(&t.truePorts, "true-ports", false, "in a capture leave the source port of VXLAN as it is; some Wiresharks then need -d udp.port==8472,vxlan")
	cmd.MarkFlagsMutuallyExclusive("json", "verbose", "write", "wireshark")
	cmd.MarkFlagsMutuallyExclusive("paths", "verbose", "write", "wireshark")
	cmd.MarkFlagsMutuallyExclusive("relative", "delta")
	cmd.RunE = client.Doing(func(cmd *cobra.Command, args []string) error { return p.runTrace(cmd, &t, args) })
	cmd.AddCommand(p.pathsCommand())
	return cmd
}

func (p *program) pathsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "paths [flags] [FILTER]",
		Short: "Count packets by the way they take through the node",
		Long: `Count packets by the way they take: direction, encapsulation, stages and verdict.
On a terminal the table is made anew each second; else it is printed at the end.`,
		Example: `  weft trace paths
  weft trace paths --for 10s --sample 1/100 tcp`,
		Args: cobra.ArbitraryArgs,
	}
	t := traceFlags{paths: true}
	t.selection.flags(cmd)
	cmd.Flags().BoolVar(&t.json, "json", false, "a JSON object for each way, at the end")
	cmd.RunE = client.Doing(func(cmd *cobra.Command, args []string) error { return p.runTrace(cmd, &t, args) })
	return cmd
}

// untilSignal returns a context that SIGINT and SIGTERM end; a second one kills.
func untilSignal(parent context.Context) (context.Context, func()) {
	ctx, stop := signal.NotifyContext(parent, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// lastWords is how long the node may take to tell the rest of a trace that is to
// end.
const lastWords = 2 * time.Second

// inTwoSteps returns contexts for a trace that SIGINT and SIGTERM end: asked is
// over with the first of them, cut with the second one or lastWords later. Then
// both signals have their default action again, so one more kills.
func inTwoSteps(parent context.Context) (asked, cut context.Context, stop func()) {
	got := make(chan os.Signal, 2)
	signal.Notify(got, syscall.SIGINT, syscall.SIGTERM)
	asked, cut, stop = steps(parent, got)
	context.AfterFunc(cut, func() { signal.Stop(got) })
	return asked, cut, stop
}

// steps is inTwoSteps for signals that got brings.
func steps(parent context.Context, got <-chan os.Signal) (asked, cut context.Context, stop func()) {
	cut, stop = context.WithCancel(parent)
	asked, ask := context.WithCancel(cut)
	go func() {
		defer stop()
		defer ask()
		select {
		case <-got:
		case <-cut.Done():
			return
		}
		ask()
		late := time.NewTimer(lastWords)
		defer late.Stop()
		select {
		case <-got:
		case <-late.C:
		case <-cut.Done():
		}
	}()
	return asked, cut, stop
}

func (p *program) runTrace(cmd *cobra.Command, t *traceFlags, filter []string) error {
	o, err := t.options(filter)
	if err != nil {
		return err
	}
	if err := t.check(p, cmd.OutOrStdout()); err != nil {
		return err
	}
	asked, cut, stop := inTwoSteps(cmd.Context())
	defer stop()
	src, err := p.trace(cut, *t.socket, o)
	if err != nil {
		if asked.Err() != nil {
			return nil
		}
		return refused(err)
	}
	defer src.Close()
	s, finish, err := t.sink(p, cmd)
	if err != nil {
		return err
	}
	defer context.AfterFunc(asked, src.Stop)()
	got, err := pump(cut, src, s)
	err = errors.Join(err, gone(finish()))
	verb := "shown"
	if t.write != "" || t.wireshark {
		verb = "captured"
	}
	got.say(cmd.ErrOrStderr(), verb)
	if err == nil && asked.Err() == nil && !foreseen[got.end] {
		err = fmt.Errorf("the node ended the trace: %s", got.end)
	}
	return err
}

// foreseen are the ends of a trace that are no news to who began it; the empty
// one is that of our own.
var foreseen = map[string]bool{"": true, "count reached": true, "time is over": true, "cancelled": true, control.Stopped: true}

// check refuses what cannot work before the node is asked.
func (t *traceFlags) check(p *program, out io.Writer) error {
	if t.write == "-" && p.terminal(out) {
		return usage(errors.New("--write=-: standard output is a terminal; send it to a file or a program: weft trace -w - | wireshark -k -i -"))
	}
	if t.wireshark {
		_, err := findWireshark()
		return err
	}
	return nil
}

// sink makes what the flags ask for, and the function that ends it.
func (t *traceFlags) sink(p *program, cmd *cobra.Command) (s sink, finish func() error, err error) {
	out := newOutput(cmd.OutOrStdout())
	switch {
	case t.wireshark:
		return startWireshark(cmd.ErrOrStderr(), t.truePorts)
	case t.write != "" && t.write != "-":
		return captureFile(t.write, t.truePorts)
	case t.write == "-":
		s, err = newCapture(out, t.truePorts)
		return s, out.Close, err
	case t.paths:
		return newPaths(out, p.terminal(cmd.OutOrStdout()), t.json), out.Close, nil
	case t.json:
		return newObjects(out), out.Close, nil
	}
	return &lines{w: out, verbose: t.verbose, clock: clock{relative: t.relative, delta: t.delta, zone: time.Local}}, out.Close, nil
}

// captureFile makes a file, or empties it, and writes a capture to it. What
// pods say is in it, so it is for this user alone.
func captureFile(name string, truePorts bool) (sink, func() error, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("--write: %w", err)
	}
	out := newOutput(f)
	c, err := newCapture(out, truePorts)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return c, func() error { return errors.Join(out.Close(), f.Close()) }, nil
}
