package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"weft/engine"
	"weft/engine/control"
)

// stopTime is how long the node may take to stop once told to. With
// healthStopTime it stays below the second that weft promises.
const stopTime = 800 * time.Millisecond

// A supervisor runs one node and tells the outside how it fares: the health
// server, the control socket, systemd, and with its result the exit code.
type supervisor struct {
	opt       *options
	log       *slog.Logger
	newNode   func(engine.Options) (node, error)
	openStore func(context.Context, *options, *slog.Logger) (*store, error)
	notify    func(log *slog.Logger, state string)

	control *control.Server

	mu      sync.Mutex
	node    node         // nil until there is one
	phase   string       // why not ready, when it is not for the node to say
	metrics http.Handler // nil until there is a node that can be asked
}

// run runs the node until ctx ends and then returns nil, whatever the node
// says of its own stop: it was asked for. Before that any end of the node is
// an error, so that a supervisor above us starts it again.
func (s *supervisor) run(ctx context.Context) error {
	s.setPhase("starting")
	defer serveHealth(ctx, s.log, s.opt.healthzIP, s.opt.healthzPort, healthHandler(s.ready, s.metricsHandler))()
	s.control = s.newControl()
	closeControl := s.serveControl(s.control)
	defer closeControl()
	ended := make(chan error, 1)
	go func() { ended <- s.live(ctx) }()
	select {
	case err := <-ended:
		s.setPhase("stopping")
		s.notify(s.log, daemon.SdNotifyStopping)
		return s.verdict(ctx, err)
	case <-ctx.Done():
	}
	s.setPhase("stopping")
	s.notify(s.log, daemon.SdNotifyStopping)
	late := time.NewTimer(stopTime)
	defer late.Stop()
	closeControl() // so that traces end with a word, while the node stops
	select {
	case err := <-ended:
		return s.verdict(ctx, err)
	case <-late.C:
		s.log.Error("the node has not stopped in time; leaving it behind", "limit", stopTime)
		return nil
	}
}

// verdict turns the end of the node into the result of run.
func (s *supervisor) verdict(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		if err == nil {
			err = errors.New("the node ended without having been told to")
		}
		return err
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		s.log.Error("the node did not stop cleanly", "err", err)
		return nil
	}
	s.log.Info("weft ends")
	return nil
}

// live opens the store and runs the node from start to end.
func (s *supervisor) live(ctx context.Context) error {
	s.setPhase("opening the lease store")
	st, err := s.openStore(ctx, s.opt, s.log)
	if err != nil {
		return err
	}
	defer func() {
		if err := st.close(); err != nil {
			s.log.Warn("lease store did not close cleanly", "err", err)
		}
	}()
	eo := s.opt.engineOptions()
	eo.Registrar, eo.Source, eo.Log = st.registrar, st.source, s.log
	eo.OnReady = func() {
		s.log.Info("ready")
		s.notify(s.log, daemon.SdNotifyReady)
	}
	n, err := s.newNode(eo)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.node = n
	s.phase = ""
	s.mu.Unlock()
	s.canBeAsked(n)
	return n.Run(ctx)
}

func (s *supervisor) setPhase(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase = why
}

// ready is what /readyz answers. The node decides; it may say no again after
// it said yes.
func (s *supervisor) ready() (ok bool, why string) {
	s.mu.Lock()
	n, phase := s.node, s.phase
	s.mu.Unlock()
	if phase != "" || n == nil {
		return false, phase
	}
	return n.Ready()
}

// notifySystemd tells systemd about a change of state, if it wants to know.
func notifySystemd(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd was not told", "state", state, "err", err)
	}
}
