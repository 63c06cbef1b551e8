package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"weft/cmd/weft/lab"
)

// weft is the path of the binary under test.
var weft string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		if weft = os.Getenv("WEFT_BIN"); weft == "" {
			dir, err := build()
			defer os.RemoveAll(dir)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			weft = filepath.Join(dir, "weft")
		}
		return m.Run()
	}())
}

// build compiles weft into a new directory that every user can read.
func build() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "weft-e2e-"); err != nil {
		return "", err
	}
	if err = os.Chmod(dir, 0o755); err != nil {
		return dir, err
	}
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(dir, "weft"), "weft/cmd/weft")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build weft: %w\n%s", err, out)
	}
	return dir, nil
}

// limit is how long any one wait may take before the test fails. It is not an
// expectation: on an idle machine nothing here takes a tenth of it.
var limit = 30 * time.Second * time.Duration(slowness)

// slowness is greater than 1 on a machine that is emulated: limits are longer
// and transfers shorter by it.
var slowness = func() int64 {
	if os.Getenv("WEFT_E2E_SLOW") != "" {
		return 4
	}
	return 1
}()

// within returns a context for one step of a test.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("nothing within %s", limit))
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// get is must for functions that return something.
func get[T any](t testing.TB, f func() (T, error)) T {
	t.Helper()
	v, err := f()
	must(t, err)
	return v
}

const healthPort = 8081

// quiet is the environment of nodes that send no echoes of their own: for tests
// that look at each packet on the wire, or count them.
var quiet = []string{"FLANNELD_PROBE_INTERVAL=0"}

// newLab makes a lab of nodes that do not run yet, and sees to its end. When
// the test fails, the nodes' logs are shown.
func newLab(t *testing.T, o lab.Options) *lab.Lab {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e-") // paths of sockets must stay short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	o.Dir, o.Weft = dir, weft
	o.UpArgs = append(o.UpArgs, "--log-format=json", fmt.Sprintf("--healthz-port=%d", healthPort))
	l, err := lab.New(o)
	if errors.Is(err, syscall.EPERM) {
		t.Skip("needs root:", err)
	}
	must(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			showLogs(t, l)
		}
	})
	return l
}

// newLabUp makes a lab in which all pods reach each other.
func newLabUp(t *testing.T, o lab.Options) *lab.Lab {
	t.Helper()
	l := newLab(t, o)
	must(t, l.Up(within(t)))
	return l
}

// restart stops nodes and starts them again at once.
func restart(t *testing.T, nodes ...*lab.Node) {
	t.Helper()
	for _, n := range nodes {
		must(t, n.Stop(within(t)))
	}
	for _, n := range nodes {
		must(t, n.Start(within(t)))
	}
}
