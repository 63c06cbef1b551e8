package masq

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// memPlace is a place without a kernel.
type memPlace struct {
	mu     sync.Mutex
	held   [2]family
	broken error
	writes int
	calls  int
	events chan struct{}
}

func (p *memPlace) name() string { return "memory" }

func (p *memPlace) apply(_ context.Context, want [2]family) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	if p.broken != nil {
		return false, p.broken
	}
	if len(p.held[0].masq) == len(want[0].masq) {
		return false, nil
	}
	p.held = want
	p.writes++
	return true, nil
}

// flush is what somebody else does to the rules.
func (p *memPlace) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = [2]family{}
}

func (p *memPlace) watch(context.Context) (<-chan struct{}, error) { return p.events, nil }

func TestRunRepairsAfterEventsAndByResync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &memPlace{events: make(chan struct{}, 1)}
		var log bytes.Buffer
		m := &Manager{log: slog.New(slog.NewTextHandler(&log, nil)), resync: time.Minute, use: p}
		if err := m.Apply(t.Context(), dual()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		synctest.Wait()
		if m.Repairs() != 0 {
			t.Fatalf("%d repairs of rules that nobody touched", m.Repairs())
		}

		p.flush()
		p.events <- struct{}{}
		synctest.Wait()
		if len(p.held[0].masq) == 0 || m.Repairs() != 1 {
			t.Fatalf("after an event: %d rules, %d repairs", len(p.held[0].masq), m.Repairs())
		}

		p.flush()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(p.held[0].masq) == 0 || m.Repairs() != 2 {
			t.Fatalf("after a resync period: %d rules, %d repairs", len(p.held[0].masq), m.Repairs())
		}

		close(p.events) // the resync goes on without events, and says so
		p.flush()
		time.Sleep(time.Minute)
		synctest.Wait()
		if m.Repairs() != 3 || !strings.Contains(log.String(), "by the resync only") {
			t.Fatalf("after the events ended: %d repairs, log:\n%s", m.Repairs(), log.String())
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

// The same trouble is reported once, not once per period.
func TestRunReportsTroubleOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &memPlace{}
		var log bytes.Buffer
		m := &Manager{log: slog.New(slog.NewTextHandler(&log, nil)), resync: time.Second, use: p}
		if err := m.Apply(t.Context(), dual()); err != nil {
			t.Fatal(err)
		}
		p.broken = errors.New("no space")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer cancel()
		if err := m.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(log.String(), "no space"); n != 1 || p.calls < 10 {
			t.Errorf("%d checks, %d reports:\n%s", p.calls, n, log.String())
		}
	})
}

// A node whose first write failed gets its rules, and loses the other mode's,
// as soon as writing works; that is no repair.
func TestRunCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &memPlace{broken: errors.New("locked")}
		other := &memPlace{held: [2]family{{masq: make([]rule, 6)}}}
		m := &Manager{log: slog.New(slog.DiscardHandler), resync: time.Second, use: p, others: []place{other}}
		if err := m.Apply(t.Context(), dual()); err == nil {
			t.Fatal("Apply hides that nothing could be written")
		}
		p.broken = nil
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := m.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if p.writes != 1 || other.writes != 1 || m.Repairs() != 0 {
			t.Errorf("%d writes, %d removals, %d repairs; want 1, 1, 0", p.writes, other.writes, m.Repairs())
		}
	})
}

func TestNothingIsKeptBeforeApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &memPlace{}
		m := &Manager{log: slog.New(slog.DiscardHandler), resync: time.Second, use: p}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := m.Run(ctx); err != nil || p.calls != 0 {
			t.Errorf("Run: %v, %d calls", err, p.calls)
		}
	})
}

func TestApplyClearsOtherPlacesOnceAndLast(t *testing.T) {
	use := &memPlace{}
	other := &memPlace{held: [2]family{{masq: make([]rule, 6)}}}
	m := &Manager{log: slog.New(slog.DiscardHandler), use: use, others: []place{other}}

	use.broken = errors.New("refused")
	if err := m.Apply(t.Context(), dual()); err == nil || other.calls != 0 {
		t.Fatalf("Apply: %v; the other mode's rules must stay while ours are not in", err)
	}
	use.broken = nil
	for range 2 {
		if err := m.Apply(t.Context(), dual()); err != nil {
			t.Fatal(err)
		}
	}
	if other.writes != 1 || other.calls != 1 || len(other.held[0].masq) != 0 {
		t.Errorf("other place: %d calls, %d writes, holds %v", other.calls, other.writes, other.held)
	}
}

func TestNegativeResyncIsAnError(t *testing.T) {
	if _, err := New(Options{Resync: -time.Second}); err == nil || !strings.Contains(err.Error(), "-1s") {
		t.Errorf("New: %v", err)
	}
}

func TestNowhereToWriteIsAWarning(t *testing.T) {
	var log bytes.Buffer
	m, err := New(Options{NFTables: true, NoNFT: true, NoIPTables: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if m.Mode() != "none" || strings.Count(log.String(), "level=WARN") != 1 {
		t.Errorf("mode %s, log:\n%s", m.Mode(), log.String())
	}
	if err := m.Apply(t.Context(), dual()); err != nil {
		t.Errorf("Apply: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
}
