// Package docs_test checks the documents against the code: links resolve, and
// what they say of flags and drop reasons is what there is.
package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weft/encap"
)

// documents returns the text of README.md and of all documents here, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	for _, p := range append(paths, "../README.md", "../CONTRIBUTING.md") {
		docs[p] = read(t, p)
	}
	return docs
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	noSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the targets of links to the headings of a document, as GitHub
// makes them.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		slug := noSlug.ReplaceAllString(strings.ToLower(m[1]), "")
		found[strings.ReplaceAll(slug, " ", "-")] = true
	}
	return found
}

// Every relative link leads to a file, and its fragment to a heading in it.
func TestLinksResolve(t *testing.T) {
	checked := 0
	for path, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			checked++
			if err := follow(path, m[1]); err != nil {
				t.Errorf("%s: link %s: %v", path, m[1], err)
			}
		}
	}
	if checked == 0 {
		t.Error("no relative link was found: is the pattern right?")
	}
}

func follow(from, to string) error {
	file, fragment, _ := strings.Cut(to, "#")
	target := from
	if file != "" {
		target = filepath.Join(filepath.Dir(from), file)
	}
	st, err := os.Stat(target)
	if err != nil || fragment == "" || st.IsDir() {
		return err
	}
	text, err := os.ReadFile(target)
	if err == nil && !anchors(string(text))[fragment] {
		err = fmt.Errorf("%s has no such heading", target)
	}
	return err
}

// Every drop reason has its row in the reference, with its number, and a row
// in the guide.
func TestDropReasonsAreDocumented(t *testing.T) {
	reference, guide := read(t, "reference.md"), read(t, "guide-debugging.md")
	_, guide, ok := strings.Cut(guide, "\n## Drop reasons\n")
	if !ok {
		t.Fatal("guide-debugging.md has no table of drop reasons")
	}
	for d := encap.Delivered + 1; d < encap.NumDrops; d++ {
		if row := fmt.Sprintf("\n| %d | `%s` |", d, d); !strings.Contains(reference, row) {
			t.Errorf("reference.md has no row that begins %q", row[1:])
		}
		if !strings.Contains(guide, "`"+d.String()+"`") {
			t.Errorf("guide-debugging.md does not speak of %s", d)
		}
	}
	if next := fmt.Sprintf("\n| %d | `", encap.NumDrops); strings.Contains(reference, next) {
		t.Errorf("reference.md has a drop reason number %d, and there is none", encap.NumDrops)
	}
}

var (
	flagRow   = regexp.MustCompile(`(?m)^\s*\{"([a-z0-9_-]+)", `)                               // of cmd/weft/flags.go
	otherFlag = regexp.MustCompile(`(?:Var|VarP|String|Bool|BoolP)\((?:&[^"]*)?"([a-z0-9-]+)"`) // elsewhere in cmd/weft
	named     = regexp.MustCompile("--([a-z][a-z0-9_-]+)")
)

// upFlags are the names in the daemon's table of flags.
func upFlags(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, m := range flagRow.FindAllStringSubmatch(read(t, "../cmd/weft/flags.go"), -1) {
		names = append(names, m[1])
	}
	if len(names) < 20 {
		t.Fatalf("only %d flags were found in cmd/weft/flags.go: is the pattern right?", len(names))
	}
	return names
}

// Every flag of the daemon is in the reference.
func TestFlagsAreDocumented(t *testing.T) {
	reference := read(t, "reference.md")
	for _, name := range upFlags(t) {
		shown := "`--" + name + "`"
		if len(name) == 1 {
			shown = "`-" + name + "`"
		}
		if !strings.Contains(reference, shown) {
			t.Errorf("reference.md does not have %s", shown)
		}
	}
}

// foreign are flags of other programs that the documents name.
var foreign = map[string]bool{"unix-socket": true, "device": true, "cap-add": true, "security-opt": true, "prefix": true, "print-value-only": true}

// Every flag that the documents name exists, in the daemon or in another
// command of weft.
func TestDocumentedFlagsExist(t *testing.T) {
	known := map[string]bool{}
	for _, name := range upFlags(t) {
		known[name] = true
	}
	err := filepath.WalkDir("../cmd/weft", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, m := range otherFlag.FindAllStringSubmatch(read(t, path), -1) {
			known[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range documents(t) {
		if path == "performance.md" {
			continue // it quotes command lines of many programs
		}
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if !known[m[1]] && !foreign[m[1]] {
				t.Errorf("%s: there is no flag --%s", path, m[1])
			}
		}
	}
}

// A test that a document names exists.
func TestNamedTestsExist(t *testing.T) {
	defined := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" {
			return err
		}
		for _, m := range function.FindAllStringSubmatch(read(t, path), -1) {
			defined[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	suite := read(t, "../lease/leasetest/leasetest.go")
	for _, m := range regexp.MustCompile(`\b((?:Test|Fuzz)[A-Z]\w+)(?:/(\w+))?`).FindAllStringSubmatch(read(t, "failure-modes.md"), -1) {
		if !defined[m[1]] {
			t.Errorf("failure-modes.md names %s, and there is no such test", m[1])
		}
		if m[1] == "TestStore" && m[2] != "" && !strings.Contains(suite, `{"`+m[2]+`", `) {
			t.Errorf("failure-modes.md names TestStore/%s, and the suite has no such test", m[2])
		}
	}
	checkQuoted(t)
}

// checkQuoted looks for subtests that the table names in quotes.
func checkQuoted(t *testing.T) {
	t.Helper()
	paths, err := filepath.Glob("../cmd/e2e/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, p := range paths {
		code.WriteString(read(t, p))
	}
	for _, m := range regexp.MustCompile(`Test\w+((?:,? "[^"|]+")+)`).FindAllStringSubmatch(read(t, "failure-modes.md"), -1) {
		for _, q := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(m[1], -1) {
			for _, part := range strings.Split(q[1], "/") {
				if !strings.Contains(code.String(), `"`+part+`"`) {
					t.Errorf("failure-modes.md names the subtest %q, and cmd/e2e has none", q[1])
				}
			}
		}
	}
}
