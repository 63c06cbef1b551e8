package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// An Index is what a server can be asked.
type Index struct {
	Schema    int      `json:"schema"`
	Version   string   `json:"version"`
	Node      string   `json:"node"`
	Endpoints []string `json:"endpoints"` // method and path
}

// An endpoint is one thing that can be asked.
type endpoint struct {
	method, path string
	answer       func(http.ResponseWriter, *http.Request) error
	change       string        // what it does, if it needs the right to change
	slots        chan struct{} // bounds how many there are at once; nil: no bound
}

// endpoints lists everything that can be asked.
func (s *Server) endpoints() []endpoint {
	return []endpoint{
		{method: "GET", path: "/v1/", answer: s.index},
		{method: "GET", path: "/v1/status", answer: s.status},
		{method: "GET", path: "/v1/drops", answer: s.drops},
		{method: "GET", path: "/v1/explain", answer: s.explain, slots: s.asking},
		{method: "GET", path: "/v1/metrics", answer: s.promText},
		{method: "POST", path: "/v1/trace", answer: s.trace, change: "a trace", slots: s.traces},
		{method: "POST", path: "/v1/ping", answer: s.ping, change: "a ping", slots: s.active},
		{method: "POST", path: "/v1/doctor", answer: s.doctor, change: "the doctor", slots: s.active},
	}
}

// serve answers one request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set(HeaderSchema, fmt.Sprint(Schema))
	h.Set(HeaderVersion, s.opt.Version)
	h.Set("Cache-Control", "no-store")
	if !s.enter() {
		s.refuse(w, r, &Error{Message: "the node stops", Status: http.StatusServiceUnavailable})
		return
	}
	defer s.running.Done()
	if r.ContentLength != 0 { // its body may end late or never, and nobody waits for that
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.bodyTime)) // fails if reads do already
	}
	if r.ContentLength < 0 || r.ContentLength > 0 && r.Method == http.MethodGet {
		h.Set("Connection", "close")
		defer giveUp(w)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	e, err := s.find(w, r)
	if err == nil {
		err = s.answer(e, w, r)
	}
	if err != nil {
		s.refuse(w, r, err)
	}
}

// find returns the endpoint that r is for.
func (s *Server) find(w http.ResponseWriter, r *http.Request) (endpoint, error) {
	all := s.endpoints()
	i := slices.IndexFunc(all, func(e endpoint) bool { return e.path == r.URL.Path })
	if i < 0 {
		text := fmt.Sprintf("%s: there is no such endpoint; GET /v1/ lists them", r.URL.Path)
		if v, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); v != "v1" {
			text = fmt.Sprintf("%s: this weft speaks /v1/ only", r.URL.Path)
		}
		return endpoint{}, &Error{Message: text, Status: http.StatusNotFound}
	}
	e := all[i]
	if e.method != r.Method {
		w.Header().Set("Allow", e.method)
		return e, &Error{Message: fmt.Sprintf("%s %s: want %s", r.Method, e.path, e.method), Status: http.StatusMethodNotAllowed}
	}
	if r.Method == http.MethodGet && r.ContentLength != 0 {
		return e, &Error{Message: fmt.Sprintf("GET %s: request body: there must be none", e.path)}
	}
	return e, nil
}

// answer checks the right and the bound, and answers.
func (s *Server) answer(e endpoint, w http.ResponseWriter, r *http.Request) error {
	if e.change != "" {
		who := callerIn(r)
		if err := s.trust.mayChange(who, e.change); err != nil {
			return err
		}
		s.log.Debug("control socket", "path", e.path, "uid", who.uid)
	}
	if e.slots != nil {
		select {
		case e.slots <- struct{}{}:
			defer func() { <-e.slots }()
		default:
			return &Error{Message: fmt.Sprintf("%s: there are %d already; try again when one has ended", e.path, cap(e.slots)),
				Status: http.StatusTooManyRequests}
		}
	}
	return e.answer(w, r)
}

// refuse sends an error. One that is none of ours is the node's failure.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var e *Error
	if !errors.As(err, &e) {
		if r.Context().Err() != nil {
			return // the client has gone, or we go: nobody reads it
		}
		s.log.Warn("control socket", "path", r.URL.Path, "err", err)
		e = &Error{Message: err.Error(), Status: http.StatusInternalServerError}
	}
	status := e.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	s.write(w, status, e)
}

// write sends one JSON object. A client that has gone meanwhile is no concern.
func (s *Server) write(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		s.log.Error("control socket: an answer has no JSON form", "err", err)
		status, b = http.StatusInternalServerError, []byte(`{"error":"the answer has no JSON form"}`)
	}
	if hurry(w) != nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

// giveUp lets reads of the request's body fail from now on.
func giveUp(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now()) // fails if they fail already
}

// unhurried lets the request's body last as long as it likes. (That of others has
// been read to its end by then, after which the server lifts the deadline itself.)
func unhurried(w http.ResponseWriter) error {
	return http.NewResponseController(w).SetReadDeadline(time.Time{})
}

// hurry gives the client answerTime to take in what is written next.
func hurry(w http.ResponseWriter) error {
	return http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
}
