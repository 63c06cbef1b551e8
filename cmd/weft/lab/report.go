package lab

import (
	"fmt"
	"text/tabwriter"

	"weft/cmd/weft/lab/probe"
)

// A row is one line of a demo's table.
type row struct {
	test  string
	trips *probe.Trips // of a ping
	flow  *probe.Flow  // of a transfer, as the receiver saw it
	sent  string       // SHA-256 of what the sender sent, if it was asked for
	drops uint64
}

func (r row) cells() (test, rate, rtt string) {
	test, rate, rtt = r.test, "", ""
	if t := r.trips; t != nil {
		test = fmt.Sprintf("%s, %d answered", test, t.Received)
		rtt = fmt.Sprintf("%.3f / %.3f / %.3f", t.Min, t.Avg, t.Max)
	}
	if f := r.flow; f != nil {
		rate = fmt.Sprintf("%.2f", f.Gbit())
	}
	return test, rate, rtt
}

// verdict compares what arrived with what was sent.
func (r row) verdict() string {
	if r.flow.SHA256 == r.sent {
		return "= what was sent"
	}
	return "≠ what was sent, " + r.sent
}

// report prints the table and the packets.
func (d *demo) report() error {
	a, b := d.lab.Nodes[0], d.lab.Nodes[1]
	path := fmt.Sprintf("%s (pod on %s) → %s (pod on %s)", a.PodAddr(), a.Name, b.PodAddr(), b.Name)
	fmt.Fprintf(d.out, "\n%s, backend %s, pod MTU %d\n", path, d.lab.cfg.BackendType, a.Env().MTU)
	t := tabwriter.NewWriter(d.out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "  test\tGbit/s\tRTT ms min / avg / max\tdrops")
	for _, r := range d.rows {
		test, rate, rtt := r.cells()
		fmt.Fprintf(t, "  %s\t%s\t%s\t%d\n", test, rate, rtt, r.drops)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range d.rows {
		if r.flow != nil && r.flow.SHA256 != "" {
			fmt.Fprintf(d.out, "  SHA-256 of what arrived: %s %s\n", r.flow.SHA256, r.verdict())
		}
	}
	for _, s := range d.seen {
		d.packets(s)
	}
	return nil
}

func (d *demo) packets(s section) {
	fmt.Fprintf(d.out, "\n%s, %s\n", s.tap.heading, s.title)
	if len(s.frames) == 0 {
		fmt.Fprintln(d.out, "  none")
	}
	for _, f := range s.frames {
		stamp := f.Time.Format("15:04:05.000000")
		for _, line := range s.tap.explain(f) {
			fmt.Fprintf(d.out, "  %15s  %s\n", stamp, line)
			stamp = ""
		}
	}
}

// size writes a number of bytes with a decimal unit.
func size(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	f := float64(n)
	i := 0
	for f >= 1000 && i < len(units)-1 {
		f /= 1000
		i++
	}
	return fmt.Sprintf("%.4g %s", f, units[i])
}
