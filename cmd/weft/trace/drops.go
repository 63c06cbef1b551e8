package trace

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/cmd/weft/client"
	"weft/encap"
	engine "weft/engine/trace"
)

// dropsFlags are those of `weft drops`.
type dropsFlags struct {
	socket              *string
	reasons             []string
	last                int
	group, follow, json bool
	write               string
	truePorts           bool
}

func (p *program) dropsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drops [flags]",
		Short: "Show the packets that were dropped last, and why",
		Long: `Show the packets that the node dropped last, the newest at the end, with the
meaning of each reason and what to do about it.

The node keeps the headers of a number of packets of each reason, always, and of
a flood only some, so the table shows kinds, not amounts: those are in
"weft status". Packets that the kernel dropped before weft saw them are counted
there too and cannot be shown.`,
		Example: `  weft drops
  weft drops --group
  weft drops --reason inner_src_not_in_lease --json
  weft drops -w drops.pcapng
  weft drops --follow                  as "weft trace drop"`,
		Args: cobra.NoArgs,
	}
	var d dropsFlags
	f := cmd.Flags()
	d.socket = client.Flag(cmd)
	f.StringSliceVar(&d.reasons, "reason", nil, "only packets dropped for `REASON`; repeatable")
	f.IntVarP(&d.last, "last", "n", 0, "only the last `N` (default: all that are kept)")
	f.BoolVar(&d.group, "group", false, "by reason")
	f.BoolVar(&d.follow, "follow", false, "show packets as they are dropped, until Ctrl-C")
	f.BoolVar(&d.json, "json", false, "a JSON object for each packet")
	f.StringVarP(&d.write, "write", "w", "", "write a capture (pcapng) to `FILE`; \"-\": standard output")
	f.BoolVar(&d.truePorts, "true-ports", false, "as of \"weft trace\"")
	cmd.MarkFlagsMutuallyExclusive("json", "write", "group")
	cmd.MarkFlagsMutuallyExclusive("follow", "group")
	cmd.MarkFlagsMutuallyExclusive("follow", "last")
	cmd.RunE = client.Doing(func(cmd *cobra.Command, _ []string) error { return p.runDrops(cmd, &d) })
	return cmd
}

func (p *program) runDrops(cmd *cobra.Command, d *dropsFlags) error {
	wanted, err := parseReasons(d.reasons)
	if err != nil {
		return usage(err)
	}
	if d.last < 0 {
		return usage(fmt.Errorf("--last=%d: negative", d.last))
	}
	t := &traceFlags{json: d.json, write: d.write, truePorts: d.truePorts, selection: selection{socket: d.socket, sample: "1/1"}}
	if d.follow {
		return p.runTrace(cmd, t, []string{followFilter(d.reasons)})
	}
	if err := t.check(p, cmd.OutOrStdout()); err != nil {
		return err
	}
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	src, err := p.drops(ctx, *d.socket)
	if err != nil {
		return refused(err)
	}
	defer src.Close()
	var s sink
	finish := func() error { return nil }
	if d.json || d.write != "" {
		s, finish, err = t.sink(p, cmd)
	} else {
		s = &table{w: cmd.OutOrStdout(), group: d.group, lines: lines{clock: clock{zone: time.Local}}}
	}
	if err != nil {
		return err
	}
	_, err = pump(ctx, src, &latest{sink: s, wanted: wanted, n: d.last})
	return errors.Join(err, gone(finish()))
}

// parseReasons reads names of drop reasons; none: nil, all of them.
func parseReasons(list []string) (map[encap.Drop]bool, error) {
	if len(list) == 0 {
		return nil, nil
	}
	wanted := map[encap.Drop]bool{}
	for _, name := range list {
		d := encap.Delivered + 1
		for d < encap.NumDrops && d.String() != name {
			d++
		}
		if d == encap.NumDrops {
			return nil, fmt.Errorf("--reason=%s: no such reason; there are %s", name, reasonNames())
		}
		wanted[d] = true
	}
	return wanted, nil
}

func reasonNames() string {
	var all []string
	for d := encap.Delivered + 1; d < encap.NumDrops; d++ {
		all = append(all, d.String())
	}
	return strings.Join(all, ", ")
}

// followFilter is the filter of what is dropped for the given reasons.
func followFilter(reasons []string) string {
	if len(reasons) == 0 {
		return "drop"
	}
	return "drop " + strings.Join(reasons, " or drop ")
}

// latest passes on the last n records of the wanted reasons; 0 and nil: all.
type latest struct {
	sink
	wanted map[encap.Drop]bool
	n      int
	kept   []engine.Record
}

func (l *latest) record(r *engine.Record) error {
	if l.wanted != nil && !l.wanted[r.Drop] {
		return nil
	}
	k := *r
	k.Snap = slices.Clone(r.Snap)
	l.kept = append(l.kept, k)
	return nil
}

func (l *latest) close() error {
	kept := l.kept
	if l.n > 0 {
		kept = kept[max(0, len(kept)-l.n):]
	}
	for i := range kept {
		if err := l.sink.record(&kept[i]); err != nil {
			return err
		}
	}
	return l.sink.close()
}

// table is the sink that shows dropped packets as a table, and what their
// reasons mean.
type table struct {
	w     io.Writer
	group bool
	lines lines
	rows  []engine.Record // the sink before it owns their bytes
	gone  uint64
}

func (t *table) meta(m *engine.Meta) error     { return t.lines.meta(m) }
func (t *table) lost(n uint64) error           { t.gone += n; return nil }
func (t *table) record(r *engine.Record) error { t.rows = append(t.rows, *r); return nil }

func (t *table) close() error {
	out := newOutput(t.w)
	t.lines.w = out
	switch {
	case len(t.rows) == 0:
		fmt.Fprintln(out, "no dropped packets are kept")
	case t.group:
		t.groups(out)
	default:
		t.flat(out)
	}
	if t.gone > 0 {
		fmt.Fprintf(out, "%d records were lost on their way here\n", t.gone)
	}
	return out.Close()
}

// byReason returns the reasons there are, the one that occurred last at the end.
func (t *table) byReason() (order []encap.Drop, rows map[encap.Drop][]engine.Record) {
	rows = map[encap.Drop][]engine.Record{}
	for _, r := range t.rows {
		rows[r.Drop] = append(rows[r.Drop], r)
		order = append(slices.DeleteFunc(order, func(d encap.Drop) bool { return d == r.Drop }), r.Drop)
	}
	return order, rows
}

func (t *table) flat(w io.Writer) {
	for i := range t.rows {
		t.lines.record(&t.rows[i]) // an error shows at Close, as all of an output do
	}
	order, rows := t.byReason()
	fmt.Fprintln(w)
	for _, d := range order {
		fmt.Fprintf(w, "%v  (%d)\n", d, len(rows[d]))
		explain(w, d)
	}
}

func (t *table) groups(w io.Writer) {
	order, rows := t.byReason()
	for i, d := range order {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%v  (%d)\n", d, len(rows[d]))
		explain(w, d)
		t.lines.headed = i > 0
		for j := range rows[d] {
			t.lines.record(&rows[d][j])
		}
	}
}

// explain says what a reason means and what to do, at a screen's width.
func explain(w io.Writer, d encap.Drop) {
	meaning, hint := engine.Hint(d)
	if meaning == "" {
		meaning = fmt.Sprintf("reason %d, which this weft does not know", d)
	}
	wrap(w, "  means  ", meaning)
	if hint != "" {
		wrap(w, "  to do  ", hint)
	}
}

// wrap writes text in lines of 96 characters at most, the first one behind head.
func wrap(w io.Writer, head, text string) {
	const width = 96
	line := head
	for i, word := range strings.Fields(text) {
		if i > 0 && len(line)+1+len(word) > width {
			fmt.Fprintln(w, line)
			line = strings.Repeat(" ", len(head))
		} else if i > 0 {
			line += " "
		}
		line += word
	}
	fmt.Fprintln(w, line)
}
