package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"weft/engine/control"
	"weft/engine/explain"
	"weft/engine/ping"
	"weft/engine/probe"
	"weft/lease"
)

// What a node answers when it is asked about more than its state. Each answer is
// worked out in a package of its own; here is what these are told of the node.

var errNotRunning = &control.Error{Message: "the node has no lease yet; weft status tells what it waits for"}

// now returns the data plane and what the node knows, or an error.
func (n *Node) now() (dataPlane, *running, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.plane == nil || n.running == nil {
		return nil, nil, errNotRunning
	}
	return n.plane, n.running, nil
}

// Explain tells what would happen to a packet.
func (n *Node) Explain(ctx context.Context, q control.Question) (control.Explanation, error) {
	plane, run, err := n.now()
	if err != nil {
		return control.Explanation{}, err
	}
	status := n.Status(ctx)
	f := explain.Facts{Node: status.Node, Engine: status.Engine, Listed: !status.Store.Changed.IsZero(),
		Masq: n.opt.IPMasq, Now: status.Time, Kernel: explain.Host{}}
	f.Lookup = func(a netip.Addr) (explain.Peer, bool) {
		to, ok := plane.farOf(a)
		if !ok {
			return explain.Peer{}, false
		}
		return n.explained(run, &to, status.Peers), true
	}
	f.View = func(ctx context.Context, of explain.Peer, about netip.Addr) (explain.View, error) {
		return n.viewOf(ctx, plane, run, of, about)
	}
	return explain.Explain(ctx, q, f)
}

// explained is a peer in the words of package explain.
func (n *Node) explained(run *running, to *far, peers []control.Peer) explain.Peer {
	p := explain.Peer{Subnet: to.lease.Subnet, Kind: to.via, VNI: to.vni, Endpoint: to.endpoint, Overhead: to.overhead,
		Limit: to.mtu, Drop: to.drop, Reason: to.why, Public: shown(to.lease.Attrs.PublicIP)}
	if !p.Public.IsValid() {
		p.Public = to.lease.Attrs.PublicIPv6
	}
	if !p.Subnet.IsValid() {
		p.Subnet = to.lease.Subnet6
	}
	i := slices.IndexFunc(peers, func(o control.Peer) bool { return o.Subnet == to.lease.Subnet && o.Subnet6 == to.lease.Subnet6 })
	if i >= 0 {
		o := &peers[i]
		p.PathMTU, p.Probed, p.Expires, p.Key, p.Handshake, p.Answers = o.PathMTU, o.Probed, o.Expires, o.Key, o.Handshake, o.Answers
		p.State, p.Direct = o.State, o.Via == direct
		if p.Reason == "" {
			p.Reason = o.Reason
		}
	}
	return p
}

// asking bounds a question to a peer.
const asking = 2 * time.Second

// viewOf asks a peer how it would send to one of our addresses.
func (n *Node) viewOf(ctx context.Context, plane dataPlane, run *running, of explain.Peer, about netip.Addr) (explain.View, error) {
	to, ok := plane.farOf(of.Subnet.Addr())
	if !ok {
		return explain.View{}, errNoPeer
	}
	t, ok := n.target(run, &to)
	if !ok {
		return explain.View{}, errNoPeer
	}
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	a, err := n.prober.Ask(ctx, t.Key, t.Src, t.Dst, about)
	if errors.Is(err, probe.ErrNotWeft) {
		return explain.View{}, explain.ErrNotWeft
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %v", asking)
	}
	if err != nil {
		return explain.View{}, err
	}
	v := explain.View{Time: time.Now(), Kind: a.Kind, Endpoint: a.Outer, Limit: a.MTU}
	if a.Lease { // it tells that there is one; the only one that can be is ours
		v.Subnet = run.own.Subnet
		if about.Is6() {
			v.Subnet = run.own.Subnet6
		}
	}
	if a.Lease && a.Kind == "" {
		v.Drop = "it has no way to this node"
	}
	return v, nil
}

// Ping sends echoes to a peer, layer by layer.
func (n *Node) Ping(ctx context.Context, r control.PingRequest, each func(control.PingReply) error) error {
	plane, run, err := n.now()
	if err != nil {
		return err
	}
	f := ping.Facts{Find: func(name string) (control.Peer, error) { return control.FindPeer(n.Status(ctx).Peers, name) }, Devices: run.back.devices()}
	for _, a := range run.ownAddrs() {
		if a.IsValid() {
			f.Self = append(f.Self, a)
		}
	}
	for _, a := range [...]netip.Addr{run.under.Addr, run.under.Addr6} {
		if a.IsValid() {
			f.Outer = append(f.Outer, a)
		}
	}
	for _, s := range [...]netip.Prefix{run.own.Subnet, run.own.Subnet6} {
		if s.IsValid() {
			f.Subnets = append(f.Subnets, s)
		}
	}
	f.Engine = func(ctx context.Context, peer control.Peer, size int, _ bool) (time.Duration, netip.Addr, error) {
		dst := tunnelAddr(peer.Subnet)
		src := run.ownAddrs()[0]
		if !dst.IsValid() {
			dst, src = tunnelAddr(peer.Subnet6), run.ownAddrs()[1]
		}
		return n.prober.Ping(ctx, keyOf(plane, peer), src, dst, size)
	}
	if run.back.wg == nil {
		f.Underlay = func(ctx context.Context, peer control.Peer) (time.Duration, netip.AddrPort, int, error) {
			rtt, observed, err := n.underlayEcho(ctx, plane, run, peer)
			return rtt, observed, outerSize(peer.Endpoint.Addr()) + probe.DatagramSize, err
		}
	}
	return ping.Run(ctx, r, f, each)
}

// keyOf names a peer for the prober.
func keyOf(plane dataPlane, p control.Peer) string {
	at := tunnelAddr(p.Subnet)
	if !at.IsValid() {
		at = tunnelAddr(p.Subnet6)
	}
	if to, ok := plane.farOf(at); ok {
		return to.key
	}
	return lease.Key(p.Subnet, p.Subnet6)
}

// underlayEcho sends noise to a peer's tunnel port. Only weft answers it.
func (n *Node) underlayEcho(ctx context.Context, plane dataPlane, run *running, p control.Peer) (time.Duration, netip.AddrPort, error) {
	key := keyOf(plane, p)
	if s, known := n.prober.State(key); known && s.Weft == "" && !s.Asked.IsZero() {
		return 0, netip.AddrPort{}, ping.ErrNotWeft
	}
	return n.prober.Underlay(ctx, key, probe.Shape{Form: probe.Random})
}
