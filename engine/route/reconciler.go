package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"weft/engine/route/rtmon"
)

// maxRounds bounds how often one call compares and changes. One round is the
// rule; the kernel has side effects (an address that goes takes routes along)
// that need a second.
const maxRounds = 4

// A Reconciler keeps one tunnel device's addresses, routes and settings as
// desired. Its methods may be called from several goroutines.
type Reconciler struct {
	log     *slog.Logger
	kern    *kernel
	mon     *rtmon.Monitor
	ns      netns.NsHandle
	repairs atomic.Uint64
	touched atomic.Bool              // since the last check, something of ours
	about   atomic.Pointer[interest] // read by the listener while mu is held
	every   time.Duration            // between full checks

	mu          sync.Mutex // held while the kernel's state is read and changed
	want        *Desired   // in normal form; nil before the first Set
	index       int        // of the device last seen; 0 when there is none
	acceptLocal bool
	tuned       map[string]string  // the sysctls last seen to on that device
	settled     bool               // the last comparison left nothing to do
	onlink      map[netip.Addr]hop // as of then: where the gateways of conditional routes are
	direct      []netip.Prefix     // and which of these routes are in force
	conflicts   map[string]bool    // logged and still there
	held        error              // those of them that are errors
	complaint   string             // last failure logged, to say it once
	sysctlError string             // likewise for sysctls
}

// New opens a Reconciler for the network namespace of the calling thread. A
// nil logger is slog's default.
func New(log *slog.Logger) (*Reconciler, error) {
	if log == nil {
		log = slog.Default()
	}
	ns, err := netns.GetFromPath("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("route: own network namespace: %w", err)
	}
	kern, err := openKernel()
	if err != nil {
		ns.Close()
		return nil, err
	}
	mon, err := rtmon.Open(rtmon.Links | rtmon.Addrs | rtmon.Routes | rtmon.Rules)
	if err != nil {
		kern.close()
		ns.Close()
		return nil, err
	}
	return &Reconciler{log: log, kern: kern, mon: mon, ns: ns, every: fullCheck, conflicts: make(map[string]bool)}, nil
}

// Set makes d the desired state, and true: it brings the link up and changes
// only what differs, so that a second call changes nothing. The error joins
// all failures, each naming its route or address; what did work stays, and d
// stays desired whatever failed, so that Run goes on trying. A d that contradicts
// itself is refused as a whole.
//
// A d that differs from the last only in its routes is more of the same: what
// was logged then is not logged again while it lasts, and sysctls that were
// seen to are left to Run.
func (r *Reconciler) Set(ctx context.Context, d Desired) error {
	n, err := d.normal()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.want == nil || !r.want.alike(n) {
		r.complaint, r.sysctlError, r.tuned = "", "", nil
		clear(r.conflicts)
	}
	r.want = &n
	link, _, err := r.kern.link(n.Link)
	if err != nil {
		r.attend(0)
		return err
	}
	r.adopt(link)
	if !maps.Equal(r.tuned, n.sysctls()) {
		r.sysctls(true)
	}
	err = r.converge(ctx, link, func(c change) {
		r.log.Debug("applied", "iface", n.Link, "change", c.String())
	})
	if err == nil {
		r.complaint = "" // it is over, and news if it comes back
	}
	return errors.Join(err, r.held)
}

// Repairs returns how many changes Run has made to undo what others did.
func (r *Reconciler) Repairs() uint64 { return r.repairs.Load() }

// AcceptLocal reports whether the device accepts packets from the tunnel that
// bear an address of this host as their source. Without it, errors that the
// engine sends in the name of the tunnel's address do not arrive.
func (r *Reconciler) AcceptLocal() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acceptLocal
}

// Close ends a Run and releases the sockets. The kernel's state stays.
func (r *Reconciler) Close() error {
	err := r.mon.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.want = nil; r.ns.IsOpen() {
		r.kern.close()
		err = errors.Join(err, r.ns.Close())
	}
	return err
}

// adopt notes which device is meant now, and hushes a new one. The caller
// holds mu.
func (r *Reconciler) adopt(link netlink.Link) {
	if index := link.Attrs().Index; index != r.index {
		if err := r.kern.quiet(link); err != nil {
			r.log.Debug("the kernel may give the link an IPv6 address of its own", "iface", r.want.Link, "err", err)
		}
		r.index, r.acceptLocal, r.tuned = index, false, nil
	}
	r.attend(r.index)
}

// converge repeats compare and change until nothing is left, telling done of
// each change that succeeded. The caller holds mu.
func (r *Reconciler) converge(ctx context.Context, link netlink.Link, done func(change)) error {
	var last []change
	r.settled = false
	for range maxRounds {
		if err := ctx.Err(); err != nil {
			return err
		}
		a, err := r.kern.snapshot(*r.want, link)
		if err != nil {
			return err
		}
		r.observe(a)
		changes, conflicts := plan(*r.want, a)
		r.report(conflicts)
		if last = changes; len(changes) == 0 {
			r.settled = true
			return nil
		}
		var errs []error
		for _, c := range changes {
			if err := ctx.Err(); err != nil {
				return errors.Join(append(errs, err)...)
			}
			if err := r.kern.apply(link, c); err != nil {
				errs = append(errs, err)
				continue
			}
			done(c)
		}
		if len(errs) == len(changes) {
			return errors.Join(errs...)
		}
	}
	return fmt.Errorf("route: %s is not as wanted after %d rounds of changes; the last were %v", r.want.Link, maxRounds, last)
}

// report logs each conflict once and keeps those that are errors.
func (r *Reconciler) report(conflicts []conflict) {
	var errs []error
	now := make(map[string]bool, len(conflicts))
	for _, c := range conflicts {
		if !c.benign() {
			errs = append(errs, c)
		}
		text := c.Error()
		if now[text] = true; r.conflicts[text] {
			continue
		}
		level := slog.LevelWarn
		if c.benign() {
			level = slog.LevelInfo
		}
		r.log.Log(context.Background(), level, "route left to another", "iface", r.want.Link, "err", text)
	}
	r.conflicts, r.held = now, errors.Join(errs...)
}

// sysctls makes the link's settings hold, as far as it is allowed to. The
// caller holds mu.
func (r *Reconciler) sysctls(first bool) {
	var changed []string
	var failed map[string]error
	index, want := r.index, r.want.sysctls()
	err := inNamespace(r.ns, func() error {
		changed, failed = ensureSysctls(procSys, index, want)
		return nil
	})
	if r.tuned = nil; err == nil {
		r.tuned = want
	}
	r.acceptLocal = err == nil && failed[acceptLocal(r.want.Link)] == nil
	for _, name := range changed {
		if !first {
			r.repairs.Add(1)
			r.log.Warn("repaired", "iface", r.want.Link, "change", "set "+name+"="+want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		err = errors.Join(err, failed[name])
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != r.sysctlError {
		r.log.Warn("settings of the link are not as wanted", "iface", r.want.Link, "err", text)
	}
	r.sysctlError = text
}
