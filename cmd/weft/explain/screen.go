package explain

import (
	"fmt"
	"strings"
	"unicode"

	"weft/engine/control"
)

// screen lays out an explanation.
func screen(e control.Explanation) string {
	var b strings.Builder
	b.WriteString(clean(heading(e.Question)) + "\n")
	for _, s := range e.Steps {
		line(&b, "", s)
	}
	if len(e.Return) > 0 {
		b.WriteString("return\n")
	}
	for _, s := range e.Return {
		line(&b, "  ", s)
	}
	fmt.Fprintf(&b, "%-8s  %s\n", "result", clean(e.Text))
	return b.String()
}

// heading says what was asked, with what the node filled in.
func heading(q control.Question) string {
	h := fmt.Sprintf("%v → %v  %s", q.Src, q.Dst, q.Proto)
	if q.Port != 0 {
		h += fmt.Sprintf(" %d", q.Port)
	}
	h += fmt.Sprintf("  %d bytes", q.Size)
	if q.DF {
		h += "  DF"
	}
	return h
}

func line(b *strings.Builder, indent string, s control.Step) {
	mark := " "
	if !s.OK {
		mark = "✗"
	}
	fmt.Fprintf(b, "%-8s%s %s\n", indent+clean(s.Stage), mark, clean(s.Text))
}

// clean replaces what a terminal would obey or not show.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
