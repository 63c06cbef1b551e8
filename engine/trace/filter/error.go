package filter

import "fmt"

// A SyntaxError tells where a text is not an expression, and why.
type SyntaxError struct {
	Column int    // of the word's first byte; the text begins at column 1
	Word   string // as it is in the text; empty if the text ended too early
	Reason string // what is wrong with it, or what was expected
}

func (e *SyntaxError) Error() string {
	if e.Word == "" {
		return fmt.Sprintf("filter: column %d, at the end: %s", e.Column, e.Reason)
	}
	return fmt.Sprintf("filter: column %d, at %q: %s", e.Column, e.Word, e.Reason)
}

func (t *token) errorf(format string, args ...any) error {
	return &SyntaxError{Column: t.col, Word: t.raw, Reason: fmt.Sprintf(format, args...)}
}

// nearest returns the name that takes the fewest edits to get from word.
func nearest(word string, names []string) string {
	best, least := "", int(^uint(0)>>1)
	for _, name := range names {
		if d := distance(word, name); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance counts the bytes to insert, delete or change to make b out of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
