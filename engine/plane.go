package engine

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"weft/engine/iface"
	"weft/engine/route"
	"weft/lease"
	"weft/tunnel"
)

// A plane is the data plane of a node: the ends, the loops between them and
// the table that they share. The ends can be lost and opened again; the table,
// what was learnt about paths, and the counters stay.
type plane struct {
	node   *Node
	cfg    *lease.Config
	under  iface.Underlay
	back   *backend
	own    lease.Lease
	routes *route.Reconciler

	mu      sync.Mutex // guards build
	build   *builder
	table   atomic.Pointer[table]
	answer  *answerer
	counts  [3]counters // up, down IPv4, down IPv6
	ends    *ends
	demoted atomic.Uint32
}

func newPlane(n *Node, cfg *lease.Config, under iface.Underlay, back *backend, own lease.Lease, routes *route.Reconciler) *plane {
	p := &plane{node: n, cfg: cfg, under: under, back: back, own: own, routes: routes}
	families := [2]bool{under.Addr.IsValid(), under.Addr6.IsValid()}
	p.build = newBuilder(back.codec, back.port, own, families)
	for i, limit := range back.inner {
		if limit < back.mtu {
			p.build.limit[i] = limit
		}
	}
	empty := p.build.build(slices.Values([]lease.Lease(nil)), nil)
	empty.known = false
	p.table.Store(empty)
	p.answer = newAnswerer(tunnelAddr(own.Subnet), tunnelAddr(own.Subnet6))
	n.plane.Store(p)
	return p
}

// tunnelAddr is our address on the device: the first of our subnet.
func tunnelAddr(subnet netip.Prefix) netip.Addr {
	if !subnet.IsValid() {
		return netip.Addr{}
	}
	return subnet.Masked().Addr()
}

// setPeers makes the leases the peers of the data plane and returns those that
// cannot be.
func (p *plane) setPeers(leases []lease.Lease) (refused []lease.Refusal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.build.build(slices.Values(leases), func(l lease.Lease, err error) {
		refused = append(refused, lease.Refusal{Lease: l, Err: err})
	})
	p.table.Store(t)
	return refused
}

// open opens the ends and makes the kernel's state what it must be.
func (p *plane) open(ctx context.Context) (err error) {
	e := &ends{}
	if e.stop, err = tunnel.NewStopper(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if err = p.openPorts(e); err != nil {
		return err
	}
	if err = p.openDevice(e); err != nil {
		return err
	}
	if err := p.routes.Set(ctx, p.desired()); err != nil {
		p.node.log.Error("kernel state not as it should be; trying again", "err", err)
	}
	p.answer.trusted.Store(p.routes.AcceptLocal())
	if err = e.dev.Probe(); err != nil {
		return fmt.Errorf("device %s: %w", Device, err)
	}
	features := e.dev.Features()
	for _, port := range e.ports {
		if port != nil {
			features |= port.Features()
		}
	}
	p.node.log.Info("data plane open", "iface", Device, "mtu", p.back.mtu, "port", p.back.port, "features", features.String())
	p.mu.Lock()
	p.ends = e
	p.mu.Unlock()
	p.sample()
	return nil
}

// desired is the kernel state around the device.
func (p *plane) desired() route.Desired {
	d := route.Desired{Link: Device, MTU: p.back.mtu}
	for _, f := range [...]struct{ subnet, network netip.Prefix }{
		{p.own.Subnet, p.cfg.Network}, {p.own.Subnet6, p.cfg.IPv6Network},
	} {
		if !f.subnet.IsValid() {
			continue
		}
		a := tunnelAddr(f.subnet)
		d.Addrs = append(d.Addrs, netip.PrefixFrom(a, a.BitLen()))
		d.Routes = append(d.Routes, route.Route{Dst: f.network.Masked()})
		if p.node.opt.Blackhole {
			d.Routes = append(d.Routes, route.Route{Dst: f.subnet.Masked(), Blackhole: true, Metric: 4096})
		}
	}
	return d
}

// run carries packets until ctx ends. Ends that were lost, as when somebody
// deletes the device, are opened again, ever more slowly if that does not last.
func (p *plane) run(ctx context.Context) error {
	const cause = "the data plane is down"
	const first, last, proven = 100 * time.Millisecond, 5 * time.Second, 5 * time.Second
	for wait := first; ; wait = min(2*wait, last) {
		if p.ends != nil {
			began := time.Now()
			holds := time.AfterFunc(first, func() { p.node.mend(cause) })
			err := p.carry(ctx)
			holds.Stop()
			p.lose()
			if ctx.Err() != nil {
				return nil
			}
			p.node.fail(cause)
			p.node.log.Error("data plane lost; opening it again", "iface", Device, "err", err)
			if time.Since(began) > proven {
				wait = first
			}
		}
		if !sleep(ctx, wait) {
			return nil
		}
		if err := p.open(ctx); err != nil {
			p.node.log.Error("data plane not opened; trying again", "iface", Device, "err", err)
		}
	}
}

// lose closes the ends.
func (p *plane) lose() {
	p.sample()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.ends.close(); err != nil {
		p.node.log.Debug("closing the data plane", "err", err)
	}
	p.ends = nil
}

// carry runs the loops on threads of their own until one of them fails or ctx
// ends.
func (p *plane) carry(ctx context.Context) error {
	e := p.ends
	defer context.AfterFunc(ctx, e.stop.Stop)()
	var loops []func() error
	var ports [2]port
	for i, port := range e.ports {
		if port != nil {
			ports[i] = port
			loops = append(loops, newDown(e.dev, port, p.back.codec, &p.table, p.node.check, p.answer, &p.counts[1+i]).run)
		}
	}
	loops = append(loops, newUp(e.dev, ports, p.back.codec, &p.table, p.answer, p.learn, &p.counts[0]).run)
	reserve(len(loops))
	var group errgroup.Group
	for _, loop := range loops {
		group.Go(func() error {
			runtime.LockOSThread() // for good: the thread ends with the loop
			defer e.stop.Stop()
			return loop()
		})
	}
	return group.Wait()
}

// Up returns what went from the pods to the wire.
func (p *plane) Up() Traffic { return p.counts[0].traffic() }

// Down returns what went from the wire to the pods.
func (p *plane) Down() Traffic {
	a, b := p.counts[1].traffic(), p.counts[2].traffic()
	return Traffic{a.Packets + b.Packets, a.Bytes + b.Bytes, a.Calls + b.Calls, a.Batches + b.Batches}
}

// Drops returns the packets lost, by reason.
func (p *plane) Drops() map[string]uint64 {
	m := map[string]uint64{}
	for i := range p.counts {
		p.counts[i].addDrops(m)
	}
	return m
}
