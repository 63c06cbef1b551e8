package status

import (
	"strings"
	"unicode/utf8"

	"weft/cmd/weft/client"
)

// A color is how a text looks, as the parameter of SGR (ECMA-48 8.3.117).
type color string

const (
	normal color = ""
	bold   color = "1"
	faint  color = "2"
	red    color = "31"
	green  color = "32"
	yellow color = "33"
)

// A span is text of one color. The text is clean.
type span struct {
	text string
	color
}

// A line is what stands on one line of the screen.
type line []span

// add appends text, made clean, after two spaces unless it is the first.
func (l *line) add(text string, c color) {
	if len(*l) > 0 {
		*l = append(*l, span{"  ", normal})
	}
	*l = append(*l, span{client.Clean(text), c})
}

// width is the number of characters of l.
func (l line) width() (n int) {
	for _, s := range l {
		n += utf8.RuneCountInString(s.text)
	}
	return n
}

// cut returns l with n characters at most; 0: all of them.
func (l line) cut(n int) line {
	if n == 0 || l.width() <= n {
		return l
	}
	var kept line
	for _, s := range l {
		r := []rune(s.text)
		if len(r) >= n {
			return append(kept, span{string(r[:n-1]) + "…", s.color})
		}
		kept = append(kept, s)
		n -= len(r)
	}
	return kept
}

// text is l as it is written, with colors or without.
func (l line) text(colors bool) string {
	var b strings.Builder
	for _, s := range l {
		if colors && s.color != normal {
			b.WriteString("\x1b[" + string(s.color) + "m" + s.text + "\x1b[0m")
		} else {
			b.WriteString(s.text)
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// A table is rows of cells; the last cell of a row is not padded.
type table [][]span

// row adds a row of plain cells.
func (t *table) row(cells ...span) { *t = append(*t, cells) }

// lines aligns the columns.
func (t table) lines() (list []line) {
	var widths []int
	for _, row := range t {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if i < len(row)-1 {
				widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
			}
		}
	}
	for _, row := range t {
		var l line
		for i, c := range row {
			l = append(l, c)
			if i < len(row)-1 {
				l = append(l, span{strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2), normal})
			}
		}
		list = append(list, l)
	}
	return list
}

// cell is a clean cell of a table.
func cell(text string, c color) span { return span{client.Clean(text), c} }
