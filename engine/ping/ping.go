package ping

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"weft/engine/control"
	"weft/engine/ping/echo"
)

// ErrNotWeft is what Facts.Underlay returns, perhaps wrapped, of a peer that is
// known not to answer its datagrams, as flanneld.
var ErrNotWeft = errors.New("not a weft node")

// Facts are what a ping must know about the node, and what it has the node do.
type Facts struct {
	// Find returns the peer with this name, subnet, or address in its subnet.
	// The error names those that may have been meant.
	Find    func(name string) (control.Peer, error)
	Self    []netip.Addr   // our tunnel addresses
	Outer   []netip.Addr   // our addresses on the underlay, that tunnel datagrams leave from
	Subnets []netip.Prefix // of our lease
	Devices []string       // names of the tunnel devices

	// Engine has the node itself send one echo of size bytes through the tunnel
	// to the peer's tunnel address, the first of its subnet; the peer is handed
	// over with the subnet of the wanted family alone. It returns who answered,
	// or ctx's error. An error that is unix.EMSGSIZE says that the packet is too
	// long to be sent; an [echo.Refusal] may say how long it may be. Nil: the
	// node cannot.
	Engine func(ctx context.Context, peer control.Peer, size int, df bool) (rtt time.Duration, from netip.Addr, err error)
	// Underlay has the node send a datagram to the peer's tunnel port. It
	// returns from where the peer saw it come and how many bytes the outer
	// packet had, ctx's error, or [ErrNotWeft]. The node chooses the size; it is
	// told with an error as well, and 0 if nothing was sent. Nil: the node cannot.
	Underlay func(ctx context.Context, peer control.Peer) (rtt time.Duration, observed netip.AddrPort, size int, err error)
}

// Run sends the echoes that r asks for from the network namespace of the calling
// thread, and hands each reply to each. The error is a [*control.Error] about r,
// that of each, or ctx's; that nothing answers is none. It starts no goroutine
// but those that end an echo with ctx.
func Run(ctx context.Context, r control.PingRequest, f Facts, each func(control.PingReply) error) error {
	open := func(from, to netip.Addr, df bool) (conn, error) {
		c, err := echo.Open(from, to, df)
		if err != nil {
			return nil, err // not c: a nil *echo.Conn would be a non-nil conn
		}
		return c, nil
	}
	return run(ctx, r, &runner{facts: f, each: each, open: open, locals: localAddrs})
}

// A conn sends ICMP echoes; see [echo.Conn].
type conn interface {
	Echo(ctx context.Context, seq uint16, size int) (time.Duration, error)
	PathMTU() int
	Close() error
}

// A runner is one call of Run.
type runner struct {
	plan
	facts  Facts
	each   func(control.PingReply) error
	open   func(from, to netip.Addr, df bool) (conn, error)
	locals func() ([]localAddr, error)
}

func run(ctx context.Context, req control.PingRequest, r *runner) error {
	p, err := newPlan(req, r.facts)
	if err != nil {
		return err
	}
	r.plan = p
	var done []outcome
	for _, name := range p.layers {
		o, err := r.try(ctx, r.layer(name))
		if err != nil {
			return err
		}
		done = append(done, o)
	}
	layer, text := judge(p, done)
	return r.each(control.PingReply{Layer: layer, Verdict: text})
}

// try sends the echoes of a layer, and says what they came to.
func (r *runner) try(ctx context.Context, l layer) (outcome, error) {
	defer l.close()
	o := outcome{layer: l.name, skipped: l.skip}
	for _, w := range l.ways {
		if err := r.echoes(ctx, &o, w); err != nil {
			return o, err
		}
	}
	if l.skip == "" && o.sent == 0 {
		o.skipped = o.remarks.first()
	}
	if r.sweep && o.answered > 0 {
		if err := r.searchBest(ctx, &o); err != nil {
			return o, err
		}
	}
	return o, r.each(control.PingReply{Layer: l.name, Note: o.note(l.text), Summary: o.summary()})
}

// echoes sends the echoes of one way.
func (r *runner) echoes(ctx context.Context, o *outcome, w *way) error {
	t := o.begin(w)
	for n := 1; n <= r.count; n++ {
		start := time.Now()
		e, err := r.once(ctx, w, n, max(r.size, w.floor), r.df, r.timeout)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var none notTried
		if errors.As(err, &none) {
			o.drop(t, w.name, none.why)
			return nil
		}
		size := max(r.size, w.floor)
		if w.port {
			size = e.size
		}
		reply := o.add(t, n, size, e, err)
		if err := r.each(reply); err != nil {
			return err
		}
		if n < r.count {
			if err := pause(ctx, r.interval-time.Since(start)); err != nil {
				return err
			}
		}
	}
	return nil
}

// once sends one echo and waits its time for the answer.
func (r *runner) once(ctx context.Context, w *way, seq, size int, df bool, timeout time.Duration) (trip, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return w.echo(ctx, seq, size, df)
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
