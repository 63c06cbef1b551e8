package client

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/engine/control"
	"weft/engine/trace"
)

// silent is a client of a daemon that takes every request and answers none;
// asked gets the first bytes of each.
func silent(t *testing.T) (c *Client, asked <-chan string) {
	t.Helper()
	path := filepath.Join(shortDir(t), "n1.sock")
	heads := make(chan string, 10)
	serve(t, path, func(l net.Listener) error {
		for {
			conn, err := l.Accept()
			if err != nil {
				return err
			}
			go func() {
				defer conn.Close()
				b := make([]byte, 100)
				n, _ := conn.Read(b)
				heads <- string(b[:n])
				_, _ = io.Copy(io.Discard, conn) // until the client gives up
			}()
		}
	})
	return newClient(t, path), heads
}

// A question to a daemon that hangs has an end, whose error names the socket.
func TestSilentDaemon(t *testing.T) {
	c, _ := silent(t)
	c.patience = 10 * time.Millisecond
	for name, ask := range map[string]func() error{
		"status": func() error { _, err := c.Status(t.Context()); return err },
		"drops":  func() error { _, err := c.Drops(t.Context()); return err },
		"trace":  func() error { _, err := c.Trace(t.Context(), trace.Options{}); return err },
		"ping": func() error {
			return c.Ping(t.Context(), control.PingRequest{Peer: "n2", Timeout: 0.001}, func(control.PingReply) error { return nil })
		},
	} {
		err := ask()
		var late silence
		if !errors.As(err, &late) || !strings.Contains(err.Error(), c.Socket.Path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Who waits for the head of an answer can be called back.
func TestSilentDaemonIsLeft(t *testing.T) {
	c, asked := silent(t)
	for _, head := range []string{"POST /v1/trace", "GET /v1/drops"} {
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			if strings.HasPrefix(head, "POST") {
				_, err := c.Trace(ctx, trace.Options{})
				done <- err
			} else {
				_, err := c.Drops(ctx)
				done <- err
			}
		}()
		if got := <-asked; !strings.HasPrefix(got, head) {
			t.Fatalf("asked %q", got)
		}
		leave()
		if err := <-done; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), c.Socket.Path) {
			t.Errorf("%s: %v", head, err)
		}
	}
}

// An answer that has begun may last longer than a head may take.
func TestPatienceIsForTheHead(t *testing.T) {
	n, c := newPair(t)
	c.patience = 500 * time.Millisecond
	live, err := c.Trace(t.Context(), trace.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if e, err := live.Next(); err != nil || e.Meta == nil {
		t.Fatalf("%+v, %v", e, err)
	}
	over := time.NewTimer(2 * c.patience)
	defer over.Stop()
	<-over.C
	if n.tell(1) != 1 {
		t.Fatal("the session has ended")
	}
	if e, err := live.Next(); err != nil || e.Record == nil {
		t.Errorf("%+v, %v", e, err)
	}
}
