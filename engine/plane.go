package engine

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"weft/engine/iface"
	"weft/engine/route"
	"weft/engine/trace"
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

	mu      sync.Mutex // guards build, leases, listed and ends
	build   *builder
	leases  []lease.Lease // the peers'
	listed  bool          // leases were listed once
	table   atomic.Pointer[table]
	answer  *answerer
	up      counters
	down    [][2]counters // by framing and family
	ends    *ends
	unheard map[netip.AddrPort]string // ports that could not be opened, and why
	demoted demotions

	sending sync.Mutex     // guards what follows; after mu
	live    *ends          // that may be sent by, and that the table is for; nil: none
	out     *tunnel.Outbox // for what we send ourselves
	told    tap            // tells of it
	talk    counters       // what told counts: it is no pod's

	routing   sync.Mutex // held from desired until it is set; before mu
	complaint string     // what was wrong with it, to say it once; guarded by routing
	tookOver  bool       // stock flanneld's devices were looked for
}

func newPlane(n *Node, cfg *lease.Config, back *backend, own lease.Lease, routes *route.Reconciler) *plane {
	p := &plane{out: tunnel.NewOutbox(), node: n, cfg: cfg, under: back.under, back: back, own: own, routes: routes}
	p.build = newBuilder(back.framings, own, back.mtu, [2]bool{p.under.Addr.IsValid(), p.under.Addr6.IsValid()})
	p.down, p.unheard = make([][2]counters, len(back.framings)), map[netip.AddrPort]string{}
	p.answer = newAnswerer(tunnelAddr(own.Subnet), tunnelAddr(own.Subnet6))
	p.told = newTap(&n.hub, trace.Out, &p.talk)
	p.rebuild()
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
// cannot be. Kernel routes to peers follow.
func (p *plane) setPeers(ctx context.Context, leases []lease.Lease, _ []lease.Refusal) []lease.Refusal {
	p.mu.Lock()
	p.leases, p.listed = leases, true
	if p.ends != nil {
		p.openOthers(p.ends, leases)
		p.build.outlets = p.ends.outlets
	}
	refused := p.rebuild()
	p.mu.Unlock()
	if p.back.direct {
		p.setRoutes(ctx)
	}
	return refused
}

// rebuild makes a table of the leases and puts it in force. The caller holds
// mu, or is alone.
func (p *plane) rebuild() (refused []lease.Refusal) {
	t := p.build.build(slices.Values(p.leases), func(l lease.Lease, err error) {
		refused = append(refused, lease.Refusal{Lease: l, Err: err})
	})
	t.known = p.listed
	p.table.Store(t)
	p.node.peersChanged()
	return refused
}

// setRoutes makes the kernel's state what it must be. Whoever calls last has
// the last word.
func (p *plane) setRoutes(ctx context.Context) {
	p.routing.Lock()
	defer p.routing.Unlock()
	p.mu.Lock()
	want := p.desired()
	p.mu.Unlock()
	text := ""
	if err := p.routes.Set(ctx, want); err != nil && ctx.Err() == nil {
		if text = err.Error(); text != p.complaint {
			p.node.log.Error("kernel state not as it should be; trying again", "err", err)
		}
	}
	p.complaint = text
}

// open opens the ends and makes the kernel's state what it must be.
func (p *plane) open(ctx context.Context) (err error) {
	e, err := newEnds(len(p.back.framings))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if e.dev, err = p.node.openDevice(Device, tunnel.Alone, e.stop, p.demote); err != nil {
		return err
	}
	if err = p.openOwn(e); err != nil {
		return err
	}
	p.tookOver = true
	p.setRoutes(ctx)
	p.answer.trusted.Store(p.routes.AcceptLocal())
	if err = e.dev.Probe(); err != nil {
		return fmt.Errorf("device %s: %w", Device, err)
	}
	own := p.back.framings[0]
	p.node.log.Info("data plane open", "iface", Device, "mtu", p.back.mtu, "backend", own.kind, "port", own.port, "features", e.features().String())
	p.mu.Lock()
	p.ends = e
	p.openOthers(e, p.leases)
	p.build.outlets, p.build.spans = e.outlets, e.spans
	p.rebuild()
	p.setLive(e)
	p.mu.Unlock()
	p.sample()
	return nil
}

// desired is the kernel state around the device. The caller holds mu.
func (p *plane) desired() route.Desired {
	d := route.Desired{Link: Device, MTU: p.back.mtu}
	for _, o := range overlays(p.cfg, p.own) {
		o.join(&d, p.node.opt.Blackhole)
	}
	if p.back.direct {
		d.Routes = append(d.Routes, p.directRoutes()...)
		d.Partial = !p.listed // an earlier run's routes to peers hold until then
		// The way back to a peer that still sends through the tunnel is
		// another device; strict reverse path filtering would drop it.
		d.Sysctl = map[string]string{"net.ipv4.conf." + Device + ".rp_filter": "2"}
	}
	return d
}

// directRoutes are the routes to peers on the same link, which have no use for
// a tunnel. Whether a peer is on the link is for the kernel to say; the others
// stay with the tunnel, and its table has them all.
func (p *plane) directRoutes() (routes []route.Route) {
	for _, l := range p.leases {
		if l.Attrs.BackendType != "vxlan" {
			continue
		}
		for _, r := range [...]route.Route{{Dst: l.Subnet, Via: l.Attrs.PublicIP}, {Dst: l.Subnet6, Via: l.Attrs.PublicIPv6}} {
			if r.Dst.IsValid() && r.Via.IsValid() && !r.Via.IsUnspecified() {
				r.Dst, r.Direct = r.Dst.Masked(), true
				routes = append(routes, r)
			}
		}
	}
	return routes
}

// isOpen tells whether there are ends to carry between.
func (p *plane) isOpen() bool { return p.ends != nil }

// lose waits for the loops and closes the ends.
func (p *plane) lose() {
	p.sample()
	p.mu.Lock()
	e := p.ends
	e.running, p.ends = false, nil
	p.mu.Unlock()
	e.stop.Stop()
	p.setLive(nil)
	e.loops.Wait()
	if err := e.close(); err != nil {
		p.node.log.Debug("closing the data plane", "err", err)
	}
}

// setLive says by which ends packets of our own may be sent; it waits for the one
// that is being sent.
func (p *plane) setLive(e *ends) {
	p.sending.Lock()
	defer p.sending.Unlock()
	p.live = e
}

// carry runs the loops until one of them fails or ctx ends.
func (p *plane) carry(ctx context.Context) error {
	e := p.ends
	defer context.AfterFunc(ctx, e.stop.Stop)()
	p.mu.Lock()
	e.running = true
	for _, f := range p.back.framings {
		for family := range e.ports[f.id] {
			if e.ports[f.id][family] != nil {
				p.startDown(e, f, family)
			}
		}
	}
	e.start(newUp(e.dev, &p.table, p.answer, p.learn, newTap(&p.node.hub, trace.Out, &p.up)).run)
	p.mu.Unlock()
	return <-e.ended
}

// startDown starts the loop of one port. The caller holds mu.
func (p *plane) startDown(e *ends, f *framing, family int) {
	port := e.ports[f.id][family]
	d := newDown(e.dev, p.back.mtu, port, f, &p.table, p.node.check, p.answer, newTap(&p.node.hub, trace.In, &p.down[f.id][family]))
	d.local, d.prober = port.Local(), p.node.prober
	if f.id == 0 {
		d.seen = p.back.policies
	}
	e.start(d.run)
}

// reached returns those of the leases, which were the last ones set, that
// packets can be sent to.
func (p *plane) reached(leases []lease.Lease) []lease.Lease { return p.table.Load().reached(leases) }

// Up returns what went from the pods to the wire.
func (p *plane) Up() Traffic { return p.up.traffic() }

// Down returns what went from the wire to the pods.
func (p *plane) Down() (sum Traffic) {
	for f := range p.down {
		for i := range p.down[f] {
			sum = sum.plus(p.down[f][i].traffic())
		}
	}
	return sum
}

// Drops returns the packets lost, by reason.
func (p *plane) Drops() map[string]uint64 {
	m := map[string]uint64{}
	p.up.addDrops(m)
	for f := range p.down {
		for i := range p.down[f] {
			p.down[f][i].addDrops(m)
		}
	}
	return m
}
