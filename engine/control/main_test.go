package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"weft/engine/trace"
)

// The test binary is a client as well, which another user can be.
func TestMain(m *testing.M) {
	if at := os.Getenv("CONTROL_TEST_ASK"); at != "" {
		ask(at)
		return
	}
	goleak.VerifyTestMain(m)
}

// ask prints the status and the body of a POST to a socket.
func ask(at string) {
	res, err := clientOf(at).Post("http://weft/v1/doctor", "", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	fmt.Println(res.StatusCode)
	io.Copy(os.Stdout, res.Body)
}

func clientOf(at string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return Dial(ctx, at) }}}
}

// A fakeNode answers with what it is told to.
type fakeNode struct {
	hub trace.Hub

	mu   sync.Mutex
	meta trace.Meta

	question Question
	ping     PingRequest
	pings    func(ctx context.Context, each func(PingReply) error) error
}

func (n *fakeNode) Status(context.Context) Status {
	return Status{Schema: Schema, Health: Degraded, Causes: []string{"no lease yet"}}
}

func (n *fakeNode) Drops() (trace.Meta, []trace.Record) { return n.TraceMeta(), n.hub.Flight.Records() }

func (n *fakeNode) Trace(o trace.Options) (*trace.Session, error) { return n.hub.Open(o) }

func (n *fakeNode) TraceMeta() trace.Meta {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.meta
}

func (n *fakeNode) Explain(_ context.Context, q Question) (Explanation, error) {
	n.question = q
	if q.Src == q.Dst {
		return Explanation{}, &Error{Message: "dst: the same as src", Field: "dst"}
	}
	return Explanation{Schema: Schema, Question: q, Verdict: "deliver"}, nil
}

func (n *fakeNode) Ping(ctx context.Context, r PingRequest, each func(PingReply) error) error {
	n.ping = r
	return n.pings(ctx, each)
}

func (n *fakeNode) Doctor(context.Context) Report {
	return Report{Schema: Schema, Checks: []Check{{ID: "tun", Verdict: Pass}}}
}

// A bench is a server and a client of it.
type bench struct {
	t    *testing.T
	node *fakeNode
	srv  *Server
	at   string
	http *http.Client
	logs chan string // messages of the log
}

// newBench starts a server of o with a fake node, unless o has none and says so
// by a Phase.
func newBench(t *testing.T, o Options) *bench {
	b := &bench{t: t, node: &fakeNode{}, at: filepath.Join(shortDir(t), "n1.sock"), logs: make(chan string, 100)}
	if o.Phase == nil {
		o.Node = b.node
	}
	o.Name, o.Version = "n1", "v1.2.3"
	o.Log = slog.New(slog.NewTextHandler(channelWriter(b.logs), &slog.HandlerOptions{Level: slog.LevelDebug}))
	b.srv = New(o)
	l, err := Listen(b.at, "", o.Log)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.srv.Serve(l) }()
	t.Cleanup(func() {
		b.srv.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	b.http = clientOf(b.at)
	return b
}

type channelWriter chan string

func (w channelWriter) Write(p []byte) (int, error) {
	select {
	case w <- string(p):
	default:
	}
	return len(p), nil
}

// awaitLog waits for a line with text in it.
func (b *bench) awaitLog(text string) {
	b.t.Helper()
	for {
		select {
		case line := <-b.logs:
			if strings.Contains(line, text) {
				return
			}
		case <-b.t.Context().Done():
			b.t.Fatalf("%q was never logged", text)
		}
	}
}

func (b *bench) do(method, path, body string) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, "http://weft"+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	res, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res, string(bytes.TrimSpace(text))
}

// into is do for a JSON answer with status 200.
func (b *bench) into(v any, method, path, body string) {
	b.t.Helper()
	res, text := b.do(method, path, body)
	if res.StatusCode != http.StatusOK || res.Header.Get(HeaderSchema) != "1" || res.Header.Get(HeaderVersion) != "v1.2.3" {
		b.t.Fatalf("%s %s: %s, %v: %s", method, path, res.Status, res.Header, text)
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		b.t.Fatalf("%s %s: %v: %s", method, path, err, text)
	}
}

// refused is do for an answer that is an error.
func (b *bench) refused(status int, method, path, body string) Error {
	b.t.Helper()
	res, text := b.do(method, path, body)
	var e Error
	if err := json.Unmarshal([]byte(text), &e); err != nil || e.Message == "" || res.StatusCode != status {
		b.t.Errorf("%s %s: %s, %v: %s; want status %d", method, path, res.Status, err, text, status)
	}
	return e
}

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

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
