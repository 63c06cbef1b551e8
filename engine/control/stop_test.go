package control

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"weft/engine/trace"
)

// The end of the request's body ends a trace, and all is told: also to a client
// that was so far behind that records were lost.
func TestTraceStop(t *testing.T) {
	for name, enough := range map[string]func(told int, n *fakeNode) bool{
		"nothing":         func(int, *fakeNode) bool { return true },
		"some":            func(told int, _ *fakeNode) bool { return told == 1000 },
		"more than a lot": func(_ int, n *fakeNode) bool { return n.hub.Lost() > 100 },
	} {
		b := newBench(t, Options{})
		body, stop := io.Pipe()
		r, end := b.traceWith("", body)
		b.next(r)
		told := 0
		for ; !enough(told, b.node); told++ {
			b.node.tell(trace.Record{ID: uint64(told), Snap: make([]byte, 4096)})
		}
		stop.Close()
		var shown, lost uint64
		var last string
		for last == "" {
			e := b.next(r)
			if e.Record != nil {
				shown++
			}
			lost += e.Lost
			last = e.End
		}
		if shown+lost != uint64(told) || last != Stopped {
			t.Errorf("%s: %d shown and %d lost of %d, %q", name, shown, lost, told, last)
		}
		b.awaitLog("trace ends")
		if b.node.hub.Active() != nil {
			t.Error("the session was left open")
		}
		end()
	}
}

// A body that breaks off ends the trace, and so does one that is too long.
func TestTraceBodyEndsBadly(t *testing.T) {
	for name, how := range map[string]func(*io.PipeWriter){
		"breaks off": func(w *io.PipeWriter) { w.CloseWithError(io.ErrUnexpectedEOF) },
		"too long":   func(w *io.PipeWriter) { w.Write(make([]byte, 2*maxBody)) },
	} {
		b := newBench(t, Options{})
		body, stop := io.Pipe()
		r, end := b.traceWith("", body)
		b.next(r)
		go how(stop)
		b.awaitLog("trace ends")
		if b.node.hub.Active() != nil {
			t.Errorf("%s: the session was left open", name)
		}
		end()
		stop.Close()
	}
}

// A client that could stop its trace may also just go, and so may the server; or
// the trace ends by itself.
func TestTraceStopChannelLeftOpen(t *testing.T) {
	b := newBench(t, Options{})
	body, stop := io.Pipe()
	defer stop.Close()
	r, end := b.traceWith("", body)
	b.next(r)
	end()
	b.awaitLog("trace ends")
	body, stop = io.Pipe()
	defer stop.Close()
	r, end = b.traceWith("count=1", body)
	defer end()
	b.next(r)
	b.node.tell(trace.Record{})
	b.next(r)
	if e := b.next(r); e.End != "count reached" {
		t.Errorf("%+v", e)
	}
	if e, err := r.Next(); err != io.EOF {
		t.Errorf("after the end: %+v, %v", e, err)
	}
	body, stop = io.Pipe()
	defer stop.Close()
	r, end = b.traceWith("", body)
	defer end()
	b.next(r)
	b.srv.Close()
	if e := b.next(r); e.End != "the node stops" {
		t.Errorf("%+v", e)
	}
}

// A request that is refused is answered and done with, though its body goes on.
func TestRefusedBeforeBodyEnds(t *testing.T) {
	b := newBench(t, Options{})
	for path, status := range map[string]int{"/v1/trace?filter=hots": 400, "/v1/nothing": 404, "/v1/status": 405,
		"/v1/" + strings.Repeat("x", 16<<10): 404} { // which is in the answer, so that it does not fit into a buffer
		c, err := Dial(t.Context(), b.at)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: weft\r\nTransfer-Encoding: chunked\r\n\r\n", path)
		in := bufio.NewReader(c)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		var e Error
		if err := json.NewDecoder(res.Body).Decode(&e); err != nil || res.StatusCode != status || e.Message == "" || !res.Close {
			t.Errorf("%.40s: %s, %+v, %v", path, res.Status, e, err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil { // its end comes after the object
			t.Error(err)
		}
		if _, err := in.ReadByte(); err != io.EOF {
			t.Errorf("%.40s: after the answer: %v, want the end of the connection", path, err)
		}
		c.Close()
	}
}
