package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"weft/cmd/weft/client"
	"weft/engine/control"
	"weft/engine/metrics"
)

// socketOff is the value of --socket that stands for none.
const socketOff = "off"

// socketPath is where the control socket is to be; empty: nowhere. It makes the
// directory.
func (o *options) socketPath(getenv func(string) string) (string, error) {
	switch o.socket {
	case socketOff:
		return "", nil
	case "":
		return client.MakePath(client.Dirs(getenv), o.nodeName)
	}
	if err := os.MkdirAll(filepath.Dir(o.socket), 0o755); err != nil {
		return "", fmt.Errorf("%s=%s: %w", o.source("socket"), o.socket, err)
	}
	return o.socket, nil
}

// newControl returns the control server of s, which has no node to ask yet.
func (s *supervisor) newControl() *control.Server {
	return control.New(control.Options{
		Name: s.opt.nodeName, Version: readVersion().Version, Log: s.log,
		Phase: func() string { _, why := s.ready(); return why },
	})
}

// serveControl lets srv answer at the control socket and returns the function
// that stops it. A socket that cannot be made is reported in the log only.
func (s *supervisor) serveControl(srv *control.Server) (stop func()) {
	path, err := s.opt.socketPath(os.Getenv)
	if path == "" && err == nil {
		return srv.Close
	}
	var l *control.Listener
	if err == nil {
		l, err = control.Listen(path, s.opt.socketGroup, s.log)
	}
	if err != nil {
		s.log.Error("no control socket; going on without it, so weft status and others cannot ask this node", "err", err)
		return srv.Close
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(l); err != nil {
			s.log.Error("control server ended", "err", err)
		}
	}()
	s.log.Info("control socket listens", "path", l.Path)
	return func() { srv.Close(); <-done }
}

// canBeAsked hands the node to those who ask, if it can be asked.
func (s *supervisor) canBeAsked(n node) {
	asked, ok := n.(control.Node)
	if !ok {
		return
	}
	h := metrics.Handler(asked, s.log)
	s.mu.Lock()
	s.metrics = h
	s.mu.Unlock()
	s.control.SetNode(asked, h)
}

// metricsHandler is what /metrics of the health port answers by; nil: nothing yet,
// or not wanted there.
func (s *supervisor) metricsHandler() http.Handler {
	if !s.opt.metrics {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.metrics
}
