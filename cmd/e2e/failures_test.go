package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/cmd/weft/lab"
	"weft/cmd/weft/trace"
	"weft/engine/control"
)

// The TestFailure tests make, in a lab, what docs/debugging.md tells of. Each
// asks the commands as a user would, for JSON, and looks for the words that name
// the cause: that something is wrong says a pod's silence already.

// failing are the options of a lab for a failure: the addresses are those of the
// document.
func failing(nodes int, backend string) lab.Options {
	return lab.Options{Nodes: nodes, Backend: backend, Network: netip.MustParsePrefix("10.5.0.0/16")}
}

// screen shows, with -v, what a user sees: the document has it from there.
func screen(t testing.TB, n *lab.Node, args ...string) {
	t.Helper()
	if testing.Verbose() {
		out, code := ran(t, n, args...)
		t.Logf("%s# weft %s\n%s(exit code %d)", n.Name, strings.Join(args, " "), out, code)
	}
}

// ran runs weft at a node and returns what it printed and its exit code.
func ran(t testing.TB, n *lab.Node, args ...string) (out []byte, code int) {
	t.Helper()
	return began(t, n, args...)()
}

// began runs it in the background. What is returned waits for the end: commands
// that wait for answers which do not come may do so side by side.
func began(t testing.TB, n *lab.Node, args ...string) func() (out []byte, code int) {
	t.Helper()
	ctx := within(t)
	type result struct {
		out []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		out, err := n.Host.Exec(ctx, append([]string{weft}, args...)...)
		done <- result{out, err}
	}()
	return func() ([]byte, int) {
		t.Helper()
		r := <-done
		var exit *exec.ExitError
		if errors.As(r.err, &exit) && exit.Exited() {
			return r.out, exit.ExitCode()
		}
		must(t, r.err)
		return r.out, 0
	}
}

// one reads the single JSON object that a command printed.
func one[T any](t testing.TB, out []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	return v
}

// lines reads a JSON object from each line.
func lines[T any](t testing.TB, out []byte) (list []T) {
	t.Helper()
	for line := range bytes.Lines(out) {
		list = append(list, one[T](t, line))
	}
	return list
}

// status is what `weft status` says at a node.
func status(t testing.TB, n *lab.Node) control.Status {
	t.Helper()
	s, _ := statusCode(t, n)
	return s
}

// statusCode is that with the exit code: 0 ok, 1 degraded, 2 down.
func statusCode(t testing.TB, n *lab.Node, args ...string) (control.Status, int) {
	t.Helper()
	out, code := ran(t, n, append([]string{"status", "--json"}, args...)...)
	return one[control.Status](t, out), code
}

// peerOf is how one node sees another.
func peerOf(t testing.TB, n, peer *lab.Node) control.Peer {
	t.Helper()
	s := status(t, n)
	i := slices.IndexFunc(s.Peers, func(p control.Peer) bool {
		return p.Subnet.IsValid() && p.Subnet.Contains(peer.PodAddr()) || p.Subnet6.IsValid() && p.Subnet6.Contains(peer.PodAddr6())
	})
	if i < 0 {
		t.Fatalf("%s has no peer %s: %+v", n.Name, peer.Name, s.Peers)
	}
	return s.Peers[i]
}

// drops is what `weft drops` keeps at a node, the oldest first; with reasons,
// of these alone.
func drops(t testing.TB, n *lab.Node, reasons ...string) []trace.Packet {
	t.Helper()
	args := []string{"drops", "--json"}
	for _, r := range reasons {
		args = append(args, "--reason="+r)
	}
	return lines[trace.Packet](t, printed(t, n, args...))
}

// printed is what a command printed that has to succeed.
func printed(t testing.TB, n *lab.Node, args ...string) []byte {
	t.Helper()
	out, code := ran(t, n, args...)
	if code != 0 {
		t.Fatalf("%s: weft %s: exit code %d: %s", n.Name, strings.Join(args, " "), code, out)
	}
	return out
}

// doctor is what `weft doctor` finds at a node.
func doctor(t testing.TB, n *lab.Node) control.Report {
	t.Helper()
	return examining(t, n)()
}

// examining is doctor in the background.
func examining(t testing.TB, n *lab.Node) func() control.Report {
	t.Helper()
	wait := began(t, n, "doctor", "--json")
	return func() control.Report {
		t.Helper()
		out, _ := wait()
		return one[control.Report](t, out)
	}
}

// finding is what a check of a report says, of a peer if it is about peers; its
// subnet or outer address will do for a name. The gravest if there are several.
func finding(t testing.TB, r control.Report, id, peer string) control.Check {
	t.Helper()
	grave := []control.Verdict{control.Skip, control.Pass, control.Info, control.Warn, control.Fail}
	var found control.Check
	for _, c := range r.Checks {
		if c.ID == id && strings.Contains(c.Peer, peer) && (found.ID == "" || slices.Index(grave, c.Verdict) > slices.Index(grave, found.Verdict)) {
			found = c
		}
	}
	if found.ID == "" {
		t.Fatalf("no finding %q of peer %q: %s", id, peer, summary(r))
	}
	return found
}

// summary is a report for a test's log, without what is well.
func summary(r control.Report) string {
	var b strings.Builder
	for _, c := range r.Checks {
		if c.Verdict == control.Warn || c.Verdict == control.Fail {
			fmt.Fprintf(&b, "\n%s %s %s: %s; cause: %s; fix: %s", c.Verdict, c.ID, c.Peer, c.Text, c.Cause, c.Fix)
		}
	}
	return b.String()
}

// explain is what `weft explain` foresees at a node.
func explain(t testing.TB, n *lab.Node, args ...string) control.Explanation {
	t.Helper()
	out, _ := ran(t, n, append([]string{"explain", "--json"}, args...)...)
	return one[control.Explanation](t, out)
}

// pingLayers is what `weft ping` hears at a node: echoes, a summary of each
// layer, and last the verdict.
func pingLayers(t testing.TB, n *lab.Node, args ...string) []control.PingReply {
	t.Helper()
	return pinging(t, n, args...)()
}

// pinging is pingLayers in the background.
func pinging(t testing.TB, n *lab.Node, args ...string) func() []control.PingReply {
	t.Helper()
	wait := began(t, n, append([]string{"ping", "--json"}, args...)...)
	return func() []control.PingReply {
		t.Helper()
		out, _ := wait()
		replies := lines[control.PingReply](t, out)
		if len(replies) == 0 || replies[len(replies)-1].Verdict == "" {
			t.Fatalf("weft ping %s ends without a verdict: %s", strings.Join(args, " "), out)
		}
		return replies
	}
}

// layer is what a layer came to; the last of several summaries.
func layer(t testing.TB, replies []control.PingReply, name string) (s control.PingSummary) {
	t.Helper()
	found := false
	for _, r := range replies {
		if r.Layer == name && r.Summary != nil {
			s, found = *r.Summary, true
		}
	}
	if !found {
		t.Fatalf("ping has no layer %q: %+v", name, replies)
	}
	return s
}

// says checks that a text holds each of the words that name a cause.
func says(t testing.TB, what, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s does not say %q: %q", what, w, text)
		}
	}
}

// found checks a finding's verdict, unless want is empty, and that its text, cause and fix together
// hold the words.
func found(t testing.TB, c control.Check, want control.Verdict, words ...string) {
	t.Helper()
	if want != "" && c.Verdict != want {
		t.Errorf("%s is %s, want %s: %+v", c.ID, c.Verdict, want, c)
	}
	says(t, c.ID, c.Text+"; "+c.Cause+"; "+c.Fix, words...)
}

// await asks until it is so. It is for what no event tells of from outside. A
// peer counts as one that sends for half a minute, so it has time for that.
func await(t testing.TB, what string, so func() bool) {
	t.Helper()
	again, over := time.NewTicker(200*time.Millisecond), time.NewTimer(2*limit)
	defer again.Stop()
	defer over.Stop()
	for !so() {
		select {
		case <-again.C:
		case <-over.C:
			t.Fatalf("not within %s: %s", 2*limit, what)
		}
	}
}

// awaitPeer waits until one node sees another in a state.
func awaitPeer(t testing.TB, n, peer *lab.Node, want control.PeerState) (p control.Peer) {
	t.Helper()
	await(t, fmt.Sprintf("%s sees %s as %s", n.Name, peer.Name, want), func() bool {
		p = peerOf(t, n, peer)
		return p.State == want
	})
	return p
}

// awaitWeft waits until one node knows that another is weft too: then it asks it
// more than a stock node.
func awaitWeft(t *testing.T, n, peer *lab.Node) {
	t.Helper()
	await(t, n.Name+" knows "+peer.Name+" for weft", func() bool { return peerOf(t, n, peer).Weft != "" })
}

// nft loads a table of rules at a place, and returns what takes it out again.
func nft(t testing.TB, at *lab.Place, table, chains string) (remove func()) {
	t.Helper()
	file := t.TempDir() + "/rules.nft"
	must(t, os.WriteFile(file, []byte("table "+table+" {\n"+chains+"\n}\n"), 0o644))
	if out, err := at.Exec(within(t), "nft", "-f", file); err != nil {
		t.Skipf("needs nft: %v %s", err, out)
	}
	return func() {
		t.Helper()
		get(t, func() ([]byte, error) {
			return at.Exec(within(t), append([]string{"nft", "delete", "table"}, strings.Fields(table)...)...)
		})
	}
}
