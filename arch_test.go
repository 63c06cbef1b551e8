// Package weft_test holds the rules of the house: which room may know which,
// and what shape code has. Each failure says which rule was broken and why
// there is one.
package weft_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// A source is one Go file.
type source struct {
	path, dir string // slash-separated, from the module's root
	test      bool   // *_test.go
	generated bool
	doc       bool // has a package comment
	imports   []string
	lines     int
	longest   int    // lines of the longest function
	function  string // its name
}

// A rule finds offences in the tree; each begins with the path it is about.
type rule struct {
	name, why string
	find      func(entries []string, tree []source) []string
}

// rules is the whole list. A rule about a room that does not exist yet holds.
var rules = []rule{
	{"lease stands alone", "a lease is data: who reads it must not inherit a store client or a socket",
		importRule(in("lease").only(), outsideStdlib)},
	{"lease knows no other room", "imports run one way: cmd → engine → {encap, tunnel, lease}",
		importRule(in("lease"), weft("encap", "tunnel", "engine"))},
	{"encap knows lease at most", "imports run one way: cmd → engine → {encap, tunnel, lease}",
		importRule(in("encap"), weft("tunnel", "engine", "lease/etcd", "lease/kube", "lease/file"))},
	{"encap is arithmetic", "no system calls, clocks, locks, sockets or logs: so it can be tested with bytes alone",
		importRule(in("encap"), impure)},
	{"tunnel knows no other room", "the ends move bytes; they do not know leases, routes or headers",
		importRule(in("tunnel"), weft("lease", "encap", "engine"))},
	{"engine knows no lease store", "the store is chosen in cmd; the engine sees lease.Source and lease.Registrar",
		importRule(in("engine"), anyOf(weft("lease/etcd", "lease/kube", "lease/file"), module("go.etcd.io"), module("k8s.io")))},
	{"nothing imports cmd", "commands are leaves; what two of them need belongs in a room",
		importRule(notIn("cmd", "perf").withTests(), weft("cmd"))},
	{"nothing imports perf", "the harness may know everything, so nothing may depend on it",
		importRule(notIn("perf").withTests(), weft("perf"))},
	{"gopacket stays out of the daemon", "its decoders have panicked on bad input; use it in tests, cmd and perf",
		importRule(notIn("cmd", "perf"), module("github.com/google/gopacket"))},
	{"water stays in one place", "it is unmaintained; the plain mode in tunnel/tun_plain*.go is all that leans on it",
		importRule(notIn("perf").except(regexp.MustCompile(`^tunnel/tun_plain\w*\.go$`)), module("github.com/songgao/water"))},
	{"wireguard's device stays in tunnel/wg", "it is a whole tunnel with its own buffers, not an encapsulation",
		importRule(notIn("tunnel/wg", "perf"), module("golang.zx2c4.com/wireguard/device"))},
	{"hot files neither log nor format", "both allocate; count instead, and let the control plane speak",
		importRule(files(regexp.MustCompile(`^engine/(worker[a-z]*|up|down|writer|wgnear)(_\w+)?\.go$`)), packages("log", "log/slog", "fmt"))},
	{"the top level is fixed", "a newcomer must find every room at a glance; put it into one of them", findStrangers},
	{"every package has a doc comment", "habit: open every package with its theory of operation", findUndocumented},
	{"a file has 350 lines at most", "habit: files of 60 to 250 lines; beyond 350 there are two subjects in it", findLongFiles},
	{"a function has 80 lines at most", "habit: a function fits a screen; beyond 80 lines it does two things", findLongFunctions},
}

// A scope says which files a rule is about.
type scope struct {
	match     func(source) bool
	withTest  bool
	exception *regexp.Regexp
}

func in(dirs ...string) scope {
	return scope{match: func(s source) bool { return slices.ContainsFunc(dirs, func(d string) bool { return below(s.dir, d) }) }}
}

func notIn(dirs ...string) scope {
	inside := in(dirs...)
	return scope{match: func(s source) bool { return !inside.match(s) }}
}

func files(re *regexp.Regexp) scope {
	return scope{match: func(s source) bool { return re.MatchString(s.path) }}
}

// only leaves out the folders within a room.
func (sc scope) only() scope {
	match := sc.match
	sc.match = func(s source) bool { return match(s) && !strings.Contains(s.dir, "/") }
	return sc
}

func (sc scope) withTests() scope               { sc.withTest = true; return sc }
func (sc scope) except(re *regexp.Regexp) scope { sc.exception = re; return sc }
func below(dir, room string) bool               { return dir == room || strings.HasPrefix(dir, room+"/") }
func module(name string) func(string) bool      { return func(p string) bool { return below(p, name) } }
func packages(names ...string) func(string) bool {
	return func(p string) bool { return slices.Contains(names, p) }
}
func outsideStdlib(p string) bool { return strings.Contains(p, ".") || below(p, "weft") }
func anyOf(ban ...func(string) bool) func(string) bool {
	return func(p string) bool { return slices.ContainsFunc(ban, func(b func(string) bool) bool { return b(p) }) }
}

// weft bans rooms of this module.
func weft(rooms ...string) func(string) bool {
	return func(p string) bool {
		return slices.ContainsFunc(rooms, func(r string) bool { return below(p, "weft/"+r) })
	}
}

// impure is what no arithmetic needs.
func impure(p string) bool {
	if p == "net/netip" {
		return false
	}
	return slices.ContainsFunc([]string{"syscall", "os", "net", "time", "sync", "log", "golang.org/x/sys",
		"golang.org/x/net", "golang.zx2c4.com/wireguard"}, func(m string) bool { return below(p, m) })
}

func importRule(sc scope, banned func(string) bool) func([]string, []source) []string {
	return func(_ []string, tree []source) (offences []string) {
		for _, s := range tree {
			if !sc.match(s) || s.test && !sc.withTest || sc.exception != nil && sc.exception.MatchString(s.path) {
				continue
			}
			for _, p := range s.imports {
				if banned(p) {
					offences = append(offences, fmt.Sprintf("%s imports %s", s.path, p))
				}
			}
		}
		return offences
	}
}

// topLevel is what may lie at the root, besides dot files and what .gitignore
// names.
var topLevel = strings.Fields(`engine tunnel encap lease cmd perf docs deploy
	go.mod go.sum Makefile README.md LICENSE CONTRIBUTING.md arch_test.go`)

var ignored = regexp.MustCompile(`^(\..*|bin|deps\.go|.*\.test|.*\.out)$`)

func findStrangers(entries []string, _ []source) (offences []string) {
	for _, e := range entries {
		if !ignored.MatchString(e) && !slices.Contains(topLevel, e) {
			offences = append(offences, e+" lies at the top level")
		}
	}
	return offences
}

// findUndocumented looks at test files only where a package has no others.
func findUndocumented(_ []string, tree []source) (offences []string) {
	type state struct{ real, documented bool }
	dirs := map[string]state{}
	for _, s := range tree {
		st := dirs[s.dir]
		if !s.test && !st.real {
			st = state{real: true}
		}
		if !s.test || !st.real {
			st.documented = st.documented || s.doc
		}
		dirs[s.dir] = st
	}
	for dir, st := range dirs {
		if !st.documented {
			offences = append(offences, dir+" has no package comment")
		}
	}
	slices.Sort(offences)
	return offences
}

func findLongFiles(_ []string, tree []source) (offences []string) {
	for _, s := range tree {
		if !s.test && !s.generated && s.lines > 350 {
			offences = append(offences, fmt.Sprintf("%s has %d lines", s.path, s.lines))
		}
	}
	return offences
}

func findLongFunctions(_ []string, tree []source) (offences []string) {
	for _, s := range tree {
		if !s.test && !s.generated && s.longest > 80 {
			offences = append(offences, fmt.Sprintf("%s: %s has %d lines", s.path, s.function, s.longest))
		}
	}
	return offences
}

// load reads every Go file of the module and the names at its root.
func load(fsys fs.FS) (entries []string, tree []source, err error) {
	root, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, nil, err
	}
	for _, e := range root {
		entries = append(entries, e.Name())
	}
	err = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != "." && (strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || path.Ext(p) != ".go" || p == "deps.go":
			return nil
		}
		s, err := parse(fsys, p)
		tree = append(tree, s)
		return err
	})
	return entries, tree, err
}

func parse(fsys fs.FS, p string) (source, error) {
	text, err := fs.ReadFile(fsys, p)
	if err != nil {
		return source{}, err
	}
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, p, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	s := source{path: p, dir: path.Dir(p), test: strings.HasSuffix(p, "_test.go"), generated: ast.IsGenerated(f),
		doc: f.Doc != nil && strings.TrimSpace(f.Doc.Text()) != "", lines: strings.Count(string(text), "\n")}
	for _, spec := range f.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, err
		}
		s.imports = append(s.imports, name)
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			n := set.Position(fn.End()).Line - set.Position(fn.Pos()).Line + 1
			if n > s.longest {
				s.longest, s.function = n, fn.Name.Name
			}
		}
	}
	return s, nil
}

func TestArchitecture(t *testing.T) {
	entries, tree, err := load(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		for _, offence := range r.find(entries, tree) {
			t.Errorf("%s\n\trule: %s\n\twhy:  %s", offence, r.name, r.why)
		}
	}
}

// A rule that cannot fail is no rule: each finds its offender in a small tree,
// and nothing in a tree that is as it should be.
func TestArchitectureRulesCanFail(t *testing.T) {
	offenders := map[string][]string{ // rule: files "path: import", or "path" with odd content
		"lease stands alone":                    {"lease/a.go: go.etcd.io/etcd/client/v3", "lease/b.go: weft/lease/file"},
		"lease knows no other room":             {"lease/etcd/a.go: weft/engine"},
		"encap knows lease at most":             {"encap/a.go: weft/tunnel", "encap/b.go: weft/lease/etcd"},
		"encap is arithmetic":                   {"encap/a.go: time", "encap/b.go: net", "encap/c.go: sync/atomic", "encap/d.go: log/slog", "encap/e.go: golang.org/x/sys/unix"},
		"tunnel knows no other room":            {"tunnel/wg/a.go: weft/lease", "tunnel/b.go: weft/encap"},
		"engine knows no lease store":           {"engine/a.go: weft/lease/etcd", "engine/b.go: go.etcd.io/etcd/client/v3"},
		"nothing imports cmd":                   {"engine/a_test.go: weft/cmd/weft"},
		"nothing imports perf":                  {"cmd/weft/a.go: weft/perf/lab"},
		"gopacket stays out of the daemon":      {"engine/trace/a.go: github.com/google/gopacket/layers"},
		"water stays in one place":              {"tunnel/tun.go: github.com/songgao/water"},
		"wireguard's device stays in tunnel/wg": {"engine/wireguard.go: golang.zx2c4.com/wireguard/device"},
		"hot files neither log nor format":      {"engine/worker.go: fmt", "engine/up_linux.go: log/slog", "engine/down.go: log"},
		"the top level is fixed":                {"util/a.go: io"},
		"every package has a doc comment":       {"engine/bare/undocumented.go"},
		"a file has 350 lines at most":          {"engine/longfile.go"},
		"a function has 80 lines at most":       {"engine/longfunc.go"},
	}
	for _, r := range rules {
		if len(offenders[r.name]) == 0 {
			t.Errorf("no offender shows that %q can fail", r.name)
		}
		for _, o := range offenders[r.name] {
			name, imported, _ := strings.Cut(o, ": ")
			if got := offences(t, r, fstest.MapFS{name: offender(name, imported)}); len(got) != 1 {
				t.Errorf("%s: %q finds %q, want one offence", o, r.name, got)
			}
		}
	}
	proper := fstest.MapFS{"README.md": {}, "deps.go": {}, "bin/x": {}, ".ci/run": {}, "engine/testdata/a.go": {Data: []byte("not Go")}}
	for _, o := range []string{"lease/a.go: net/netip", "lease/a_test.go: go.uber.org/goleak", "lease/etcd/a.go: go.etcd.io/etcd/client/v3",
		"encap/a.go: weft/lease", "encap/b.go: net/netip", "encap/a_test.go: time", "tunnel/tun_plain.go: github.com/songgao/water",
		"tunnel/wg/a.go: golang.zx2c4.com/wireguard/device", "engine/a.go: weft/tunnel", "engine/update.go: fmt",
		"engine/worker_test.go: fmt", "engine/a_test.go: github.com/google/gopacket", "cmd/weft/a.go: github.com/google/gopacket",
		"cmd/weft/b.go: weft/lease/etcd", "perf/a.go: weft/engine"} {
		name, imported, _ := strings.Cut(o, ": ")
		proper[name] = offender(name, imported)
	}
	for _, r := range rules {
		if got := offences(t, r, proper); len(got) != 0 {
			t.Errorf("%q finds %q in a proper tree", r.name, got)
		}
	}
}

func offences(t *testing.T, r rule, fsys fs.FS) []string {
	t.Helper()
	entries, tree, err := load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return r.find(entries, tree)
}

// offender returns a file that imports something, or whose name says what else
// is wrong with it.
func offender(name, imported string) *fstest.MapFile {
	text := "// Package p is here to be judged.\npackage p\n"
	switch {
	case imported != "":
		text += fmt.Sprintf("import _ %q\n", imported)
	case strings.Contains(name, "undocumented"):
		text = "package p\n"
	case strings.Contains(name, "longfile"):
		text += strings.Repeat("\n", 350)
	case strings.Contains(name, "longfunc"):
		text += "func f() {\n" + strings.Repeat("\n", 79) + "}\n"
	}
	return &fstest.MapFile{Data: []byte(text)}
}
