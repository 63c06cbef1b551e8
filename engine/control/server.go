package control

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Headers of every answer.
const (
	HeaderSchema  = "Weft-Schema"  // the server's Schema
	HeaderVersion = "Weft-Version" // the version of weft that answers
)

// Options says what a server answers with.
type Options struct {
	Node    Node          // nil: there is none yet; see SetNode
	Metrics http.Handler  // nil: none
	Phase   func() string // what the process does while there is no node; nil: "starting"
	Name    string        // of the node
	Version string        // of weft
	Log     *slog.Logger  // nil: slog.Default
}

// Bounds of a server.
const (
	maxConns   = 128              // connections at once; more are closed
	ownConns   = 16               // of these, how many are kept for those with the right to change
	maxTraces  = 8                // traces at once
	maxActive  = 4                // pings and doctors at once
	maxAsking  = 4                // explanations at once, each of which may ask a peer
	maxHeader  = 64 << 10         // bytes of a request's head, which holds a trace's filter
	maxBody    = 64 << 10         // bytes of a request's body
	headTime   = 5 * time.Second  // to send a request's head in, and as long for its body
	idleTime   = time.Minute      // between two requests on one connection
	answerTime = 10 * time.Second // to make a plain answer, and to take one in
	probeTime  = 2 * time.Minute  // for a doctor's report
	closeTime  = 50 * time.Millisecond
)

// A Server answers questions about a node.
type Server struct {
	opt    Options
	log    *slog.Logger
	http   *http.Server
	trust  trust
	traces chan struct{} // a slot for each trace
	active chan struct{}
	asking chan struct{}

	bodyTime time.Duration // headTime

	crowd crowd

	ctx  context.Context // ends with Close
	stop context.CancelFunc

	mu      sync.Mutex
	node    Node
	metrics http.Handler
	closed  bool
	running sync.WaitGroup // requests; not added to once closed
}

// New returns a server that listens nowhere yet.
func New(o Options) *Server {
	s := &Server{opt: o, log: o.Log, trust: ownTrust(), node: o.Node, metrics: o.Metrics,
		traces: make(chan struct{}, maxTraces), active: make(chan struct{}, maxActive), asking: make(chan struct{}, maxAsking),
		bodyTime: headTime, crowd: crowd{conns: map[net.Conn]bool{}}}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ConnContext:       withCaller,
		ConnState:         s.count,
		ReadHeaderTimeout: headTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return s
}

// SetNode tells the server which node there is, from now on. metrics may be nil.
func (s *Server) SetNode(n Node, metrics http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.node, s.metrics = n, metrics
}

// Serve answers what comes in at l, which it closes in the end. It returns nil
// after Close.
func (s *Server) Serve(l net.Listener) error {
	err := s.http.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close ends all requests that are under way and closes all listeners. What can
// still say a last word may do so for a moment; it never takes longer than twice
// that.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	done := make(chan struct{})
	go func() { s.running.Wait(); close(done) }()
	within(done, closeTime)
	s.http.Close() // breaks writes to clients that do not read
	if !within(done, closeTime) {
		s.log.Warn("a request to the control socket has not ended in time; leaving it behind")
	}
}

// within reports whether done is closed before d is over.
func within(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// enter notes that a request has begun; false: the server is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	return true
}

// asked returns the node; the error says why there is none.
func (s *Server) asked() (Node, error) {
	s.mu.Lock()
	n := s.node
	s.mu.Unlock()
	if n != nil {
		return n, nil
	}
	phase := "starting"
	if s.opt.Phase != nil {
		phase = s.opt.Phase()
	}
	return nil, &Error{Message: "the node cannot be asked yet: " + phase, Status: http.StatusServiceUnavailable}
}
