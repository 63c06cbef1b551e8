package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"weft/engine/trace"
)

// tcp lets the bench's server answer over TCP too, whose callers are not known.
func (b *bench) tcp() (address string) {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- b.srv.Serve(l) }()
	b.t.Cleanup(func() {
		b.srv.Close()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
	return l.Addr().String()
}

// Readers can take their own connections only: who may change gets in.
func TestReadersLeaveRoom(t *testing.T) {
	b := newBench(t, Options{})
	at := b.tcp()
	answered := 0
	for range maxConns {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET /v1/status HTTP/1.1\r\nHost: weft\r\n\r\n")
		if _, err := c.Read(make([]byte, 1)); err == nil {
			answered++
		}
	}
	if answered != maxConns-ownConns {
		t.Errorf("%d readers were answered, want %d", answered, maxConns-ownConns)
	}
	var s Status
	b.into(&s, "GET", "/v1/status", "")
}

// A connection that left makes room for the next.
func TestCrowd(t *testing.T) {
	c := crowd{conns: map[net.Conn]bool{}}
	var conns []net.Conn
	for range maxConns + 1 {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		conns = append(conns, a)
	}
	for i, conn := range conns {
		if got, want := c.enter(conn, false), i < maxConns; got != want {
			t.Fatalf("connection %d: %v", i, got)
		}
	}
	c.leave(conns[maxConns]) // never was in
	c.leave(conns[0])
	if !c.enter(conns[maxConns], true) || c.enter(conns[0], true) || c.readers != 1 {
		t.Errorf("%d connections, %d of readers", len(c.conns), c.readers)
	}
}

// A body that is announced and does not come holds up nobody for long.
func TestBodyThatNeverComes(t *testing.T) {
	b := newBench(t, Options{})
	b.srv.bodyTime = 10 * time.Millisecond
	for request, status := range map[string]int{
		"GET /v1/status":  http.StatusBadRequest,
		"GET /v1/nothing": http.StatusNotFound,
		"POST /v1/doctor": http.StatusRequestTimeout,
		"POST /v1/trace":  http.StatusRequestTimeout,
	} {
		for _, length := range []string{"Content-Length: 100", "Transfer-Encoding: chunked"} {
			if strings.HasSuffix(request, "trace") && length != "Content-Length: 100" {
				continue // goes on until its body ends
			}
			c, err := Dial(t.Context(), b.at)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: weft\r\n%s\r\n\r\n", request, length)
			in := bufio.NewReader(c)
			res, err := http.ReadResponse(in, nil)
			if err != nil || res.StatusCode != status {
				t.Errorf("%s with %s: %v, %v; want %d", request, length, res, err, status)
			} else {
				io.Copy(io.Discard, res.Body)
			}
			if _, err := in.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s with %s: the connection is kept: %v", request, length, err)
			}
			c.Close()
		}
	}
}

// The time for a body is not the time for the answer.
func TestAnswerAfterTheBody(t *testing.T) {
	b := newBench(t, Options{})
	b.srv.bodyTime = 200 * time.Millisecond
	b.node.pings = func(ctx context.Context, each func(PingReply) error) error {
		over := time.NewTimer(2 * b.srv.bodyTime)
		defer over.Stop()
		select {
		case <-over.C:
			return each(PingReply{Layer: LayerEngine})
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var p PingReply
	b.into(&p, "POST", "/v1/ping", `{"peer":"n2"}`)
}

// The body of a trace, whose end is the word to stop, may last.
func TestTraceOutlastsTheTimeForABody(t *testing.T) {
	b := newBench(t, Options{})
	b.srv.bodyTime = 100 * time.Millisecond
	body, stop := io.Pipe()
	r, end := b.traceWith("", body)
	defer end()
	b.next(r)
	over := time.NewTimer(3 * b.srv.bodyTime)
	defer over.Stop()
	<-over.C
	b.node.tell(trace.Record{ID: 7})
	if e := b.next(r); e.Record == nil || e.Record.ID != 7 {
		t.Errorf("%+v, want the record", e)
	}
	stop.Close()
	if e := b.next(r); e.End != Stopped {
		t.Errorf("%+v", e)
	}
}

// Explanations, which may ask a peer, are bounded.
func TestExplanationsAreBounded(t *testing.T) {
	b := newBench(t, Options{})
	const path = "/v1/explain?src=10.1.0.2&dst=10.1.0.3"
	for range maxAsking {
		b.srv.asking <- struct{}{}
	}
	b.refused(http.StatusTooManyRequests, "GET", path, "")
	<-b.srv.asking
	var e Explanation
	b.into(&e, "GET", path, "")
}
