package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// A report is what a run on one kernel came to.
type report struct {
	series   string
	release  string        // what the kernel calls itself
	boot     time.Duration // from the start of the emulator to the first event
	whole    time.Duration
	modules  map[string]string // why each of those asked for could not be loaded; empty if it was
	features map[string]string // by backend
	steps    []*result
	err      error // why the run did not come to its end
}

// A result is what a step came to.
type result struct {
	name                    string
	passed, failed, skipped int
	seconds                 float64
	err                     string // why the step failed as a whole
	failures                []failure
	skips                   []failure
	ended                   bool
	verdict                 verdict // the latest
	tests                   tests
}

// A verdict is how a test ended.
type verdict struct {
	test, how, took string
}

// A failure is a test that failed or was skipped, and what it said.
type failure struct {
	test, said string
}

// readEvents calls handle for each event. A line that is none is an error:
// nobody else writes to the port.
func readEvents(r io.Reader, handle func(event)) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil // a last line without an end was cut off: the machine is gone
			}
			return err
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("serial port: %.200q: %w", line, err)
		}
		handle(e)
	}
}

// take accounts for an event that came so long after the start.
func (r *report) take(e event, after time.Duration) {
	r.whole = after
	switch e.Kind {
	case eventBoot:
		r.release, r.boot = e.Text, after
	case eventModule:
		r.modules[e.Name] = e.Text
	case eventStart:
		r.steps = append(r.steps, &result{name: e.Name})
	case eventOutput:
		if backend, features, ok := dataPlane(e.Text); ok && r.features[backend] == "" {
			r.features[backend] = features
		}
	}
	if len(r.steps) > 0 {
		r.steps[len(r.steps)-1].take(e)
	}
}

var dataPlaneOpen = regexp.MustCompile(`msg="data plane open".* backend=(\S+).* features=(\S+)`)

// dataPlane reads the line that weft logs when its ends are open.
func dataPlane(line string) (backend, features string, ok bool) {
	m := dataPlaneOpen.FindStringSubmatch(line)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

func (s *result) take(e event) {
	switch e.Kind {
	case eventOutput:
		s.tests.line(e.Text, s)
	case eventEnd:
		s.ended, s.seconds = true, e.Seconds
		s.tests.end(s)
		switch {
		case e.Text != "":
			s.err = e.Text
		case e.Code != 0 && s.failed == 0:
			s.err = fmt.Sprintf("exit status %d\n%s", e.Code, strings.Join(s.tests.outside, "\n"))
		}
	}
}

// stop notes that the machine ended before its time. The tests that ran then
// count as failed, so that the report names them.
func (r *report) stop(err error) {
	r.err = err
	if n := len(r.steps); n > 0 && !r.steps[n-1].ended {
		r.steps[n-1].tests.end(r.steps[n-1])
	}
}

// ok says whether everything came to its end and nothing failed.
func (r *report) ok() bool {
	if r.err != nil {
		return false
	}
	for _, s := range r.steps {
		if !s.ended || s.err != "" || s.failed > 0 {
			return false
		}
	}
	return true
}
