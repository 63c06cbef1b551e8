package trace

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"weft/encap"
)

// Each reason has its meaning and its hint, in the shape that screens expect.
func TestHintsAreComplete(t *testing.T) {
	for d := encap.Delivered + 1; d < encap.NumDrops; d++ {
		meaning, hint := Hint(d)
		if meaning == "" || strings.HasSuffix(meaning, ".") {
			t.Errorf("%v: the meaning %q is no clause", d, meaning)
		}
		if hint == "" || !regexp.MustCompile(`^(--)?[A-Z-].*[.]$`).MatchString(hint) {
			t.Errorf("%v: the hint %q is no sentence", d, hint)
		}
	}
	for _, d := range []encap.Drop{encap.Delivered, encap.NumDrops, 255} {
		if meaning, hint := Hint(d); meaning != "" || hint != "" {
			t.Errorf("reason %d, which is none, means %q, %q", d, meaning, hint)
		}
	}
}

// docs/reference.md has the same numbers, names and meanings;
// docs/guide-debugging.md has a row about each reason.
func TestHintsAgreeWithTheDocuments(t *testing.T) {
	reference, guide := read(t, "reference.md"), read(t, "guide-debugging.md")
	for d := encap.Delivered + 1; d < encap.NumDrops; d++ {
		meaning, _ := Hint(d)
		row := regexp.MustCompile(fmt.Sprintf("(?m)^\\| %d \\| `%s` \\| \\w+ \\| (.*) \\|$", d, d)).FindStringSubmatch(reference)
		if row == nil {
			t.Errorf("%d %v: not in reference.md", d, d)
		} else if !strings.HasPrefix(row[1], meaning) {
			t.Errorf("%v: reference.md says %q, Hint %q", d, row[1], meaning)
		}
		if !regexp.MustCompile("(?m)^\\| [^|]*`" + d.String() + "`[^|]* \\|").MatchString(guide) {
			t.Errorf("%v: no row in guide-debugging.md", d)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
