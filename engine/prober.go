package engine

import (
	"context"
	"maps"
	"net/netip"
	"time"

	"weft/encap"
	"weft/engine/probe"
)

// What the prober is told of the node, and the node by the prober.

// newProber makes the prober of a node.
func (n *Node) newProber(p dataPlane) *probe.Prober {
	return probe.New(probe.Options{
		Send:      func(_ string, packet []byte) error { return p.inject(packet) },
		SendOuter: p.injectOuter,
		Limit:     func(string, int) { n.limited(p) },
		Passive:   n.opt.ProbeInterval < 0,
		Changed:   n.peerChanged,
		Answer:    n.view,
		Interval:  max(0, n.opt.ProbeInterval),
		Log:       n.log,
	})
}

// limited makes the limits that the prober found those of the paths: of a path
// that several leases name the least. Paths may have been made anew since it told.
func (n *Node) limited(p dataPlane) {
	limits, least := n.prober.Limits(), map[*path]int32{}
	fars := p.fars(false)
	for _, to := range fars {
		if to.path == nil {
			continue
		}
		inner := int32(limits[to.key])
		if was, known := least[to.path]; !known || inner > 0 && (was == 0 || inner < was) {
			least[to.path] = inner
		}
	}
	for _, to := range fars {
		inner, found := least[to.path]
		if !found || to.path == nil {
			continue
		}
		delete(least, to.path)
		to.path.probed.Store(inner)
		if limit, changed := to.path.limit(); changed {
			n.log.Info("path MTU probed", "subnet", to.lease.Key(), "peer", to.endpoint.Addr(), "inner", limit)
		}
	}
}

// peerChanged tells of peers that begin or cease to answer.
func (n *Node) peerChanged(key string, s probe.State) {
	n.mu.Lock()
	was, known := n.alive[key]
	if n.alive == nil {
		n.alive = map[string]bool{}
	}
	n.alive[key] = s.Alive
	n.mu.Unlock()
	switch {
	case s.Alive && (!known || !was):
		n.log.Info("peer answers echoes", "subnet", key, "rtt", s.RTT)
	case !s.Alive && was:
		n.log.Warn("peer no longer answers echoes; weft status tells more", "subnet", key)
	}
}

// view is what the node tells its peers about an inner address.
func (n *Node) view(about netip.Addr) probe.View {
	v := probe.View{Version: n.opt.Version}
	p := n.dataPlane()
	if p == nil {
		return v
	}
	to, ok := p.farOf(about)
	if !ok {
		return v
	}
	v.Lease = true
	if to.drop == encap.Delivered {
		v.Kind, v.Outer, v.MTU = to.via, to.endpoint, to.mtu
	}
	return v
}

// watchPeers keeps the prober's targets those of the data plane, and notes when
// each peer was heard last.
func (n *Node) watchPeers(ctx context.Context, p dataPlane, prober *probe.Prober) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-n.peersSet:
			targets := n.targets(p)
			prober.Set(targets)
			n.limited(p)
			n.forget(targets)
		case now := <-tick.C:
			p.hear(now)
		case <-ctx.Done():
			return nil
		}
	}
}

// forget drops what was told of peers that are gone.
func (n *Node) forget(left []probe.Target) {
	keys := make(map[string]bool, len(left))
	for _, t := range left {
		keys[t.Key] = true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.alive, func(key string, _ bool) bool { return !keys[key] })
}

// peersChanged has the prober's targets made anew.
func (n *Node) peersChanged() {
	select {
	case n.peersSet <- struct{}{}:
	default: // they will be
	}
}

// targets are the peers that packets can be sent to.
func (n *Node) targets(p dataPlane) (all []probe.Target) {
	for _, to := range p.fars(false) {
		if t, ok := n.target(n.running, &to); ok {
			all = append(all, t)
		}
	}
	return all
}

// hear notes when each peer was heard last. Only one goroutine calls it.
func (p *plane) hear(now time.Time) {
	for _, to := range p.table.Load().peers {
		to.path.hear(now)
	}
}

// hear notes when each peer was heard last. Only one goroutine calls it.
func (p *wgPlane) hear(now time.Time) {
	for _, l := range p.links {
		for _, to := range l.table.Load().peers {
			to.seen.hear(now)
		}
	}
}

// hear notes that something came since the last call.
func (p *path) hear(now time.Time) {
	if got := p.got.packets.Load(); got != p.noted {
		p.noted = got
		p.heard.Store(now.UnixNano())
	}
}

// wgPad is what WireGuard pads packets to, in bytes (section 5.4.6 of its paper).
const wgPad = 16

// target is a peer as the prober sees it, if packets can be sent to it.
func (n *Node) target(run *running, to *far) (probe.Target, bool) {
	if to.drop != encap.Delivered || to.path == nil {
		return probe.Target{}, false
	}
	dst, alt := to.at, tunnelAddr(to.lease.Subnet6)
	src := tunnelAddr(run.own.Subnet)
	if dst.Is6() {
		src, alt = tunnelAddr(run.own.Subnet6), tunnelAddr(to.lease.Subnet)
	}
	pad := 0
	if run.back.wg != nil {
		pad = wgPad
	}
	mtu := run.back.mtu
	if b := int(to.path.bound); b > 0 {
		mtu = min(mtu, b)
	}
	return probe.Target{Key: to.key, Src: src, Dst: dst, Alt: alt, Pad: pad, MTU: mtu, Overhead: to.overhead,
		Path: to.via + " " + to.endpoint.String()}, src.IsValid() && dst.IsValid()
}
