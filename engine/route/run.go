package route

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"weft/engine/route/rtmon"
)

const (
	debounce    = 50 * time.Millisecond // from an event to the check it causes
	debounceMax = 5 * time.Second       // the same, when repairs do not last
	fullCheck   = 10 * time.Second      // between checks without any event
)

// Run keeps the last Desired true until ctx ends, when it returns nil, or
// until Close. It wakes on events about the device, its addresses and our
// routes; several within the debounce time cause one check. Whoever keeps
// undoing our repairs is answered ever more slowly.
func (r *Reconciler) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	news := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() { ended <- r.listen(ctx, news) }()

	tick := time.NewTicker(r.every)
	defer tick.Stop()
	delay := pace(debounce)
	var due <-chan time.Time
	for {
		select {
		case err := <-ended:
			cancel()
			return err
		case <-news:
			if due == nil {
				due = time.After(time.Duration(delay))
			}
		case <-due:
			due = nil
			delay = delay.after(r.check(ctx, false), false)
		case <-tick.C:
			delay = delay.after(r.check(ctx, true), true)
		}
	}
}

// A pace is how long Run waits between an event and its check. It doubles with
// each repair, and starts anew when a full check finds all well: the check
// that our own repair causes says nothing about whether it lasts.
type pace time.Duration

func (p pace) after(repaired, full bool) pace {
	switch {
	case repaired:
		return min(2*p, pace(debounceMax))
	case full:
		return pace(debounce)
	}
	return p
}

// listen turns events that concern us into news until ctx ends.
func (r *Reconciler) listen(ctx context.Context, news chan<- struct{}) error {
	for {
		events, err := r.mon.Next(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, os.ErrClosed):
			return nil
		case err != nil && !errors.Is(err, rtmon.ErrLost):
			return fmt.Errorf("route: %w", err)
		}
		matters := err != nil
		for _, ev := range events {
			matters = r.concerns(ev) || matters
		}
		if matters {
			select {
			case news <- struct{}{}:
			default:
			}
		}
	}
}

// concerns reports whether ev may have touched the desired state.
func (r *Reconciler) concerns(ev rtmon.Event) bool {
	in := r.about.Load()
	if in == nil {
		return false
	}
	switch ev.Kind {
	case rtmon.LinkGone:
		if ev.Index == in.index {
			r.gone.Store(int64(ev.Index))
		}
		return ev.Index == in.index || in.names[ev.Name]
	case rtmon.Link:
		return ev.Index == in.index || in.names[ev.Name]
	case rtmon.Addr:
		return ev.Index == in.index
	case rtmon.Route:
		return ev.Table == unix.RT_TABLE_MAIN && (ev.Protocol == Protocol || in.dsts[ev.Dst])
	}
	return false
}

// check compares, repairs, and reports whether there was anything to repair.
// A full check looks at the sysctls too, for which there are no events here.
func (r *Reconciler) check(ctx context.Context, full bool) bool {
	n, lost := r.repair(ctx, full)
	if lost {
		if f := r.lost.Load(); f != nil {
			(*f)()
		}
	}
	return n > 0
}

// repair does the part of check that holds mu.
func (r *Reconciler) repair(ctx context.Context, full bool) (n int, lost bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.want == nil {
		return 0, false
	}
	link, missing, err := r.kern.link(r.want.Link)
	if err != nil && !missing {
		r.complain(err)
		return 0, false
	}
	// Gone is also a device whose successor is here already.
	lost = r.index != 0 && (missing || int(r.gone.Load()) == r.index || link.Attrs().Index != r.index)
	if lost {
		r.log.Warn("the link has disappeared", "iface", r.want.Link)
		r.index, r.acceptLocal = 0, false
	}
	if missing {
		r.attend(0)
		return 0, lost
	}
	if fresh := r.index != link.Attrs().Index; fresh {
		r.adopt(link)
		full = true
	}
	if full {
		r.sysctls(false)
	}
	n, err = r.converge(ctx, link, func(c change) {
		r.repairs.Add(1)
		r.log.Warn("repaired", "iface", r.want.Link, "change", c.String())
	})
	if ctx.Err() == nil {
		r.complain(err)
	}
	return n, lost
}

// complain logs a failure when it is not the one logged last.
func (r *Reconciler) complain(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != r.complaint {
		r.log.Error("repair failed", "iface", r.want.Link, "err", err)
	}
	r.complaint = text
}
