package control

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/url"
	"testing"

	"weft/encap"
	"weft/engine/trace"
)

// trace begins a trace and returns its reader and the function that ends it.
func (b *bench) trace(query string) (*trace.Reader, func()) {
	b.t.Helper()
	return b.traceWith(query, nil)
}

// traceWith is trace with a body.
func (b *bench) traceWith(query string, body io.Reader) (*trace.Reader, func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", "http://weft/v1/trace?"+query, body)
	if err != nil {
		b.t.Fatal(err)
	}
	res, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	if ct := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || ct != trace.ContentType {
		b.t.Fatalf("%s, %s", res.Status, ct)
	}
	return trace.NewReader(bufio.NewReader(res.Body)), func() { res.Body.Close(); cancel() }
}

func (b *bench) next(r *trace.Reader) trace.Event {
	b.t.Helper()
	e, err := r.Next()
	if err != nil {
		b.t.Fatal(err)
	}
	return e
}

// tell hands a record to all sessions, as a loop does.
func (n *fakeNode) tell(r trace.Record) {
	for _, s := range n.hub.Active() {
		if s.Wants() {
			s.Deliver(trace.AppendFrame(nil, trace.FrameRecord, r.Append(nil)), 1)
		}
	}
}

// A trace is a Meta with the session's own figures, records, and why it ended.
func TestTrace(t *testing.T) {
	b := newBench(t, Options{})
	b.node.meta = trace.Meta{Schema: 1, Node: "n1", Device: "flannel0"}
	r, end := b.trace(url.Values{"filter": {"tcp"}, "snaplen": {"96"}, "count": {"2"}, "for": {"3600.5"}}.Encode())
	defer end()
	if e := b.next(r); e.Meta == nil || e.Meta.Node != "n1" || e.Meta.Snaplen != 96 || e.Meta.Sample != 1 {
		t.Fatalf("first %+v", e)
	}
	for id := range uint64(3) {
		b.node.tell(trace.Record{ID: id, Snap: []byte{1, 2, 3}})
	}
	for id := range uint64(2) {
		if e := b.next(r); e.Record == nil || e.Record.ID != id || len(e.Record.Snap) != 3 {
			t.Fatalf("record %d: %+v", id, e)
		}
	}
	if e := b.next(r); e.End != "count reached" {
		t.Errorf("end %+v", e)
	}
	b.awaitLog("trace ends")
	if b.node.hub.Active() != nil {
		t.Error("the session was left open")
	}
}

// Records that the reader was too slow for are told as a number.
func TestTraceLost(t *testing.T) {
	b := newBench(t, Options{})
	r, end := b.trace("")
	defer end()
	b.next(r)
	for _, s := range b.node.hub.Active() {
		s.Deliver(make([]byte, 8<<20), 7)
	}
	if e := b.next(r); e.Lost != 7 {
		t.Errorf("%+v, want 7 lost", e)
	}
}

// follow tells of changed peers before the records that come after the change.
func TestTraceMetaAgain(t *testing.T) {
	b := newBench(t, Options{})
	r, end := b.trace("")
	defer end()
	b.next(r)
	b.node.mu.Lock()
	b.node.meta.Peers = []trace.MetaPeer{{Public: addr("192.0.2.1"), Backend: "udp"}}
	b.node.mu.Unlock()
	for id := uint64(0); ; id++ { // one of them is met by a look at the peers
		b.node.tell(trace.Record{ID: id})
		e := b.next(r)
		if e.Meta != nil {
			if len(e.Meta.Peers) != 1 || e.Meta.Snaplen != trace.DefaultSnaplen {
				t.Errorf("%+v", e.Meta)
			}
			return
		}
	}
}

// A client that goes away ends its session, and one that comes too many is told.
func TestTraceClientLeaves(t *testing.T) {
	b := newBench(t, Options{})
	var ends []func()
	for range maxTraces {
		r, end := b.trace("")
		b.next(r)
		ends = append(ends, end)
	}
	b.refused(429, "POST", "/v1/trace", "")
	for _, end := range ends {
		end()
		b.awaitLog("trace ends")
	}
	if b.node.hub.Active() != nil {
		t.Error("a session was left open")
	}
}

// A server that is closed says so in the trace.
func TestTraceEndsWithTheServer(t *testing.T) {
	b := newBench(t, Options{})
	r, end := b.trace("")
	defer end()
	b.next(r)
	b.srv.Close()
	if e := b.next(r); e.End != "the node stops" {
		t.Errorf("%+v", e)
	}
}

// A client that does not read holds up neither those who hand in records nor the
// end of the server.
func TestTraceClientDoesNotRead(t *testing.T) {
	b := newBench(t, Options{})
	r, end := b.trace("")
	defer end()
	b.next(r)
	frame := trace.AppendFrame(nil, trace.FrameRecord, make([]byte, 1<<20))
	for _, s := range b.node.hub.Active() {
		for b.node.hub.Lost() == 0 { // until all buffers on the way are full
			s.Deliver(frame, 1)
		}
	}
	b.srv.Close()
	if b.node.hub.Active() != nil {
		t.Error("the session was left open")
	}
}

func TestDrops(t *testing.T) {
	b := newBench(t, Options{})
	b.node.meta = trace.Meta{Schema: 1, Node: "n1"}
	b.node.hub.Flight.Keep(&trace.Record{ID: 5, Time: 1, Drop: encap.Delivered + 1, Snap: []byte{9}})
	res, err := b.http.Get("http://weft/v1/drops")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r := trace.NewReader(res.Body)
	if e := b.next(r); e.Meta == nil || e.Meta.Node != "n1" {
		t.Errorf("%+v", e)
	}
	if e := b.next(r); e.Record == nil || e.Record.ID != 5 || e.Record.Drop != encap.Delivered+1 {
		t.Errorf("%+v", e)
	}
	if e := b.next(r); e.End == "" {
		t.Errorf("%+v", e)
	}
}
