package doctor

import (
	"fmt"
	"time"

	"weft/engine/control"
)

func pass(format string, args ...any) []control.Check {
	return []control.Check{{Verdict: control.Pass, Text: fmt.Sprintf(format, args...)}}
}

func info(format string, args ...any) []control.Check {
	return []control.Check{{Verdict: control.Info, Text: fmt.Sprintf(format, args...)}}
}

// skip says why a check could not be made.
func skip(cause string, args ...any) []control.Check {
	return []control.Check{{Verdict: control.Skip, Text: "not checked", Cause: fmt.Sprintf(cause, args...)}}
}

// warn and fail say what was found, what it comes from and what to do.
func warn(text, cause, fix string) []control.Check {
	return []control.Check{{Verdict: control.Warn, Text: text, Cause: cause, Fix: fix}}
}

func fail(text, cause, fix string) []control.Check {
	return []control.Check{{Verdict: control.Fail, Text: text, Cause: cause, Fix: fix}}
}

// found returns the findings, or good if there are none.
func found(list, good []control.Check) []control.Check {
	if len(list) > 0 {
		return list
	}
	return good
}

// noDaemon is the finding of a check about a node that does not answer. Why it
// does not, checkDaemon says.
func (v *visit) noDaemon() []control.Check { return skip("no daemon answered") }

// span writes a duration as people say it: 3d2h, 22h41m, 5m12s, 8s, 300ms.
func span(d time.Duration) string {
	d = d.Abs()
	const day = 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d >= time.Second:
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return fmt.Sprintf("%dms", d/time.Millisecond)
}

// plural writes a number and what it counts.
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
