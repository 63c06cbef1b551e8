package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

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

// ends is one incarnation of what the loops stand between.
type ends struct {
	stop  *tunnel.Stopper
	dev   tun
	ports [2]*tunnel.Port
}

// tun is a device that can be probed and closed.
type tun interface {
	device
	Probe() error
	Close() error
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
	p.setPeers(nil)
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

// setPeers makes the leases the peers of the data plane.
func (p *plane) setPeers(leases []lease.Lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.table.Store(p.build.build(slices.Values(leases), func(l lease.Lease, err error) {
		p.node.log.Warn("lease not used", "subnet", l.Key(), "err", err)
	}))
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
	p.node.log.Info("data plane open", "device", Device, "mtu", p.back.mtu, "port", p.back.port, "features", features.String())
	p.ends = e
	return nil
}

func (p *plane) openPorts(e *ends) (err error) {
	allow := p.node.allow
	if p.node.opt.TunMode == "plain" {
		allow &^= tunnel.GSO | tunnel.GRO | tunnel.Mmsg
	}
	for i, a := range [2]netip.Addr{p.under.Addr, p.under.Addr6} {
		if !a.IsValid() {
			continue
		}
		e.ports[i], err = tunnel.OpenPort(tunnel.PortOptions{Local: netip.AddrPortFrom(a, p.back.port),
			Allow: allow, Stop: e.stop, Demoted: p.demote})
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *plane) openDevice(e *ends) error {
	o := tunnel.TUNOptions{Name: Device, Persist: true, Allow: p.node.allow, Stop: e.stop, Demoted: p.demote}
	if p.node.opt.TunMode == "plain" {
		dev, err := tunnel.OpenPlain(o)
		if err != nil {
			return err
		}
		e.dev = dev
		return nil
	}
	dev, err := tunnel.OpenTUN(o)
	if err != nil {
		return err
	}
	e.dev = dev
	return nil
}

// demote says once that the kernel took back a capability.
func (p *plane) demote(f tunnel.Feature, err error) {
	if old := p.demoted.Or(uint32(f)); old&uint32(f) == 0 {
		p.node.log.Warn("capability switched off: the kernel refused it", "feature", f.String(), "err", err)
	}
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

// run carries packets until ctx ends. A device that was taken away is opened
// again.
func (p *plane) run(ctx context.Context) error {
	const cause = "the tunnel device is gone"
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		if p.ends != nil {
			err := p.carry(ctx)
			p.ends.close()
			p.ends = nil
			if ctx.Err() != nil {
				return nil
			}
			p.node.fail(cause)
			p.node.log.Error("data plane lost; opening it again", "device", Device, "err", err)
			wait = 100 * time.Millisecond
		}
		if !sleep(ctx, wait) {
			return nil
		}
		if err := p.open(ctx); err != nil {
			p.node.log.Error("data plane not opened; trying again", "device", Device, "err", err)
			continue
		}
		p.node.mend(cause)
	}
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
			p.beBatch()
			defer e.stop.Stop()
			return loop()
		})
	}
	return group.Wait()
}

// beBatch makes the calling thread one that the scheduler does not let
// interrupt others when it wakes up (SCHED_BATCH, sched(7)). On a busy machine
// whoever produces packets then produces several before a loop runs, which
// means fewer switches and larger batches; on an idle one nothing changes.
func (p *plane) beBatch() {
	const schedBatch = 3
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: schedBatch}
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		p.node.log.Debug("loop runs under the default scheduling policy", "err", err)
	}
}

// reserve makes sure that n loops, each of which may hold one of Go's
// processors for the length of a system call, leave enough for all others.
func reserve(n int) {
	if want := runtime.NumCPU() + n; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
}

func (e *ends) close() error {
	e.stop.Stop()
	var errs []error
	for _, port := range e.ports {
		if port != nil {
			errs = append(errs, port.Close())
		}
	}
	if e.dev != nil {
		errs = append(errs, e.dev.Close())
	}
	return errors.Join(append(errs, os.NewSyscallError("close", e.stop.Close()))...)
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
