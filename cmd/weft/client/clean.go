package client

import (
	"strings"
	"unicode"
)

// Clean returns text with "?" for what is no printable character. Names in leases
// and texts of a daemon are others' words: what a terminal would take for a
// command may not reach it.
func Clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}
