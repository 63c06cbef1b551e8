package engine

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"weft/engine/route"
	"weft/tunnel"
	"weft/tunnel/wg"
)

// A wgEnds is one interface of a wgPlane. The tunnel can be lost and opened
// again; the table, and what was learnt about paths, stays.
type wgEnds struct {
	wgLink
	routes *route.Reconciler
	table  atomic.Pointer[wgTable]

	stop   *tunnel.Stopper
	dev    tun
	near   *wgNear
	tunnel *wg.Tunnel // nil: not open
	socket *wg.Socket // nil: wg(8) cannot see it

	counted  [wg.NumLosses]uint64 // of the tunnel's losses, as far as up and down have them
	sockLost uint64               // likewise
	queue    queueDrops
}

// takeOver removes, at the start, what another backend has left behind, stock
// flanneld's VXLAN devices included. From before that until the routes are ours
// a blackhole stands where packets would else leave in the clear.
func (p *wgPlane) takeOver() error {
	if err := route.Guard(p.networks()); err != nil {
		return err
	}
	if p.tookOver {
		return nil
	}
	p.tookOver = true
	p.node.clearAway(p.back)
	stock, err := route.StockVXLANs()
	for _, s := range stock {
		s.Networks = p.networks()
		removed, e := route.RemoveStock(s)
		for _, name := range removed {
			p.node.log.Info("took over from a kernel VXLAN device", "iface", name)
		}
		err = errors.Join(err, e)
	}
	if err != nil {
		p.node.log.Warn("a kernel VXLAN device is left alone", "err", err)
	}
	return nil
}

// networks are the overlay's, of the families in use.
func (p *wgPlane) networks() (ns []netip.Prefix) {
	for _, o := range overlays(p.cfg, p.own) {
		if o.network.IsValid() {
			ns = append(ns, o.network)
		}
	}
	return ns
}

// watchAround tells, and makes the node not ready, while routes lead packets
// for the overlay past the tunnel: they are in the clear.
func (p *wgPlane) watchAround() {
	const cause = "routes lead around the tunnel: packets travel in the clear"
	p.watching.Lock()
	defer p.watching.Unlock()
	routes, err := route.Around(p.networks(), []netip.Prefix{p.own.Subnet, p.own.Subnet6}, p.back.devices())
	text := strings.Join(routes, ", ")
	switch {
	case err != nil:
		p.node.log.Warn("routes around the tunnel not looked for", "err", err)
	case text == p.around:
	case text == "":
		p.node.mend(cause)
		p.node.log.Info("no route leads around the tunnel any more")
	default:
		p.node.fail(cause)
		p.node.log.Error("routes lead around the tunnel, and packets by them travel in the clear; remove them", "routes", text)
	}
	if err == nil {
		p.around = text
	}
}

// openLink opens one interface: the device, its address and route, the tunnel.
func (p *wgPlane) openLink(ctx context.Context, l *wgEnds) (err error) {
	if l.stop, err = tunnel.NewStopper(); err != nil {
		return err
	}
	if l.dev, err = p.node.openDevice(l.name, tunnel.Shared, l.stop, p.demote); err != nil {
		return err
	}
	if err := l.routes.Set(ctx, p.desired(l)); err != nil && ctx.Err() == nil {
		p.node.log.Error("kernel state not as it should be; trying again", "iface", l.name, "err", err)
	}
	if l.inner[0] { // it concerns answers of IPv4 alone
		p.answer.trusted.Store(l.routes.AcceptLocal())
	}
	if err = l.dev.Probe(); err != nil {
		return err
	}
	l.near = newWGNear(l.dev, l.stop, &l.table, p.answer, &p.node.hub, &p.up, &p.down)
	l.near.prober = p.node.prober
	t, err := wg.New(wg.Options{Name: l.name, MTU: p.back.mtu, Key: p.back.wg.key, Local: listenAddrs(p.under), Port: l.port,
		Near: l.near, Open: p.openPort, Sent: p.sent, Refused: p.refused, Changed: p.changed, Log: p.node.log})
	if err != nil {
		return err
	}
	p.mu.Lock()
	l.tunnel, l.counted, l.sockLost = t, [wg.NumLosses]uint64{}, 0
	p.mu.Unlock()
	if l.socket, err = t.Serve(cmp.Or(p.node.opt.SocketDir, wg.SocketDir)); err != nil {
		p.node.log.Warn("wg(8) cannot see this interface", "iface", l.name, "err", err)
	}
	p.node.log.Info("data plane open", "iface", l.name, "mtu", p.back.mtu, "backend", "wireguard", "port", l.port,
		"key", p.back.wg.key.Public(), "features", (l.dev.Features() | t.Features()).String())
	return nil
}

// endpoint returns where a peer was seen last.
func (p *wgPlane) endpoint(l *wgEnds, key wg.PublicKey) (netip.AddrPort, bool) {
	p.mu.Lock()
	t := l.tunnel
	p.mu.Unlock()
	if t == nil {
		return netip.AddrPort{}, false
	}
	return t.Endpoint(key)
}

// openPort opens a port of a tunnel.
func (p *wgPlane) openPort(local netip.AddrPort, stop *tunnel.Stopper) (*tunnel.Port, error) {
	return tunnel.OpenPort(tunnel.PortOptions{Local: local, Allow: p.node.portFeatures(), ECN: true, Pace: tunnel.Shared, Stamp: true, Stop: stop, Demoted: p.demote})
}

// demote says once that the kernel took back a capability.
func (p *wgPlane) demote(f tunnel.Feature, err error) { p.demoted.note(p.node.log, f, err) }

// desired is the kernel state around one interface.
func (p *wgPlane) desired(l *wgEnds) route.Desired {
	d := route.Desired{Link: l.name, MTU: p.back.mtu}
	if len(p.links) > 1 {
		d.Family = unix.AF_INET
		if l.inner[1] {
			d.Family = unix.AF_INET6
		}
	}
	for i, o := range overlays(p.cfg, p.own) {
		if !o.subnet.IsValid() || !l.inner[i] {
			continue
		}
		o.join(&d, p.node.opt.Blackhole && o.subnet != o.network)
		d.Routes = append(d.Routes, route.Route{Dst: o.network, Blackhole: true, Metric: route.GuardMetric})
	}
	return d
}

func (p *wgPlane) closeLink(l *wgEnds) error {
	var errs []error
	if l.socket != nil {
		errs = append(errs, l.socket.Close())
	}
	if l.tunnel != nil {
		l.tunnel.Close()
	}
	p.mu.Lock()
	p.sampleLink(l) // what was counted while closing
	l.socket, l.tunnel, l.near = nil, nil, nil
	p.mu.Unlock()
	if l.dev != nil {
		errs = append(errs, l.dev.Close())
	}
	if l.stop != nil {
		errs = append(errs, l.stop.Close())
	}
	l.dev, l.stop = nil, nil
	return errors.Join(errs...)
}
