package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"weft/engine/control"
	"weft/engine/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fakeNode remembers what it was asked.
type fakeNode struct {
	hub      trace.Hub
	question control.Question
	ping     control.PingRequest
	options  trace.Options
}

func (n *fakeNode) Status(context.Context) control.Status {
	return control.Status{Schema: control.Schema, Health: control.OK}
}
func (n *fakeNode) Drops() (trace.Meta, []trace.Record) {
	return n.TraceMeta(), []trace.Record{{ID: 3}}
}
func (n *fakeNode) TraceMeta() trace.Meta { return trace.Meta{Schema: 1, Node: "n1"} }
func (n *fakeNode) Trace(o trace.Options) (*trace.Session, error) {
	n.options = o
	return n.hub.Open(o)
}
func (n *fakeNode) Explain(_ context.Context, q control.Question) (control.Explanation, error) {
	n.question = q
	return control.Explanation{Verdict: "drop"}, nil
}
func (n *fakeNode) Ping(_ context.Context, r control.PingRequest, each func(control.PingReply) error) error {
	n.ping = r
	if r.Peer == "" {
		return &control.Error{Message: "peer: missing", Field: "peer"}
	}
	for seq := range 3 {
		if err := each(control.PingReply{Layer: control.LayerEngine, Seq: seq}); err != nil {
			return err
		}
	}
	return errors.New("the peer has gone")
}
func (n *fakeNode) Doctor(context.Context) control.Report { return control.Report{Node: "n1"} }

// shortDir is a directory for sockets; t.TempDir can be too long for them.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "weft")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serve lets h answer at a socket.
func serve(t *testing.T, path string, serve func(net.Listener) error) {
	t.Helper()
	l, err := control.Listen(path, "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); serve(l) }()
	t.Cleanup(func() { l.Close(); <-done })
}

// newPair starts a server with a fake node, and a client of it.
func newPair(t *testing.T) (*fakeNode, *Client) {
	t.Helper()
	n := &fakeNode{}
	path := filepath.Join(shortDir(t), "n1.sock")
	srv := control.New(control.Options{Node: n, Version: "v1", Log: slog.New(slog.DiscardHandler),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "weft_up 1") })})
	serve(t, path, srv.Serve)
	t.Cleanup(srv.Close)
	return n, newClient(t, path)
}

func newClient(t *testing.T, path string) *Client {
	t.Helper()
	c, err := New(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// What is asked arrives as it was meant, and so does the answer.
func TestQuestions(t *testing.T) {
	n, c := newPair(t)
	c.Warn = func(text string) { t.Error(text) }
	ctx := t.Context()
	if s, err := c.Status(ctx); err != nil || s.Health != control.OK {
		t.Errorf("%+v, %v", s, err)
	}
	if r, err := c.Doctor(ctx); err != nil || r.Node != "n1" {
		t.Errorf("%+v, %v", r, err)
	}
	q := control.Question{Src: netip.MustParseAddr("fd00::1"), Dst: netip.MustParseAddr("10.0.0.1"), Proto: "udp", Port: 53, Size: 1400, DF: true}
	if e, err := c.Explain(ctx, q); err != nil || e.Verdict != "drop" || n.question != q {
		t.Errorf("%+v, %v; asked %+v", e, err, n.question)
	}
	var b bytes.Buffer
	if err := c.Metrics(ctx, &b); err != nil || b.String() != "weft_up 1" {
		t.Errorf("%s, %v", &b, err)
	}
}

func TestPing(t *testing.T) {
	n, c := newPair(t)
	ask := control.PingRequest{Peer: "n2", Layers: []string{"engine"}, Count: 3, Sweep: true}
	var seqs []int
	err := c.Ping(t.Context(), ask, func(r control.PingReply) error { seqs = append(seqs, r.Seq); return nil })
	if !reflect.DeepEqual(n.ping, ask) || len(seqs) != 3 || err == nil || err.Error() != "the peer has gone" {
		t.Errorf("asked %+v, got %v, %v", n.ping, seqs, err)
	}
	enough := errors.New("enough")
	if err := c.Ping(t.Context(), ask, func(control.PingReply) error { return enough }); err != enough {
		t.Errorf("%v, want %v", err, enough)
	}
	var e *control.Error
	if err := c.Ping(t.Context(), control.PingRequest{}, nil); !errors.As(err, &e) || e.Field != "peer" || e.Status != http.StatusBadRequest {
		t.Errorf("%v", err)
	}
}

func TestStreams(t *testing.T) {
	n, c := newPair(t)
	drops, err := c.Drops(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer drops.Close()
	for i, ok := range []func(trace.Event) bool{
		func(e trace.Event) bool { return e.Meta != nil && e.Meta.Node == "n1" },
		func(e trace.Event) bool { return e.Record != nil && e.Record.ID == 3 },
		func(e trace.Event) bool { return e.End != "" },
	} {
		if e, err := drops.Next(); err != nil || !ok(e) {
			t.Errorf("event %d: %+v, %v", i, e, err)
		}
	}
	if _, err := drops.Next(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
	o := trace.Options{Filter: "host 10.0.0.1 and port 80", Snaplen: 96, Sample: 10, Count: 7, For: 1500 * time.Millisecond}
	live, err := c.Trace(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := live.Next(); err != nil || e.Meta == nil || n.options != o {
		t.Errorf("%+v, %v; asked %+v", e, err, n.options)
	}
	live.Close()
	if e, err := live.Next(); err == nil {
		t.Errorf("after Close: %+v", e)
	}
	var e *control.Error
	if _, err := c.Trace(t.Context(), trace.Options{Filter: "host ("}); !errors.As(err, &e) || e.Status != http.StatusBadRequest {
		t.Errorf("a filter that is none: %v", err)
	}
}

// Another weft, and what is none, are told apart; once.
func TestWarnings(t *testing.T) {
	for _, tt := range []struct{ schema, version, want string }{
		{"1", "v1", ""},
		{"1", "v2", "the daemon is weft v2, this is weft v1"},
		{"2", "v9", "speaks schema 2"},
		{"", "", "does not say that it is a weft"},
	} {
		path := filepath.Join(shortDir(t), "n1.sock")
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(control.HeaderSchema, tt.schema)
			w.Header().Set(control.HeaderVersion, tt.version)
			fmt.Fprint(w, `{"schema":1,"new":"field"}`)
		})}
		serve(t, path, srv.Serve)
		c := newClient(t, path)
		var got []string
		c.Warn = func(text string) { got = append(got, text) }
		Version = "v1"
		for range 2 {
			if _, err := c.Status(t.Context()); err != nil {
				t.Error(err)
			}
		}
		Version = ""
		if tt.want == "" && got != nil || tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)) {
			t.Errorf("schema %q, version %q: %q, want %q once", tt.schema, tt.version, got, tt.want)
		}
		c.Close()
		srv.Close()
	}
}

// Each way in which nobody answers has its own words.
func TestNobodyAnswers(t *testing.T) {
	dir := shortDir(t)
	dead := filepath.Join(dir, "dead.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	noHTTP := filepath.Join(dir, "odd.sock")
	serve(t, noHTTP, (&http.Server{Handler: http.NotFoundHandler()}).Serve)
	for path, want := range map[string]string{
		dead:                              "nobody listens there any more; start the node",
		filepath.Join(dir, "gone.sock"):   "there is no such socket; start the node",
		filepath.Join(dir, "x", "y.sock"): "there is no such socket; start the node",
		noHTTP:                            "is it a weft that listens there?",
	} {
		c := newClient(t, path)
		c.Warn = func(string) {}
		if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, c := newPair(t)
	if _, err := c.Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// The exit code of an error of a command's body is 1, unless it has its own.
func TestDoing(t *testing.T) {
	plain := errors.New("plain")
	for _, tt := range []struct {
		err  error
		code int
	}{{nil, 0}, {plain, 1}, {Exit(2, plain), 2}, {fmt.Errorf("more: %w", Exit(7, nil)), 7}} {
		err := Doing(func(*cobra.Command, []string) error { return tt.err })(nil, nil)
		var coded interface{ ExitCode() int }
		code := 0
		if errors.As(err, &coded) {
			code = coded.ExitCode()
		}
		if code != tt.code || (err == nil) != (tt.err == nil) || tt.code == 1 && !errors.Is(err, plain) {
			t.Errorf("%v became %v with code %d, want %d", tt.err, err, code, tt.code)
		}
	}
}
