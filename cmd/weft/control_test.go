package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"weft/cmd/weft/client"
	"weft/engine/control"
	"weft/engine/trace"
)

// TestControlSocket asks a whole process, by its socket and by its health port.
func TestControlSocket(t *testing.T) {
	states := listenAsSystemd(t)
	dir := filepath.Dir(states.LocalAddr().String())
	socket := filepath.Join(dir, "made", "n1.sock")
	port := "127.0.0.1:" + freePort(t)
	var log bytes.Buffer
	cmd := exec.Command("weft", "up", "--leases", t.TempDir(), "--node-name", "n1", "--socket", socket,
		"--healthz-ip", "127.0.0.1", "--healthz-port", strings.TrimPrefix(port, "127.0.0.1:"))
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+states.LocalAddr().String(), "WEFT_TEST_HEALTH=degraded")
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill() // of use only when the test fails
	expectState(t, states, "READY=1")

	out, code := weft(t, "status", "--socket", socket)
	if code != 1 || !strings.Contains(out, "node    n1") || !strings.Contains(out, "leases  file") || !strings.Contains(out, "192.0.2.12") {
		t.Errorf("exit code %d, want 1, of\n%s", code, out)
	}
	t.Setenv(client.Env, socket)
	if out, code := weft(t, "status", "--json", "--peer", "10.244.2.9"); code != 0 || !strings.Contains(out, `"peer":{"subnet":"10.244.2.0/24"`) {
		t.Errorf("exit code %d, want 0, of %s", code, out)
	}
	if out, code := weft(t, "status", "--pear"); code != exitUsage || !strings.Contains(out, "--pear") {
		t.Errorf("exit code %d of a wrong flag: %s", code, out)
	}
	res, err := http.Get("http://" + port + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("/metrics on the health port: %s", res.Status)
	}

	send(t, cmd, syscall.SIGTERM)
	expectState(t, states, "STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &log)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket was left behind: %v", err)
	}
	if out, code := weft(t, "status"); code != 2 || !strings.Contains(out, `start the node with "weft up"`) {
		t.Errorf("exit code %d without a node: %s", code, out)
	}
}

// freePort is a port at which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// weft runs the program and returns all that it said.
func weft(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "weft", args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// The socket is there before the store is open, and says what is waited for.
func TestControlSocketBeforeTheNode(t *testing.T) {
	dir, err := os.MkdirTemp("", "weft")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tr := newTrial(nil)
	tr.supervisor.opt.socket = filepath.Join(dir, "n1.sock")
	opening := make(chan struct{})
	tr.openStore = func(ctx context.Context, _ *options, _ *slog.Logger) (*store, error) {
		close(opening)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ended := make(chan error)
	go func() { ended <- tr.run(ctx) }()
	<-opening
	c, err := client.New(tr.supervisor.opt.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Status(ctx)
	var e *control.Error
	if !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable || !strings.Contains(e.Message, "opening the lease store") {
		t.Errorf("%v, want 503 and why", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// An askedNode can be asked while its body runs.
type askedNode struct {
	*scriptedNode
	body func(context.Context) error
}

func (n askedNode) Run(ctx context.Context) error { return n.body(ctx) }

// A trace ends with a word as soon as the daemon is told to stop, not when the
// node has stopped.
func TestTraceEndsBeforeTheNode(t *testing.T) {
	dir, err := os.MkdirTemp("", "weft")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	runs, release := make(chan struct{}), make(chan struct{})
	tr := newTrial(askedNode{&scriptedNode{}, func(context.Context) error { close(runs); <-release; return nil }})
	tr.supervisor.opt.socket = filepath.Join(dir, "n1.sock")
	ended := make(chan error)
	go func() { ended <- tr.run(ctx) }()
	<-runs
	c, err := client.New(tr.supervisor.opt.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	live, err := c.Trace(t.Context(), trace.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if e, err := live.Next(); err != nil || e.Meta == nil {
		t.Errorf("%+v, %v", e, err)
	}
	cancel()
	if e, err := live.Next(); err != nil || e.End != "the node stops" {
		t.Errorf("%+v, %v", e, err)
	}
	close(release)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	before, _, ok := strings.Cut(tr.log.String(), "trace ends")
	if !ok || strings.Contains(before, "the node has not stopped in time") {
		t.Errorf("the trace ended after the node was given up:\n%s", &tr.log)
	}
}

// A socket that cannot be made is an error in the log and nothing else.
func TestControlSocketCannotListen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "n1.sock")} {
		lost := errors.New("the lease is lost")
		tr := newTrial(&fakeNode{body: func(context.Context) error { return lost }})
		tr.supervisor.opt.socket = path
		if err := tr.run(t.Context()); !errors.Is(err, lost) {
			t.Errorf("%s: %v", path, err)
		}
		if log := tr.log.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, path) {
			t.Errorf("%s: log %s", path, log)
		}
	}
}

func TestSocketPath(t *testing.T) {
	run := t.TempDir()
	getenv := func(name string) string { return map[string]string{"XDG_RUNTIME_DIR": run}[name] }
	o := defaultOptions()
	o.nodeName, o.socket = "n1", socketOff
	if path, err := o.socketPath(getenv); path != "" || err != nil {
		t.Errorf("off: %q, %v", path, err)
	}
	o.socket = filepath.Join(run, "a", "b", "x.sock")
	if path, err := o.socketPath(getenv); path != o.socket || err != nil {
		t.Errorf("%q, %v", path, err)
	}
	if st, err := os.Stat(filepath.Dir(o.socket)); err != nil || !st.IsDir() {
		t.Errorf("its directory: %v, %v", st, err)
	}
}
