package engine

import (
	"fmt"
	"net/netip"
	"slices"

	"weft/encap"
	"weft/engine/control"
	"weft/lease"
	"weft/tunnel"
	"weft/tunnel/wg"
)

// A far is a peer as the control plane shows it: what the data plane would do
// with a packet for it, whichever data plane that is. A node that is reached in
// two ways, one for each inner family, is two of them.
type far struct {
	lease    lease.Lease
	key      string         // names it to the prober; see peer.key
	at       netip.Addr     // its tunnel address: the first of its subnet
	via      string         // udp, vxlan or wireguard; empty: no way
	endpoint netip.AddrPort // where its datagrams go
	path     *path          // nil: no way
	mtu      int            // longest inner packet that is sent to it, in bytes
	overhead int            // bytes that the wire has around an inner packet
	vni      uint32
	shared   bool       // another lease names the same address
	direct   bool       // the kernel routes packets to it past the tunnel
	drop     encap.Drop // why nothing can be sent to it; Delivered if it can
	why      string     // the same in words
	wg       *wg.PeerStatus
}

// fars returns the peers of the table, with those that are sealed.
func (p *plane) fars(bool) (all []far) {
	t := p.table.Load()
	p.mu.Lock()
	leases := p.leases
	p.mu.Unlock()
	var past []netip.Prefix
	if p.back.direct {
		past = p.routes.Direct()
	}
	for _, l := range leases {
		var last *peer
		for _, subnet := range [...]netip.Prefix{l.Subnet, l.Subnet6} {
			at := tunnelAddr(subnet)
			to := t.lookup(at)
			if to == nil || to == last {
				continue
			}
			f := p.show(to)
			f.at, f.direct = at, slices.Contains(past, subnet.Masked())
			all = append(all, f)
			last = to
		}
	}
	return all
}

func (p *plane) farOf(a netip.Addr) (far, bool) {
	if to := p.table.Load().lookup(a); to != nil {
		f := p.show(to)
		f.at = tunnelOf(to.lease, a)
		return f, true
	}
	return far{}, false
}

// tunnelOf is the tunnel address of a node in the family of a.
func tunnelOf(l lease.Lease, a netip.Addr) netip.Addr {
	if a.Is6() {
		return tunnelAddr(l.Subnet6)
	}
	return tunnelAddr(l.Subnet)
}

// show makes the far of a peer.
func (p *plane) show(to *peer) far {
	f := far{lease: to.lease, key: to.key, endpoint: netip.AddrPortFrom(to.outer, 0)}
	switch {
	case to.sealed:
		f.drop, f.why = encap.WantsWireGuard, fmt.Sprintf("its lease says %s, and this node does not speak it: nothing goes to it in the clear", kindOf(to.lease))
		return f
	case to.out.n == 0:
		f.via, f.drop, f.why = to.framing.kind, encap.NoFamily, errNoPort.Error()
		return f
	}
	f.via, f.endpoint, f.path, f.mtu = to.framing.kind, to.addr.AddrPort(), to.path, p.back.mtu
	f.overhead, f.vni = outerSize(to.outer)+len(to.prefix), vniOf(to.framing.trace, to.prefix)
	if limit := int(to.path.inner.Load()); limit > 0 {
		f.mtu = min(f.mtu, limit)
	}
	return f
}

// outerSize is the bytes of the IP and UDP headers of a datagram to a.
func outerSize(a netip.Addr) int {
	if a.Is6() {
		return outer6
	}
	return outer4
}

// describe tells of the ends.
func (p *plane) describe(e *control.Engine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Open = p.ends != nil; !e.Open {
		return
	}
	e.Features = featureNames(p.ends.features())
	e.Repairs = []control.Repairs{{What: "routes", Count: p.routes.Repairs()}}
	e.Answers = p.answer.sent.Load()
	for _, f := range p.back.framings {
		for _, port := range p.ends.ports[f.id] {
			if port == nil {
				continue
			}
			about := control.Port{Kind: f.kind, Address: port.Local()}
			if v, ok := f.codec.(*encap.VXLAN); ok {
				about.VNI = v.VNI
			}
			if n, err := port.Drops(); err == nil {
				about.Drops = uint64(n)
			}
			e.Ports = append(e.Ports, about)
		}
	}
	if p.back.policies == nil {
		return
	}
	for name, n := range p.back.policies.since(policyCounts{}) {
		e.Policies = append(e.Policies, control.Policies{Policy: name, Count: n})
	}
}

// fars returns the peers of all interfaces; full asks WireGuard for
// their state as well, which takes its locks.
func (p *wgPlane) fars(full bool) (all []far) {
	var states map[wg.PublicKey]*wg.PeerStatus
	if full {
		states = p.states()
	}
	for _, l := range p.links {
		for key, to := range l.table.Load().peers {
			f := p.show(to, states[key])
			if f.at = tunnelAddr(to.lease.Subnet); !l.inner[0] || !f.at.IsValid() {
				f.at = tunnelAddr(to.lease.Subnet6)
			}
			all = append(all, f)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.inClear {
		all = append(all, clearFar(l))
	}
	return all
}

// clearFar is a node that does not encrypt.
func clearFar(l lease.Lease) far {
	return far{lease: l, key: l.Key(), drop: encap.NotWireGuard,
		why: fmt.Sprintf("its lease says %s, and this node speaks wireguard only", kindOf(l))}
}

func (p *wgPlane) farOf(a netip.Addr) (far, bool) {
	for _, l := range p.links {
		to := l.table.Load().lookup(a)
		switch {
		case to == nil:
		case to.key == wg.PublicKey{}:
			return clearFar(to.lease), true
		default:
			f := p.show(to, nil)
			f.at = tunnelOf(to.lease, a)
			return f, true
		}
	}
	return far{}, false
}

// states asks the tunnels for the state of their peers.
func (p *wgPlane) states() map[wg.PublicKey]*wg.PeerStatus {
	p.mu.Lock()
	var tunnels []*wg.Tunnel
	for _, l := range p.links {
		if l.tunnel != nil {
			tunnels = append(tunnels, l.tunnel)
		}
	}
	p.mu.Unlock()
	states := map[wg.PublicKey]*wg.PeerStatus{}
	for _, t := range tunnels {
		peers, err := t.Peers()
		if err != nil {
			p.node.log.Debug("peers of the tunnel not asked for", "err", err)
		}
		for i := range peers {
			states[peers[i].Key] = &peers[i]
		}
	}
	return states
}

// show makes the far of a peer; s may be nil.
func (p *wgPlane) show(to *wgPeer, s *wg.PeerStatus) far {
	f := far{lease: to.lease, key: to.name, via: "wireguard", path: to.seen, mtu: p.back.mtu, wg: s, endpoint: to.endpoint}
	if s != nil && s.Endpoint.IsValid() {
		f.endpoint = s.Endpoint
	}
	f.overhead = outerSize(f.endpoint.Addr()) + wg.Overhead
	if limit := int(to.seen.inner.Load()); limit > 0 {
		f.mtu = min(f.mtu, limit)
	}
	if to.lane == nil {
		f.drop, f.why = encap.WGNoSession, "the tunnel is not open"
	}
	return f
}

// describe tells of the ends.
func (p *wgPlane) describe(e *control.Engine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var used tunnel.Feature
	for _, l := range p.links {
		if l.tunnel == nil {
			continue
		}
		e.Open = true
		e.Repairs = append(e.Repairs, control.Repairs{What: "routes of " + l.name, Count: l.routes.Repairs()})
		used |= l.dev.Features() | l.tunnel.Features()
		for _, a := range listenAddrs(p.under) {
			e.Ports = append(e.Ports, control.Port{Kind: "wireguard", Address: netip.AddrPortFrom(a, uint16(l.port)), Drops: l.tunnel.PortDrops()})
		}
	}
	e.Features, e.Answers = featureNames(used), p.answer.sent.Load()
}
