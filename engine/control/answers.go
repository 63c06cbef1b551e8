package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
)

func (s *Server) index(w http.ResponseWriter, r *http.Request) error {
	if err := newParams(r).done(); err != nil {
		return err
	}
	i := Index{Schema: Schema, Version: s.opt.Version, Node: s.opt.Name}
	for _, e := range s.endpoints() {
		i.Endpoints = append(i.Endpoints, e.method+" "+e.path)
	}
	s.write(w, http.StatusOK, i)
	return nil
}

// plain returns the node, if r has no parameters.
func (s *Server) plain(r *http.Request) (Node, error) {
	if err := newParams(r).done(); err != nil {
		return nil, err
	}
	return s.asked()
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) error {
	n, err := s.plain(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	s.write(w, http.StatusOK, n.Status(ctx))
	return nil
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r)
	q := Question{Src: p.addr("src"), Dst: p.addr("dst"), Proto: p.text("proto"),
		Port: uint16(p.integer("port", maxPort)), Size: p.integer("size", maxPacket), DF: p.boolean("df")}
	if err := p.done(); err != nil {
		return err
	}
	n, err := s.asked()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	e, err := n.Explain(ctx, q)
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, e)
	return nil
}

func (s *Server) promText(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.plain(r); err != nil {
		return err
	}
	s.mu.Lock()
	metrics := s.metrics
	s.mu.Unlock()
	if metrics == nil {
		return &Error{Message: "this node has no metrics", Status: http.StatusNotFound}
	}
	if err := hurry(w); err != nil {
		return err
	}
	metrics.ServeHTTP(w, r)
	return nil
}

func (s *Server) doctor(w http.ResponseWriter, r *http.Request) error {
	n, err := s.plain(r)
	if err == nil {
		err = decode(r, nil)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), probeTime)
	defer cancel()
	report := n.Doctor(ctx)
	s.write(w, http.StatusOK, report)
	return nil
}

// A pingLine is a line of the answer to a ping: a reply, or the error that ended
// it.
type pingLine struct {
	*PingReply
	*Error
}

// ping answers line by line. An error before the first line has a status of its
// own, a later one is the last line.
func (s *Server) ping(w http.ResponseWriter, r *http.Request) error {
	n, err := s.plain(r)
	if err != nil {
		return err
	}
	var ask PingRequest
	if err := decode(r, &ask); err != nil {
		return err
	}
	lines, begun := json.NewEncoder(w), false
	send := func(line pingLine) error {
		if !begun {
			w.Header().Set("Content-Type", "application/x-ndjson")
			begun = true
		}
		if err := hurry(w); err != nil {
			return err
		}
		if err := lines.Encode(line); err != nil {
			return err
		}
		return http.NewResponseController(w).Flush()
	}
	err = n.Ping(r.Context(), ask, func(p PingReply) error { return send(pingLine{PingReply: &p}) })
	if err == nil || !begun {
		return err
	}
	if s.ctx.Err() != nil {
		err = errors.New("the node stops")
	}
	_ = send(pingLine{Error: &Error{Message: err.Error()}}) // fails if it was the client that failed
	return nil
}

// decode reads the body of r into v, strictly; nil: there must be none.
func decode(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if v == nil {
		v = &struct{}{}
	}
	err := d.Decode(v)
	if err == nil && d.More() {
		err = errors.New("more than one JSON object")
	}
	if err == nil || errors.Is(err, io.EOF) { // nothing at all: all defaults
		return nil
	}
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		return &Error{Message: fmt.Sprintf("request body: longer than %d bytes", long.Limit), Status: http.StatusRequestEntityTooLarge}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &Error{Message: "request body: it did not come in time", Status: http.StatusRequestTimeout}
	}
	return &Error{Message: "request body: " + err.Error(), Field: fieldOf(err)}
}

// fieldOf is the field that an error of package json is about, if it tells.
func fieldOf(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return wrong.Field
	}
	var field string
	if _, err := fmt.Sscanf(err.Error(), "json: unknown field %q", &field); err != nil {
		return ""
	}
	return field
}
