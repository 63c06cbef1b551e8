package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weft/engine"
)

// A fakeNode runs body and is ready when told so.
type fakeNode struct {
	body  func(context.Context) error
	ready bool
}

func (n *fakeNode) Run(ctx context.Context) error { return n.body(ctx) }
func (n *fakeNode) Ready() (bool, string)         { return n.ready, "the node says so" }

// A trial is a supervisor with everything around it replaced.
type trial struct {
	*supervisor
	log      bytes.Buffer
	notified []string
	closed   bool
	opt      engine.Options // what the node was made of
}

// socketless are the defaults but for the control socket, whose usual place is
// the machine's.
func socketless() *options {
	o := defaultOptions()
	o.socket = socketOff
	return o
}

func newTrial(n node) *trial {
	tr := &trial{}
	tr.supervisor = &supervisor{
		opt:     socketless(),
		log:     slog.New(slog.NewTextHandler(&tr.log, nil)),
		newNode: func(o engine.Options) (node, error) { tr.opt = o; return n, nil },
		openStore: func(context.Context, *options, *slog.Logger) (*store, error) {
			return &store{close: func() error { tr.closed = true; return nil }}, nil
		},
		notify: func(_ *slog.Logger, state string) { tr.notified = append(tr.notified, state) },
	}
	return tr
}

// TestStop: a node that is told to stop and does so ends the supervisor
// without an error, whatever it returns.
func TestStop(t *testing.T) {
	for _, last := range []error{nil, context.Canceled, errors.New("flannel0: device is busy")} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var tr *trial
			n := &fakeNode{ready: true}
			n.body = func(ctx context.Context) error {
				tr.opt.OnReady()
				<-ctx.Done()
				time.Sleep(stopTime / 2)
				return last
			}
			tr = newTrial(n)
			ended := make(chan error)
			go func() { ended <- tr.run(ctx) }()
			synctest.Wait()
			if ok, _ := tr.ready(); !ok {
				t.Error("not ready while the node is")
			}
			n.ready = false
			if ok, why := tr.ready(); ok || why != "the node says so" {
				t.Errorf("ready %v %q after the node took it back", ok, why)
			}
			cancel()
			synctest.Wait()
			if ok, why := tr.ready(); ok || why != "stopping" {
				t.Errorf("ready %v %q while stopping", ok, why)
			}
			if err := <-ended; err != nil {
				t.Errorf("node ended with %v, supervisor with %v", last, err)
			}
			if want := []string{"READY=1", "STOPPING=1"}; !slices.Equal(tr.notified, want) {
				t.Errorf("systemd was told %q, want %q", tr.notified, want)
			}
			if !tr.closed {
				t.Error("the store was left open")
			}
		})
	}
}

// TestStopInTime: a node that hangs is left behind, within the second.
func TestStopInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		tr := newTrial(&fakeNode{body: func(context.Context) error { <-release; return nil }})
		ended := make(chan error)
		go func() { ended <- tr.run(ctx) }()
		synctest.Wait()
		start := time.Now()
		cancel()
		err := <-ended
		if took := time.Since(start); err != nil || took > time.Second {
			t.Errorf("ended with %v after %v", err, took)
		}
		if !strings.Contains(tr.log.String(), "level=ERROR") {
			t.Errorf("nothing was logged about it: %s", &tr.log)
		}
		close(release)
	})
}

// TestStopWhileOpening: a store that cannot be reached does not hold up a stop.
func TestStopWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tr := newTrial(nil)
		tr.openStore = func(ctx context.Context, _ *options, _ *slog.Logger) (*store, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		ended := make(chan error)
		go func() { ended <- tr.run(ctx) }()
		synctest.Wait()
		if ok, why := tr.ready(); ok || why != "opening the lease store" {
			t.Errorf("ready %v %q", ok, why)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestEndUnasked: a node that ends by itself is an error, with or without one
// of its own. flanneld exits 0 when it loses its lease.
func TestEndUnasked(t *testing.T) {
	lost := errors.New("the lease is lost")
	for _, last := range []error{nil, lost, context.Canceled} {
		tr := newTrial(&fakeNode{body: func(context.Context) error { return last }})
		err := tr.run(t.Context())
		if err == nil || last != nil && !errors.Is(err, last) {
			t.Errorf("node ended with %v, supervisor with %v", last, err)
		}
		if !slices.Equal(tr.notified, []string{"STOPPING=1"}) || !tr.closed {
			t.Errorf("systemd was told %q, store closed %v", tr.notified, tr.closed)
		}
	}
}

// TestCannotStart: errors before there is a node come out as they are.
func TestCannotStart(t *testing.T) {
	broken := errors.New("broken")
	tr := newTrial(nil)
	tr.newNode = func(engine.Options) (node, error) { return nil, broken }
	if err := tr.run(t.Context()); !errors.Is(err, broken) || !tr.closed {
		t.Errorf("err %v, store closed %v", err, tr.closed)
	}
	tr = newTrial(nil)
	tr.openStore = func(context.Context, *options, *slog.Logger) (*store, error) { return nil, broken }
	if err := tr.run(t.Context()); !errors.Is(err, broken) {
		t.Error(err)
	}
}
