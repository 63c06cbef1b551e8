package masq

import (
	"context"
	"errors"
	"time"
)

// Run keeps the applied rules until ctx ends and then returns nil: it checks
// them after each change that the kernel reports and once per resync period.
// Before the first Apply there is nothing to keep.
func (m *Manager) Run(ctx context.Context) error {
	if m.use == nil {
		<-ctx.Done()
		return nil
	}
	events := m.watch(ctx)
	tick := time.NewTicker(m.resync)
	defer tick.Stop()
	m.check(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			m.check(ctx)
		case _, ok := <-events:
			if !ok {
				events = nil
				m.warnResyncOnly(ctx, errors.New("the kernel's notes ended"))
				continue
			}
			m.check(ctx)
			pause(ctx, eventGap)
		}
	}
}

// eventGap is the least time between two checks that events ask for. Our own
// writes are events too, and somebody who rewrites his rules all the time
// must not make us read ours all the time.
const eventGap = 200 * time.Millisecond

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (m *Manager) watch(ctx context.Context) <-chan struct{} {
	w, ok := m.use.(watcher)
	if !ok {
		return nil
	}
	events, err := w.watch(ctx)
	if err != nil {
		m.warnResyncOnly(ctx, err)
	}
	return events
}

func (m *Manager) warnResyncOnly(ctx context.Context, err error) {
	if ctx.Err() == nil {
		m.log.Warn("changes to traffic rules are noticed by the resync only", "mode", m.use.name(), "resync", m.resync, "err", err)
	}
}

// check puts back what others have changed.
func (m *Manager) check(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.applied {
		return
	}
	changed, err := m.use.apply(ctx, m.want)
	if changed && m.inPlace {
		m.repairs.Add(1)
		m.log.Warn("traffic rules had been changed and are put back", "mode", m.use.name())
	}
	if err != nil {
		m.report(ctx, err)
		return
	}
	if !m.inPlace {
		m.log.Info("traffic rules written after all", "mode", m.use.name())
	}
	m.inPlace, m.lastErr = true, ""
	m.clearOthers(ctx)
}

// report says each trouble once, however long it lasts.
func (m *Manager) report(ctx context.Context, err error) {
	if ctx.Err() == nil && err.Error() != m.lastErr {
		m.lastErr = err.Error()
		m.log.Error("traffic rules cannot be kept", "mode", m.use.name(), "err", err)
	}
}

// Repairs returns how often Run has put back rules that others had changed.
func (m *Manager) Repairs() uint64 { return m.repairs.Load() }
