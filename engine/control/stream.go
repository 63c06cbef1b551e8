package control

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"weft/engine/trace"
)

// drops sends the flight recorder's records as a stream that ends. What pods say
// is left out for who may only read.
func (s *Server) drops(w http.ResponseWriter, r *http.Request) error {
	n, err := s.plain(r)
	if err != nil {
		return err
	}
	meta, records := n.Drops()
	out := stream{w: w}
	out.meta(meta)
	whole := s.trust.has(callerIn(r))
	var body []byte
	for _, record := range records {
		if !whole {
			record.Snap = headers(&record)
		}
		body = record.Append(body[:0])
		out.frame(trace.FrameRecord, body)
	}
	out.frame(trace.FrameEnd, []byte("that is all"))
	out.send(nil)
	return nil
}

// trace runs a session until it is over, or the client says so or has gone.
func (s *Server) trace(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r)
	o := trace.Options{Filter: p.text("filter"), Snaplen: p.integer("snaplen", trace.MaxSnaplen),
		Sample: p.integer("sample", maxCount), Count: p.integer("count", maxCount), For: p.duration("for")}
	err := p.done()
	if err == nil && r.ContentLength >= 0 {
		err = decode(r, nil)
	}
	if err != nil {
		return err
	}
	n, err := s.asked()
	if err != nil {
		return err
	}
	session, err := n.Trace(o)
	if err != nil {
		return request(err)
	}
	s.log.Info("trace begins", "filter", o.Filter)
	defer s.log.Info("trace ends", "filter", o.Filter)
	defer session.Close()
	meta := func() trace.Meta {
		m := n.TraceMeta()
		m.Snaplen, m.Sample = session.Snaplen, max(1, o.Sample)
		return m
	}
	if r.ContentLength < 0 {
		release, err := heed(w, r, session)
		if err != nil {
			return err
		}
		defer release()
	}
	out := stream{w: w}
	out.meta(meta())
	if out.send(nil) == nil {
		s.follow(r.Context(), session, meta, &out)
	}
	return nil
}

// heed closes the session when the request's body comes to its end, which is the
// client's word to stop; if it breaks off, nobody will read the rest. What the
// body holds is of no meaning.
func heed(w http.ResponseWriter, r *http.Request, session *trace.Session) (release func(), err error) {
	if err := errors.Join(http.NewResponseController(w).EnableFullDuplex(), unhurried(w)); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxBody))
		session.Close()
	}()
	return func() { giveUp(w); <-done }, nil
}

// request makes an error of the request out of one of the node's.
func request(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{Message: err.Error()}
}

// metaTime is how often a trace looks whether the peers have changed.
const metaTime = time.Second

// Stopped is the end of a trace whose client asked for it.
const Stopped = "stopped"

// follow sends what the session has, until it ends or the client does. Before
// records whose addresses have got another meaning goes a new Meta.
func (s *Server) follow(ctx context.Context, session *trace.Session, meta func() trace.Meta, out *stream) {
	var (
		records []byte
		lost    uint64
		done    string
		looked  = time.Now()
	)
	for done == "" {
		records, lost, done = session.Next(ctx, records)
		if now := time.Now(); now.Sub(looked) >= metaTime {
			out.meta(meta())
			looked = now
		}
		if lost > 0 {
			out.frame(trace.FrameLost, binary.BigEndian.AppendUint64(nil, lost))
		}
		switch {
		case s.ctx.Err() != nil:
			done = "the node stops"
		case done == "closed": // nobody but the client does that meanwhile
			done = Stopped
		}
		if done != "" {
			records = trace.AppendFrame(records, trace.FrameEnd, []byte(done))
		}
		if out.send(records) != nil {
			return
		}
	}
}

// A stream is a trace on its way to a client.
type stream struct {
	w     http.ResponseWriter
	buf   []byte // whole frames, to go before the next records
	known []byte // the latest Meta, as JSON
}

// frame adds a frame.
func (s *stream) frame(kind byte, body []byte) { s.buf = trace.AppendFrame(s.buf, kind, body) }

// meta adds a Meta, unless it is the latest one again.
func (s *stream) meta(m trace.Meta) {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // names, numbers and addresses always have a JSON form
	}
	if !bytes.Equal(b, s.known) {
		s.known = b
		s.frame(trace.FrameMeta, b)
	}
}

// send writes the frames that were added and then records. An error says that the
// client does not read any more.
func (s *stream) send(records []byte) error {
	if err := hurry(s.w); err != nil {
		return err
	}
	s.w.Header().Set("Content-Type", trace.ContentType)
	for _, b := range [][]byte{s.buf, records} {
		if _, err := s.w.Write(b); err != nil {
			return err
		}
	}
	s.buf = s.buf[:0]
	return http.NewResponseController(s.w).Flush()
}
