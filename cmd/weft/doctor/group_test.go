package doctor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"weft/engine/control"
)

// crowd is a report of many peers, of which every third is down and one is odd.
func crowd(n int) control.Report {
	r := control.Report{Schema: control.Schema, Node: "n1", Checks: []control.Check{{ID: "tun", Verdict: control.Pass, Text: "opens"}}}
	for i := range n {
		name := fmt.Sprintf("p%d", i)
		row := control.Check{ID: "peer", Peer: name, Verdict: control.Pass, Text: fmt.Sprintf("ok  via udp  rtt 0.%d ms", i)}
		switch {
		case i%3 == 0:
			row.Verdict, row.Text = control.Fail, fmt.Sprintf("down  via udp  rtt 0.%d ms", i)
			r.Checks = append(r.Checks, row, control.Check{ID: "peer-state", Peer: name, Verdict: control.Fail, Text: "the host does not answer",
				Cause: "it is off", Fix: "ping 192.0.2." + name[1:]})
			continue
		case i == 1:
			row.Verdict, row.Text = control.Warn, "silent  via udp"
		}
		r.Checks = append(r.Checks, row)
	}
	return r
}

func TestManyPeers(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		var b bytes.Buffer
		if err := writeTable(&b, crowd(300), quiet); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		for words, want := range map[string]int{
			"PEER 100 peers      down (p0, p3, p6, 97 more)":                                1,
			"  FAIL peer-state   100 peers: the host does not answer (p0, p3, p6, 97 more)": 1,
			"fix    ping 192.0.2.0":                                      1,
			"PEER p1             silent  via udp":                        1,
			"PEER 199 peers      ok (p2, p4, p5, 196 more)":              map[bool]int{false: 1}[quiet],
			"n1: 100 failed, 1 warned, 200 passed, 0 to know, 0 skipped": 1,
		} {
			if got := strings.Count(text, words); got != want {
				t.Errorf("quiet %v: %d times %q, want %d:\n%s", quiet, got, words, want, text)
			}
		}
		if lines := strings.Count(text, "\n"); lines > 10 {
			t.Errorf("quiet %v: %d lines", quiet, lines)
		}
	}
}

// As many as can be read are listed one by one, and programs get all of any
// number.
func TestFewPeers(t *testing.T) {
	var b bytes.Buffer
	if err := writeTable(&b, crowd(manyPeers), false); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(b.String(), "PEER p"); got != manyPeers {
		t.Errorf("%d peers are listed, want %d:\n%s", got, manyPeers, &b)
	}
	want := crowd(100)
	out, _, _, _ := call(t, to(&scripted{report: want}), "--json")
	var got control.Report
	if err := json.Unmarshal(out, &got); err != nil || len(got.Checks) != len(want.Checks) {
		t.Errorf("%d checks as JSON, %v; want %d", len(got.Checks), err, len(want.Checks))
	}
}
