package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestAnswers(t *testing.T) {
	b := newBench(t, Options{})
	var index Index
	b.into(&index, "GET", "/v1/", "")
	if index.Node != "n1" || index.Schema != Schema || !slices.Contains(index.Endpoints, "POST /v1/trace") {
		t.Errorf("%+v", index)
	}
	var s Status
	b.into(&s, "GET", "/v1/status", "")
	if s.Health != Degraded || len(s.Causes) != 1 {
		t.Errorf("%+v", s)
	}
	var r Report
	b.into(&r, "POST", "/v1/doctor", "")
	if len(r.Checks) != 1 || r.Checks[0].Verdict != Pass {
		t.Errorf("%+v", r)
	}
	var e Explanation
	b.into(&e, "GET", "/v1/explain?src=10.1.0.2&dst=fd00::1&proto=tcp&port=80&size=1500&df=true", "")
	if want := (Question{Src: addr("10.1.0.2"), Dst: addr("fd00::1"), Proto: "tcp", Port: 80, Size: 1500, DF: true}); b.node.question != want || e.Verdict != "deliver" {
		t.Errorf("asked %+v, want %+v; answered %+v", b.node.question, want, e)
	}
}

// Whatever is wrong with a request is said by name, and nothing is done.
func TestWrongRequests(t *testing.T) {
	b := newBench(t, Options{})
	b.node.pings = func(context.Context, func(PingReply) error) error { return errors.New("asked in spite of it") }
	for _, tt := range []struct {
		method, path, body string
		status             int
		field              string
	}{
		{"GET", "/v1/status?verbose=1", "", 400, "verbose"},
		{"GET", "/v1/drops?n=1", "", 400, "n"},
		{"GET", "/v1/status?%zz", "", 400, ""},
		{"GET", "/v1/explain?dst=10.0.0.1", "", 400, "src"},
		{"GET", "/v1/explain?src=10.0.0.256&dst=10.0.0.1", "", 400, "src"},
		{"GET", "/v1/explain?src=fe80::1%25eth0&dst=10.0.0.1", "", 400, "src"},
		{"GET", "/v1/explain?src=10.0.0.1&dst=10.0.0.2&dst=10.0.0.3", "", 400, "dst"},
		{"GET", "/v1/explain?src=10.0.0.1&dst=10.0.0.2&port=65536", "", 400, "port"},
		{"GET", "/v1/explain?src=10.0.0.1&dst=10.0.0.2&size=-1", "", 400, "size"},
		{"GET", "/v1/explain?src=10.0.0.1&dst=10.0.0.2&df=yes", "", 400, "df"},
		{"GET", "/v1/explain?src=10.0.0.1&dst=10.0.0.1", "", 400, "dst"}, // the node says so
		{"POST", "/v1/trace?snaplen=65536", "", 400, "snaplen"},
		{"POST", "/v1/trace?sample=x", "", 400, "sample"},
		{"POST", "/v1/trace?for=NaN", "", 400, "for"},
		{"POST", "/v1/trace?for=-1", "", 400, "for"},
		{"POST", "/v1/trace?follow=1", "", 400, "follow"},
		{"POST", "/v1/trace?for=0.01", `{"count":1}`, 400, "count"},
		{"POST", "/v1/ping", `{"peer":"n2","flood":true}`, 400, "flood"},
		{"POST", "/v1/ping", `{"peer":"n2","count":"3"}`, 400, "count"},
		{"POST", "/v1/ping", `{"peer":"n2"}{}`, 400, ""},
		{"POST", "/v1/ping", `{"peer":"` + strings.Repeat("x", maxBody) + `"}`, 413, ""},
		{"GET", "/v1/trace", "", 405, ""},
		{"POST", "/v1/status", "", 405, ""},
		{"GET", "/v1/nothing", "", 404, ""},
		{"GET", "/v2/status", "", 404, ""},
		{"GET", "/v1/metrics", "", 404, ""},
	} {
		if e := b.refused(tt.status, tt.method, tt.path, tt.body); e.Field != tt.field || tt.field != "" && !strings.Contains(e.Message, tt.field) {
			t.Errorf("%s %s %.60s: field %q: %s; want %q", tt.method, tt.path, tt.body, e.Field, e.Message, tt.field)
		}
	}
}

// Before there is a node, the answer is why; then the node's own.
func TestBeforeTheNode(t *testing.T) {
	b := newBench(t, Options{Phase: func() string { return "opening the lease store" }})
	for _, path := range []string{"GET /v1/status", "GET /v1/drops", "POST /v1/trace", "GET /v1/metrics", "POST /v1/doctor", "POST /v1/ping"} {
		method, path, _ := strings.Cut(path, " ")
		if e := b.refused(503, method, path, ""); !strings.Contains(e.Message, "opening the lease store") {
			t.Errorf("%s: %s", path, e.Message)
		}
	}
	b.srv.SetNode(b.node, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "weft_up 1") }))
	var s Status
	b.into(&s, "GET", "/v1/status", "")
	if _, text := b.do("GET", "/v1/metrics", ""); text != "weft_up 1" {
		t.Errorf("metrics: %q", text)
	}
}

// A ping's replies come as they are made; an error after the first is a line.
func TestPing(t *testing.T) {
	b := newBench(t, Options{})
	b.node.pings = func(_ context.Context, each func(PingReply) error) error {
		if b.node.ping.Peer == "" {
			return &Error{Message: "peer: missing", Field: "peer"}
		}
		rtt := 0.001
		return errors.Join(each(PingReply{Layer: LayerEngine, Seq: 1, RTT: &rtt}), errors.New("the peer has gone"))
	}
	if e := b.refused(400, "POST", "/v1/ping", `{}`); e.Field != "peer" {
		t.Errorf("%+v", e)
	}
	_, text := b.do("POST", "/v1/ping", `{"peer":"n2","layers":["engine"]}`)
	want := `{"layer":"engine","seq":1,"rtt":0.001}` + "\n" + `{"error":"the peer has gone"}`
	if text != want || b.node.ping.Peer != "n2" {
		t.Errorf("asked %+v, answered\n%s\nwant\n%s", b.node.ping, text, want)
	}
}

// A client that leaves ends its ping, and one too many is told so.
func TestPingEndsWithItsClient(t *testing.T) {
	b := newBench(t, Options{})
	begun, ended := make(chan struct{}), make(chan struct{})
	b.node.pings = func(ctx context.Context, _ func(PingReply) error) error {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return ctx.Err()
	}
	ctx, leave := context.WithCancel(t.Context())
	for range maxActive {
		req, err := http.NewRequestWithContext(ctx, "POST", "http://weft/v1/ping", nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if res, err := b.http.Do(req); err == nil {
				res.Body.Close()
			}
		}()
		<-begun
	}
	b.refused(429, "POST", "/v1/ping", "")
	leave()
	for range maxActive {
		<-ended
	}
}

func TestTrust(t *testing.T) {
	const nobody = overflowUID
	system := trust{own: 990, overflow: nobody, allUsers: true}
	inside := trust{own: 0, overflow: nobody} // root of a user namespace
	for _, tt := range []struct {
		name string
		trust
		caller
		may bool
	}{
		{"root", system, caller{0, true}, true},
		{"the daemon's user", system, caller{990, true}, true},
		{"another user", system, caller{1000, true}, false},
		{"not a unix socket", system, caller{0, false}, false},
		{"root in there", inside, caller{0, true}, true},
		{"a user from outside", inside, caller{nobody, true}, false},
		{"nobody's own daemon", trust{nobody, nobody, true}, caller{nobody, true}, true},
		{"a daemon without a number", trust{nobody, nobody, false}, caller{nobody, true}, false},
	} {
		err := tt.mayChange(tt.caller, "a trace")
		var e *Error
		if (err == nil) != tt.may || err != nil && (!errors.As(err, &e) || e.Status != http.StatusForbidden) {
			t.Errorf("%s: %v, want right %v", tt.name, err, tt.may)
		}
		if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("uid %d", tt.own)) {
			t.Errorf("%s: %v: does not say who has the right", tt.name, err)
		}
	}
	if !mapsAll("         0          0 4294967295\n") || mapsAll("0 1000 1\n") || mapsAll("0 0 1\n1 100000 65535\n") {
		t.Error("mapsAll")
	}
}

// Another user who may connect can read, and not change.
func TestAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to be another user takes root")
	}
	b := newBench(t, Options{})
	dir := filepath.Dir(b.at)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "ask")
	if err := errors.Join(os.WriteFile(program, self, 0o755), os.Chmod(dir, 0o755), os.Chmod(b.at, 0o666)); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	for uid, want := range map[uint32]string{nobody: "403", 0: "200"} {
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Dir, cmd.Env = "/", []string{"CONTROL_TEST_ASK=" + b.at}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.Output()
		if err != nil || !strings.HasPrefix(string(out), want) || want == "403" && !strings.Contains(string(out), "you are uid 65534: try sudo") {
			t.Errorf("uid %d: %v: %s; want %s", uid, err, out, want)
		}
	}
	if err := os.Chmod(b.at, Mode); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Dir, cmd.Env = "/", []string{"CONTROL_TEST_ASK=" + b.at}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.Output(); err != nil || !strings.Contains(string(out), "permission denied") {
		t.Errorf("a user who is in no group of the socket: %v: %s", err, out)
	}
}
