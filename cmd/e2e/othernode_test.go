package e2e

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"os"
	"os/signal"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"weft/lease"
)

// The test binary is also a node that is not weft, of more than one kind. What
// these have in common stands here.

// play makes the program a node if it was called by that name, and ends it with
// the node.
func play(name string, run func(ctx context.Context, args []string) error) {
	if len(os.Args) < 2 || os.Args[1] != name {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[2:]); err != nil {
		slog.Error(name+" failed", "err", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A registry is a lease store as a node uses it.
type registry interface {
	lease.Source
	lease.Registrar
	Close() error
}

// serve says that a node is ready, keeps its lease, and has program bring it
// after the leases until ctx ends.
func serve(ctx context.Context, store registry, own lease.Lease, log *slog.Logger, program func(iter.Seq[lease.Lease]) error) error {
	kept := make(chan error, 1)
	go func() { kept <- store.Keep(ctx, own) }()
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return err
	}
	return errors.Join(follow(ctx, store, log, program), <-kept)
}

func follow(ctx context.Context, store registry, log *slog.Logger, program func(iter.Seq[lease.Lease]) error) error {
	var set lease.Set
	for u, err := range store.Watch(ctx) {
		if err != nil {
			log.Warn("leases could not be read", "err", err)
			continue
		}
		if set.Apply(u) {
			if err := program(set.All()); err != nil {
				return err
			}
		}
	}
	return nil
}
