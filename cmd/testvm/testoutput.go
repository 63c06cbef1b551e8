package main

import (
	"regexp"
	"slices"
	"strings"
)

// tests follows the output of a test binary under -test.v=test2json, which
// marks its own lines with a control character:
//
//	^V=== RUN   TestA/one        what follows was said by this test,
//	    a_test.go:7: what it says
//	^V=== NAME  TestB            or by this one from here on
//	^V    --- FAIL: TestA/one (0.01s)
//
// Lines of programs that are no test binaries are nobody's.
type tests struct {
	current string
	said    map[string][]string // of tests that have not ended
	outside []string            // the last lines that no test said
}

// outsideLines is how many of those are kept.
const outsideLines = 200

const marker = "\x16"

var (
	verdictLine = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) \((\d+\.\d+s)\)$`)
	currentLine = regexp.MustCompile(`^\s*=== (RUN|CONT|PAUSE|NAME)\s*(\S*)$`)
)

// line takes one line and counts in s what it says.
func (t *tests) line(text string, s *result) {
	if t.said == nil {
		t.said = map[string][]string{}
	}
	before, marked, isMarked := strings.Cut(text, marker)
	if !isMarked {
		t.note(text)
		return
	}
	if before != "" { // what a test printed without an end of line
		t.note(before)
	}
	if m := currentLine.FindStringSubmatch(marked); m != nil {
		t.current = m[2]
		if m[1] == "RUN" {
			t.said[m[2]] = nil
		}
		return
	}
	m := verdictLine.FindStringSubmatch(marked)
	if m == nil {
		t.note(marked)
		return
	}
	f := failure{m[2], strings.Join(t.said[m[2]], "\n")}
	delete(t.said, f.test)
	t.current = f.test
	s.verdict = verdict{f.test, m[1], m[3]}
	switch m[1] {
	case "PASS":
		s.passed++
	case "FAIL":
		s.failed++
		s.failures = append(s.failures, f)
	case "SKIP":
		s.skipped++
		s.skips = append(s.skips, f)
	}
}

// note ascribes a line to the test that is speaking.
func (t *tests) note(text string) {
	if lines, ok := t.said[t.current]; ok {
		t.said[t.current] = append(lines, text)
		return
	}
	if t.outside = append(t.outside, text); len(t.outside) > outsideLines {
		t.outside = t.outside[1:]
	}
}

// end counts as failed what has not ended with its process.
func (t *tests) end(s *result) {
	var left []string
	for name := range t.said {
		left = append(left, name)
	}
	slices.Sort(left)
	for _, name := range left {
		s.failed++
		s.failures = append(s.failures, failure{name + " (unfinished)", strings.Join(slices.Concat(t.said[name], t.outside), "\n")})
	}
	t.said = nil
}
