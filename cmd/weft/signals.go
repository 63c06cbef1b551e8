package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// watchSignals returns a context that SIGINT or SIGTERM ends. After the first
// of them both have their default action again, so a second one kills. SIGHUP
// is logged and otherwise ignored: nothing is read again while a node runs.
// release undoes it all.
func watchSignals(parent context.Context, log *slog.Logger) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancel(parent)
	got := make(chan os.Signal, 4)
	signal.Notify(got, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range got {
			if s == syscall.SIGHUP {
				log.Info("SIGHUP ignored: nothing is reloaded while the node runs")
				continue
			}
			signal.Reset(syscall.SIGINT, syscall.SIGTERM)
			log.Info("stopping", "signal", s.String())
			cancel()
		}
	}()
	return ctx, func() {
		signal.Stop(got)
		close(got)
		<-done
		cancel()
	}
}
