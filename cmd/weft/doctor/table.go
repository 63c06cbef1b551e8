package doctor

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"weft/engine/control"
)

var words = map[control.Verdict]string{control.Pass: "PASS", control.Info: "INFO", control.Warn: "WARN", control.Fail: "FAIL", control.Skip: "SKIP"}

// writeTable writes a report as a table:
//
//	WARN udp-rcvbuf       net.core.rmem_max 212992, 7340032 wanted
//	                      cause  ...
//	                      fix    sysctl -w net.core.rmem_max=7340032
//	PEER n4               down  via vxlan  echo ✗  ...
//	  FAIL peer-vxlan     other datagrams arrive, those that look like VXLAN do not
//
// quiet leaves out all but warnings and failures, and peers without any. Many
// peers are folded, see group.
func writeTable(w io.Writer, r control.Report, quiet bool) error {
	t := table{w: bufio.NewWriter(w), width: 14}
	bad := map[string]bool{} // peers of which something is to be shown
	for _, c := range r.Checks {
		bad[c.Peer] = bad[c.Peer] || wrong(c)
	}
	checks := r.Checks
	if quiet {
		checks = slices.DeleteFunc(slices.Clone(checks), func(c control.Check) bool {
			return !wrong(c) && !(c.ID == peerRow && bad[c.Peer])
		})
	}
	checks = group(checks)
	for _, c := range checks {
		t.width = max(t.width, len(c.ID), len(c.Peer))
	}
	for _, c := range checks {
		switch {
		case c.ID == peerRow:
			t.line("PEER", c.Peer, c)
		case c.Peer != "":
			t.line("  "+word(c), c.ID, c)
		default:
			t.line(word(c), c.ID, c)
		}
	}
	fmt.Fprintln(t.w, count(r))
	return t.w.Flush()
}

// peerRow is the check that describes a peer in a line.
const peerRow = "peer"

func wrong(c control.Check) bool { return c.Verdict == control.Warn || c.Verdict == control.Fail }

// word writes a verdict; one that a newer daemon has, as it is.
func word(c control.Check) string {
	if w, ok := words[c.Verdict]; ok {
		return w
	}
	return strings.ToUpper(plain(string(c.Verdict)))
}

type table struct {
	w     *bufio.Writer
	width int
}

func (t table) line(head, id string, c control.Check) {
	rest := t.width + 5 - len(head) - 1
	text := plain(c.Text)
	if c.Verdict == control.Skip && c.Cause != "" {
		fmt.Fprintf(t.w, "%s %-*s %s: %s\n", head, rest, plain(id), text, plain(c.Cause))
		return
	}
	fmt.Fprintf(t.w, "%s %-*s %s\n", head, rest, plain(id), text)
	for _, x := range []struct{ name, text string }{{"cause", c.Cause}, {"fix", c.Fix}} {
		if x.text != "" {
			fmt.Fprintf(t.w, "%*s %-5s  %s\n", t.width+5, "", x.name, plain(x.text))
		}
	}
}

// plain takes out what would command a terminal: leases, and with them names
// and reasons, are written by others.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// count sums a report up.
func count(r control.Report) string {
	n := map[control.Verdict]int{}
	for _, c := range counted(r.Checks) {
		n[c.Verdict]++
	}
	text := fmt.Sprintf("%d failed, %d warned, %d passed, %d to know, %d skipped", n[control.Fail], n[control.Warn], n[control.Pass], n[control.Info], n[control.Skip])
	if r.Node == "" {
		return text
	}
	return plain(r.Node) + ": " + text
}
