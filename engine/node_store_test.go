package engine

import (
	"context"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"time"

	"weft/lease"
)

// patience bounds how long a test waits for an event before it fails.
const patience = 30 * time.Second

// A script is a lease store that does what a test tells it to.
type script struct {
	t       *testing.T
	conf    *lease.Config
	own     lease.Lease
	updates chan scripted
	keep    chan error
	claims  chan lease.Claim
}

type scripted struct {
	update lease.Update
	err    error
}

func newScript(t *testing.T, conf string, own lease.Lease) *script {
	t.Helper()
	c, err := lease.ParseConfig([]byte(conf))
	must(t, err)
	return &script{t: t, conf: c, own: own, updates: make(chan scripted), keep: make(chan error), claims: make(chan lease.Claim, 9)}
}

func (s *script) Config(context.Context) (*lease.Config, error) { return s.conf, nil }

func (s *script) Acquire(_ context.Context, c lease.Claim) (lease.Lease, error) {
	s.claims <- c
	own := s.own
	own.Attrs = c.Attrs
	return own, nil
}

func (s *script) Keep(ctx context.Context, _ lease.Lease) error {
	select {
	case err := <-s.keep:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (s *script) Watch(ctx context.Context) iter.Seq2[lease.Update, error] {
	return func(yield func(lease.Update, error) bool) {
		for {
			select {
			case u := <-s.updates:
				if !yield(u.update, u.err) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// tell yields an update or an error and returns when the node has dealt with
// it: it asks for the next only then.
func (s *script) tell(u lease.Update, err error) {
	s.t.Helper()
	for _, x := range []scripted{{u, err}, {}} {
		select {
		case s.updates <- x:
		case <-time.After(patience):
			s.t.Fatal("the node does not follow its lease store")
		}
	}
}

// A journal is a log in which a test waits for lines.
type journal struct {
	t     *testing.T
	lines chan string
}

func newJournal(t *testing.T) *journal { return &journal{t, make(chan string, 1000)} }

func (j *journal) Write(line []byte) (int, error) {
	j.lines <- string(line)
	return len(line), nil
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// await waits for the next line that contains text.
func (j *journal) await(text string) {
	j.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line := <-j.lines:
			j.t.Log(strings.TrimSpace(line))
			if strings.Contains(line, text) {
				return
			}
		case <-timeout:
			j.t.Fatalf("waiting for %q in the log", text)
		}
	}
}

// eventually waits for what has no event to wait for.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !cond() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waiting for %s", what)
		}
	}
}
