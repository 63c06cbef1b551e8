package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// feed plays a guest that tells these events.
func feed(t testing.TB, events ...event) *report {
	t.Helper()
	var b bytes.Buffer
	for _, e := range events {
		must(t, json.NewEncoder(&b).Encode(e))
	}
	r := &report{series: "6.1", modules: map[string]string{}, features: map[string]string{}}
	must(t, readEvents(&b, func(e event) { r.take(e, 7*time.Second) }))
	return r
}

// said makes events of what a step prints.
func said(name, text string, code int) []event {
	list := []event{{Kind: eventStart, Name: name}}
	for line := range strings.Lines(text) {
		list = append(list, event{Kind: eventOutput, Text: strings.TrimSuffix(line, "\n")})
	}
	return append(list, event{Kind: eventEnd, Name: name, Code: code, Seconds: 3})
}

const mixed = "\x16=== RUN   TestA\n" +
	"\x16=== RUN   TestA/one\n" +
	"    a_test.go:7: one is odd\n" +
	"    --- FAIL: TestFake (0.00s)\n" + // not the test binary's own
	"\x16    --- FAIL: TestA/one (0.01s)\n" +
	"\x16=== RUN   TestA/two\n" +
	"no end of line\x16    --- PASS: TestA/two (0.01s)\n" +
	"\x16--- FAIL: TestA (0.02s)\n" +
	"\x16=== RUN   TestB\n" +
	"    b_test.go:9: needs a tool\n" +
	"\x16--- SKIP: TestB (0.00s)\n" +
	"\x16=== RUN   TestC\n" +
	"\x16=== PAUSE TestC\n" +
	"\x16=== RUN   TestD\n" +
	"\x16=== NAME  TestC\n" +
	"    c_test.go:1: late\n" +
	"\x16--- FAIL: TestC (0.00s)\n" +
	"\x16=== NAME  TestD\n" +
	"\x16--- PASS: TestD (0.00s)\n" +
	"FAIL\n"

func TestReport(t *testing.T) {
	events := []event{{Kind: eventBoot, Text: "6.1.0-1-cloud"}, {Kind: eventModule, Name: "tun"}, {Kind: eventModule, Name: "wireguard", Text: "there is none"}}
	events = append(events, said("lab with udp", `time=x level=INFO msg="data plane open" iface=flannel0 mtu=1472 backend=udp port=8285 features=vnet,tso,gso`, 0)...)
	r := feed(t, append(events, said("tunnel", mixed, 1)...)...)
	s := r.steps[1]
	if s.passed != 2 || s.failed != 3 || s.skipped != 1 || s.err != "" || !s.ended || r.ok() {
		t.Errorf("%+v", s)
	}
	if want := (failure{"TestA/one", "    a_test.go:7: one is odd\n    --- FAIL: TestFake (0.00s)"}); s.failures[0] != want {
		t.Errorf("%q, want %q", s.failures[0], want)
	}
	if want := (failure{"TestC", "    c_test.go:1: late"}); s.failures[2] != want {
		t.Errorf("%q, want %q", s.failures[2], want)
	}
	var b strings.Builder
	r.print(&b)
	for _, want := range []string{"6.1: FAIL tunnel TestA/one", "6.1.0-1-cloud booted in 7s", "no wireguard (there is none), tun", "wireguard", "udp: vnet,tso,gso\n", "needs a tool"} {
		if !strings.Contains(strings.ReplaceAll(b.String(), "tun, no wireguard (there is none)", "no wireguard (there is none), tun"), want) {
			t.Errorf("the report lacks %q:\n%s", want, &b)
		}
	}
}

// Nothing but a whole run without failures is one.
func TestReportOK(t *testing.T) {
	pass := "\x16=== RUN   TestA\n\x16--- PASS: TestA (0.00s)\nPASS\n"
	for name, c := range map[string]struct {
		events []event
		ok     bool
	}{
		"passed":             {said("x", pass, 0), true},
		"exit status":        {said("x", pass, 1), false},
		"failed":             {said("x", mixed, 1), false},
		"cut off":            {said("x", pass, 0)[:2], false},
		"could not run":      {[]event{{Kind: eventStart}, {Kind: eventEnd, Code: -1, Text: "no such file"}}, false},
		"panicked in a test": {said("x", "\x16=== RUN   TestA\npanic: oh\n", 2), false},
	} {
		if got := feed(t, c.events...).ok(); got != c.ok {
			t.Errorf("%s: ok is %v", name, got)
		}
	}
}

func TestUnfinishedTest(t *testing.T) {
	s := feed(t, said("x", "\x16=== RUN   TestA\npanic: oh\n", 2)...).steps[0]
	if s.failed != 1 || s.failures[0].test != "TestA (unfinished)" || !strings.Contains(s.failures[0].said, "panic: oh") {
		t.Errorf("%+v", s.failures)
	}
}

// A machine that was stopped in the middle of a test names that test.
func TestStoppedMachine(t *testing.T) {
	r := feed(t, said("x", "\x16=== RUN   TestA\n", 0)[:2]...)
	r.stop(errors.New("time is up"))
	var b strings.Builder
	r.print(&b)
	for _, want := range []string{"FAIL x TestA (unfinished)", "time is up", "(did not end)"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, &b)
		}
	}
	if r.ok() {
		t.Error("a run that was stopped is ok")
	}
}

func TestReadEvents(t *testing.T) {
	n := 0
	must(t, readEvents(strings.NewReader("{\"kind\":\"boot\"}\n{\"kind\":\"do"), func(event) { n++ }))
	if n != 1 {
		t.Errorf("%d events, want 1", n)
	}
	if err := readEvents(strings.NewReader("Oops: 0000 [#1]\n"), func(event) {}); err == nil || !strings.Contains(err.Error(), "Oops") {
		t.Errorf("a line that is no event: %v", err)
	}
}

// Whatever a machine writes to the port, reading it neither panics nor counts
// more tests than there are lines.
func FuzzReport(f *testing.F) {
	var b bytes.Buffer
	for _, e := range said("tunnel", mixed, 1) {
		must(f, json.NewEncoder(&b).Encode(e))
	}
	f.Add(b.Bytes())
	f.Add([]byte("{\"kind\":\"output\",\"text\":\"x\"}\n{\"kind\":\"start\"}\n{\"kind\":\"output\",\"text\":\"\\u0016--- PASS: T (0.0s)\"}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &report{modules: map[string]string{}, features: map[string]string{}}
		_ = readEvents(bytes.NewReader(data), func(e event) { r.take(e, 0) }) // its errors have a test of their own
		sum := 0
		for _, s := range r.steps {
			sum += s.passed + s.failed + s.skipped
		}
		if lines := bytes.Count(data, []byte("\n")); sum > lines {
			t.Errorf("%d tests in %d lines", sum, lines)
		}
		r.print(&strings.Builder{})
	})
}
