package filter

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func FuzzCompile(f *testing.F) {
	for _, text := range manExamples {
		f.Add(text)
	}
	for _, tt := range ownCases {
		f.Add(tt.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Compile(text)
		if err != nil {
			var s *SyntaxError
			if !errors.As(err, &s) || s.Column < 1 || s.Column > len(text)+1 || s.Reason == "" {
				t.Fatalf("%q: %#v", text, err)
			}
			return
		}
		for _, p := range []*Packet{tcpSYN(), {}} {
			c.Match(p)
		}
		again, err := Compile(c.String())
		if err != nil || len(again.prog) != len(c.prog) {
			t.Fatalf("%q, %q: %v", text, c, err)
		}
	})
}

func FuzzMatch(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	w := writer{r}
	var filters []*Filter
	for range 200 {
		text := w.expr(2)
		if r.IntN(3) == 0 {
			text = "outer (" + text + ")"
		}
		if c, err := Compile(text); err == nil {
			filters = append(filters, c)
		}
	}
	for range 20 {
		a, length := randomPacket(r)
		b, _ := randomPacket(r)
		f.Add(a, b, length)
	}
	f.Fuzz(func(t *testing.T, inner, outer []byte, length int) {
		// Room behind the bytes would hide a read beyond them.
		p := &Packet{Inner: inner[:len(inner):len(inner)], Outer: outer[:len(outer):len(outer)], InnerLen: length, OuterLen: length}
		for _, c := range filters {
			c.Match(p)
		}
	})
}

// However a text is nested, or long, compiling it ends, and in a stack of bounded depth.
func TestBounds(t *testing.T) {
	const n = 30000
	for name, text := range map[string]string{
		"parentheses": strings.Repeat("(", n) + "tcp" + strings.Repeat(")", n),
		"not":         strings.Repeat("!", n) + "tcp",
		"outer":       strings.Repeat("outer ", n/3) + "tcp",
		"list":        "host " + strings.Repeat("(", n) + "10.1.1.1" + strings.Repeat(")", n),
		"minus":       strings.Repeat("-", n) + "1 = 1",
		"index":       strings.Repeat("ip[", n/3) + "0" + strings.Repeat("]", n/3) + " = 1",
		"right":       strings.Repeat("1^", n) + "1 = 1",
		"arithmetic":  strings.Repeat("(", n) + "1" + strings.Repeat(")", n) + " = 1",
		"open":        strings.Repeat("(", n),
		"long":        strings.Repeat(" ", maxText) + "tcp",
		"ports":       "port 1" + strings.Repeat(" or 1", maxText/5-2),
		"relations":   "len > 1" + strings.Repeat(" and len > 1", maxText/12-2),
		"sum":         "len" + strings.Repeat("+len", maxSteps/2) + " > 1",
		"chains":      "protochain 1" + strings.Repeat(" or 1", maxSteps/maxHeaders/2),
	} {
		if _, err := Compile(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A program may have so many steps and not one more, wherever they are.
func TestSteps(t *testing.T) {
	for name, tt := range map[string]struct {
		head, more string
		each       int // steps of head, and of each more
	}{
		"tests":  {"drop", " or drop", 1},
		"chains": {"ip protochain 1", " or ip protochain 1", 1 + maxHeaders},
		"sums":   {"len + len > 1", " and len + len > 1", 1 + 4},
	} {
		most := maxSteps / tt.each
		f, err := Compile(tt.head + strings.Repeat(tt.more, most-1))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			f.Match(tcpSYN())
		}
		text := tt.head + strings.Repeat(tt.more, most)
		var e *SyntaxError
		if _, err = Compile(text); !errors.As(err, &e) || e.Column != len(text)+1 || !strings.Contains(e.Reason, "steps; at most 512") {
			t.Errorf("%s, one more: %v", name, err)
		}
	}
}

// A stack of sixteen numbers is filled and not overrun.
func TestDeepArithmetic(t *testing.T) {
	for depth := range 2 * maxDepth {
		text := strings.Repeat("(len + ", depth) + "len" + strings.Repeat(")", depth) + " = len"
		_, err := Compile(text)
		if want := depth+1 <= maxDepth && 2 <= maxDepth; (err == nil) != want {
			t.Errorf("%d deep: %v", depth, err)
		}
	}
}
