package client

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"weft/engine/control"
	"weft/engine/trace"
)

// tell hands n records to all sessions, as a loop does, and returns how many of
// them matched.
func (n *fakeNode) tell(count int) (matched uint64) {
	for id := range count {
		r := trace.Record{ID: uint64(id), Snap: make([]byte, 4096)}
		for _, s := range n.hub.Active() {
			if s.Wants() {
				matched++
				s.Deliver(trace.AppendFrame(nil, trace.FrameRecord, r.Append(nil)), 1)
			}
		}
	}
	return matched
}

// A reader who has read nothing until it stops the trace is told of everything.
func TestStop(t *testing.T) {
	n, c := newPair(t)
	live, err := c.Trace(t.Context(), trace.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	matched := n.tell(1000)
	for n.hub.Lost() < 100 {
		matched += n.tell(100)
	}
	live.Stop()
	live.Stop() // once more is no harm
	var shown, lost uint64
	var end string
	for end == "" {
		e, err := live.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e.Record != nil {
			shown++
		}
		lost += e.Lost
		end = e.End
	}
	if shown == 0 || lost == 0 || shown+lost != matched || end != control.Stopped {
		t.Errorf("%d shown and %d lost of %d, %q", shown, lost, matched, end)
	}
	if e, err := live.Next(); err != io.EOF {
		t.Errorf("after the end: %+v, %v", e, err)
	}
}

// A trace that nobody stops goes on, and after Close nothing is left of it; nor
// of one that was refused.
func TestCloseWithoutStop(t *testing.T) {
	n, c := newPair(t)
	live, err := c.Trace(t.Context(), trace.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := live.Next(); err != nil || e.Meta == nil {
		t.Errorf("%+v, %v", e, err)
	}
	for range 3 {
		if n.tell(1) != 1 {
			t.Fatal("the session has ended")
		}
		if e, err := live.Next(); err != nil || e.Record == nil {
			t.Errorf("%+v, %v", e, err)
		}
	}
	live.Close()
	var refused *control.Error
	if _, err := c.Trace(t.Context(), trace.Options{Filter: "hots"}); !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
		t.Errorf("%v", err)
	}
	drops, err := c.Drops(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	drops.Stop() // of no meaning there
	if e, err := drops.Next(); err != nil || e.Meta == nil {
		t.Errorf("%+v, %v", e, err)
	}
	drops.Close()
}
