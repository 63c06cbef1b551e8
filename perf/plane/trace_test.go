package plane

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/perf/lab"
	"weft/perf/meter"
)

func TestParseTally(t *testing.T) {
	for text, want := range map[string]Records{
		"1234 captured, 56 lost\n":                   {1234, 56},
		"weft: some warning\n0 shown, 0 lost\n":      {0, 0},
		"18446744073709551615 captured, 1 lost\nbye": {18446744073709551615, 1},
	} {
		if got, err := parseTally(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "12 captured", "x 12 captured, 3 lost", "99999999999999999999 captured, 0 lost\n"} {
		if got, err := parseTally(text); err == nil {
			t.Errorf("%q: %+v, want an error", text, got)
		}
	}
}

func TestControlSocket(t *testing.T) {
	if got, want := controlSocket(17, 1), "/proc/17/root/run/weft/host-b.sock"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestTraceOfANode traces both ends of a lab while a text passes there and back.
func TestTraceOfANode(t *testing.T) {
	if testing.Short() {
		t.Skip("builds weft")
	}
	l := newLab(t)
	o := Options{Program: filepath.Join(t.TempDir(), "weft")}
	build := exec.Command("go", "build", "-o", o.Program, "weft/cmd/weft")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building weft: %v\n%s", err, text)
	}
	p := Spec{Kind: WeftVXLAN, Options: o}.New()
	t.Cleanup(func() {
		if err := p.Teardown(); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(p.Setup(t.Context(), l), l.AttachPods(p.MTU())); err != nil {
		t.Fatal(err)
	}
	all := traceOn(t, l, p, o, 0)
	none := traceOn(t, l, p, o, 1, "host 192.0.2.99 and tcp port 1")
	if err := exchange(l, 0, 1); err != nil {
		t.Fatal(err)
	}
	awaitWritten(t, all, 4096) // its head has some hundred bytes
	if r, err := all.End(t.Context()); err != nil || r.Shown < 8 || r.Lost != 0 {
		t.Errorf("trace of everything: %+v, %v", r, err)
	}
	if r, err := none.End(t.Context()); err != nil || r != (Records{}) {
		t.Errorf("trace of nothing: %+v, %v", r, err)
	}
	if tr, err := StartTrace(t.Context(), l.Hosts[0], 0, p.Processes()[0], o, "host nowhere"); err == nil {
		_, err = tr.End(t.Context())
		t.Errorf("a filter that is none was taken; at the end: %v", err)
	} else if !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("error %v does not name the filter", err)
	}
}

func traceOn(t *testing.T, l *lab.Lab, p Plane, o Options, i int, args ...string) *Trace {
	t.Helper()
	tr, err := StartTrace(t.Context(), l.Hosts[i], i, p.Processes()[i], o, args...)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// awaitWritten waits until a trace has written so many bytes.
func awaitWritten(t *testing.T, tr *Trace, bytes uint64) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		n, err := meter.Written(tr.PID())
		switch {
		case err != nil:
			t.Fatal(err)
		case n >= bytes:
			return
		case time.Now().After(deadline):
			t.Fatalf("the trace has written %d bytes in %v, want %d", n, patience, bytes)
		}
		time.Sleep(readyPoll)
	}
}
