package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/fsnotify/fsnotify"

	"weft/cmd/weft/lab"
)

// A logLine is one line of weft's JSON log; Text is the line as it stands.
type logLine struct {
	Level, Msg, Err, Features string

	Drops    map[string]uint64 // in "stopped"
	Policies map[string]uint64 // there too, with GBP on
	Text     string            `json:"-"`
}

func parseLog(t testing.TB, n *lab.Node) (lines []logLine) {
	t.Helper()
	b, err := os.ReadFile(n.LogFile())
	must(t, err)
	for text := range strings.Lines(string(b)) {
		var l logLine
		// What is no JSON, such as a panic, is a line all the same.
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			l = logLine{}
		}
		l.Text = strings.TrimSpace(text)
		lines = append(lines, l)
	}
	return lines
}

// A mark is a place in a node's log.
type mark struct {
	n    *lab.Node
	from int // lines before it
}

func markLog(t testing.TB, n *lab.Node) mark { return mark{n, len(parseLog(t, n))} }

// since returns the lines written after the mark.
func (m mark) since(t testing.TB) []logLine { return parseLog(t, m.n)[m.from:] }

// find returns the lines after the mark that hold all of the texts.
func (m mark) find(t testing.TB, texts ...string) (found []logLine) {
	t.Helper()
next:
	for _, l := range m.since(t) {
		for _, s := range texts {
			if !strings.Contains(l.Text, s) {
				continue next
			}
		}
		found = append(found, l)
	}
	return found
}

// await waits for a line after the mark that holds all of the texts.
func (m mark) await(t testing.TB, texts ...string) logLine {
	t.Helper()
	w, err := fsnotify.NewWatcher()
	must(t, err)
	defer w.Close()
	must(t, w.Add(m.n.LogFile()))
	ctx := within(t)
	for {
		if found := m.find(t, texts...); len(found) > 0 {
			return found[0]
		}
		select {
		case <-w.Events:
		case err := <-w.Errors:
			t.Fatal(err)
		case <-ctx.Done():
			t.Fatalf("%s: no line in the log has %q: %v", m.n.Name, texts, context.Cause(ctx))
		}
	}
}

// stopped stops a node and returns what it says of the packets it dropped.
func stopped(t testing.TB, n *lab.Node) map[string]uint64 {
	t.Helper()
	m := markLog(t, n)
	must(t, n.Stop(within(t)))
	for _, l := range m.since(t) {
		if l.Msg == "stopped" {
			return l.Drops
		}
	}
	t.Fatalf("%s: did not account for its packets", n.Name)
	return nil
}

// showLogs prints the ends of the nodes' logs.
func showLogs(t testing.TB, l *lab.Lab) {
	for _, n := range l.Nodes {
		b, err := os.ReadFile(n.LogFile())
		if err != nil {
			continue // never started
		}
		lines := bytes.SplitAfter(b, []byte("\n"))
		t.Logf("log of %s:\n%s", n.Name, bytes.Join(lines[max(0, len(lines)-40):], nil))
	}
}
