package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
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
// routes, and on any event at all while there are conditional routes; several
// within the debounce time cause one check. Whoever keeps undoing our repairs
// is answered ever more slowly; a conditional route that comes or goes with its
// condition is no repair.
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
			d := lookups
			if r.touched.Swap(false) {
				d = state
			}
			delay = delay.after(r.check(ctx, d), false)
		case <-tick.C:
			delay = delay.after(r.check(ctx, settings), true)
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
		touched := err != nil
		for _, ev := range events {
			touched = r.concerns(ev) || touched
		}
		if touched {
			r.touched.Store(true)
		}
		if in := r.about.Load(); touched || in != nil && in.lookups && len(events) > 0 {
			select {
			case news <- struct{}{}:
			default:
			}
		}
	}
}

// An interest is what of the kernel's news concerns us.
type interest struct {
	index   int
	names   map[string]bool
	dsts    map[netip.Prefix]bool
	hops    map[int]bool // devices of conditional routes in force
	lookups bool         // there are conditional routes
}

// attend sets the interest after want or the device changed.
func (r *Reconciler) attend(index int) {
	in := &interest{index: index, names: map[string]bool{r.want.Link: true},
		dsts: make(map[netip.Prefix]bool), hops: make(map[int]bool)}
	for _, x := range r.want.Routes {
		in.dsts[x.Dst] = true
		if x.Link != "" {
			in.names[x.Link] = true
		}
		in.lookups = in.lookups || x.Direct
	}
	for _, h := range r.onlink {
		in.hops[h.index] = true
	}
	r.about.Store(in)
}

// concerns reports whether ev may have touched the desired state. A device of a
// conditional route counts, because IPv4 routes go with it unannounced.
func (r *Reconciler) concerns(ev rtmon.Event) bool {
	in := r.about.Load()
	if in == nil {
		return false
	}
	switch ev.Kind {
	case rtmon.Link, rtmon.LinkGone:
		return ev.Index == in.index || in.names[ev.Name] || in.hops[ev.Index]
	case rtmon.Addr:
		return ev.Index == in.index || in.hops[ev.Index]
	case rtmon.Route:
		return ev.Table == unix.RT_TABLE_MAIN && (ev.Protocol == Protocol || in.dsts[ev.Dst])
	}
	return false
}

// A depth is how much a check looks at. On a host where pods come and go most
// events touch nothing of ours; asking whether a lookup has another answer now
// must then do, and not cost a listing of all routes.
type depth uint8

const (
	lookups  depth = iota // the gateways of conditional routes
	state                 // these, the device, its addresses and the routes
	settings              // these and the sysctls, for which there are no events here
)

// check compares, repairs, and reports whether there was anything to repair.
func (r *Reconciler) check(ctx context.Context, d depth) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.want == nil {
		return false
	}
	link, missing, err := r.kern.link(r.want.Link)
	if err != nil && !missing {
		r.settled = false // the next check must not be a small one
		r.complain(err)
		return false
	}
	if r.index != 0 && (missing || link.Attrs().Index != r.index) {
		r.log.Warn("the link has disappeared", "iface", r.want.Link)
		r.index, r.acceptLocal = 0, false
	}
	if missing {
		r.attend(0)
		return false
	}
	if fresh := r.index != link.Attrs().Index; fresh {
		r.adopt(link)
		d = settings
	}
	switch {
	case d == lookups && r.unmoved():
		return false
	case d == settings:
		r.sysctls(false)
	}
	return r.repair(ctx, link) > 0
}

// repair makes the desired state true and says what that took. The caller
// holds mu.
func (r *Reconciler) repair(ctx context.Context, link netlink.Link) (repaired int) {
	before := r.onlink
	err := r.converge(ctx, link, func(c change) {
		if via := c.route.Via; before[via] != r.onlink[via] {
			r.log.Info("followed the underlay", "iface", r.want.Link, "change", c.String())
			return
		}
		repaired++
		r.repairs.Add(1)
		r.log.Warn("repaired", "iface", r.want.Link, "change", c.String())
	})
	if ctx.Err() == nil {
		r.complain(err)
	}
	return repaired
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
