package docs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weft/engine/doctor"
	"weft/engine/metrics"
)

// section returns the part of a document below a heading, up to the next heading
// of its level or above.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("there is no heading %q", heading)
	}
	level := len(heading) - len(strings.TrimLeft(heading, "#"))
	if next := regexp.MustCompile(fmt.Sprintf(`(?m)^#{1,%d} `, level)).FindStringIndex(rest); next != nil {
		rest = rest[:next[0]]
	}
	return rest
}

// table returns the lines of the only table in a text.
func table(text string) string {
	var rows strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "|") {
			rows.WriteString(line)
		}
	}
	return rows.String()
}

// sameTable tells of the rows of one table that the other has not, and of any
// other difference.
func sameTable(t *testing.T, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	t.Errorf("reference.md has another table")
	compare := func(what, some, all string) {
		for row := range strings.Lines(some) {
			if !strings.Contains(all, row) {
				t.Errorf("%s: %s", what, row)
			}
		}
	}
	compare("missing", want, got)
	compare("too much", got, want)
}

// The table of metrics is the program's.
func TestMetricsAreDocumented(t *testing.T) {
	sameTable(t, table(section(t, read(t, "reference.md"), "### Metrics")), metrics.Table())
}

// The table of the doctor's checks is the program's.
func TestChecksAreDocumented(t *testing.T) {
	want := "| check | what it looks at |\n|---|---|\n"
	for _, r := range doctor.Table() {
		want += fmt.Sprintf("| `%s` | %s |\n", r.ID, r.About)
	}
	sameTable(t, table(section(t, read(t, "reference.md"), "### The doctor's checks")), want)
}

// use is the line by which cobra knows a command.
var use = regexp.MustCompile(`&cobra\.Command\{\s*Use:\s*"([a-z][a-z-]*)`)

// commands returns the names of the commands in the files of a folder that are
// not hidden.
func commands(t *testing.T, folder string) (names []string) {
	t.Helper()
	paths, err := filepath.Glob(folder + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		if strings.HasSuffix(p, "_test.go") {
			continue
		}
		for _, m := range use.FindAllStringSubmatch(read(t, p), -1) {
			if m[1] != "weft" {
				names = append(names, m[1])
			}
		}
	}
	return names
}

// asking are the folders of the commands that ask a node.
var asking = [...]string{"status", "trace", "doctor", "explain", "ping"}

// Every command is in the reference; those of weft lab have a guide.
func TestCommandsAreDocumented(t *testing.T) {
	text := section(t, read(t, "reference.md"), "## Commands")
	names := commands(t, "../cmd/weft")
	for _, folder := range asking {
		names = append(names, commands(t, "../cmd/weft/"+folder)...)
	}
	if len(names) < 12 {
		t.Fatalf("only %q were found: is the pattern right?", names)
	}
	for _, name := range names {
		if !regexp.MustCompile("`weft (?:[a-z]+ )?" + name + "[ `]").MatchString(text) {
			t.Errorf("reference.md does not have the command %s", name)
		}
	}
}

// Every flag of the commands that ask a node is in the reference, but for those
// by which Wireshark calls.
func TestAskingFlagsAreDocumented(t *testing.T) {
	text, found := section(t, read(t, "reference.md"), "## Asking a node"), 0
	for _, folder := range asking {
		paths, err := filepath.Glob("../cmd/weft/" + folder + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			if strings.HasSuffix(p, "_test.go") || filepath.Base(p) == "extcap.go" {
				continue
			}
			code, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range otherFlag.FindAllStringSubmatch(string(code), -1) {
				found++
				if !strings.Contains(text, "--"+m[1]) {
					t.Errorf("reference.md does not have --%s of %s", m[1], p)
				}
			}
		}
	}
	if found < 20 {
		t.Fatalf("only %d flags were found: is the pattern right?", found)
	}
}
