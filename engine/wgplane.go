package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"weft/engine/iface"
	"weft/engine/route"
	"weft/lease"
	"weft/tunnel/wg"
)

// A wgPlane is the data plane of a node whose backend is wireguard: one or two
// interfaces, each a tunnel of its own.
type wgPlane struct {
	node   *Node
	cfg    *lease.Config
	under  iface.Underlay
	back   *backend
	own    lease.Lease
	answer *answerer
	up     counters
	down   counters

	mu      sync.Mutex // guards what follows
	links   []*wgEnds
	leases  []lease.Lease // the peers'
	inClear []lease.Lease // of nodes that do not encrypt, which we keep away from
	listed  bool          // leases were listed once
	lanes   atomic.Pointer[map[*wg.Lane]*wgPeer]

	demoted  demotions
	tookOver bool         // what another backend left was looked for
	tooLong  chan *wgPeer // whose path turned out too narrow

	watching sync.Mutex // guards around
	around   string     // routes that lead around the tunnel, as told last
}

func newWGPlane(n *Node, cfg *lease.Config, back *backend, own lease.Lease, routes []*route.Reconciler) *wgPlane {
	p := &wgPlane{node: n, cfg: cfg, under: back.under, back: back, own: own, tooLong: make(chan *wgPeer, 16)}
	p.answer = newAnswerer(tunnelAddr(own.Subnet), tunnelAddr(own.Subnet6))
	for i, l := range back.wg.links {
		p.links = append(p.links, &wgEnds{wgLink: l, routes: routes[i]})
	}
	p.rebuild()
	return p
}

// setPeers makes the leases the peers of the interfaces and returns those that
// cannot be.
func (p *wgPlane) setPeers(_ context.Context, leases []lease.Lease, refused []lease.Refusal) []lease.Refusal {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leases, p.inClear, p.listed = leases, inClear(refused), true
	return p.rebuild()
}

// reached returns those of the leases, which were the last ones set, that are
// peers of an interface.
func (p *wgPlane) reached(leases []lease.Lease) (out []lease.Lease) {
	peers := map[string]bool{}
	for _, l := range p.links {
		for _, to := range l.table.Load().peers {
			peers[to.lease.Key()] = true
		}
	}
	for _, l := range leases {
		if peers[l.Key()] {
			out = append(out, l)
		}
	}
	return out
}

// rebuild makes tables of the leases, and peers of the tunnels that are open.
// The caller holds mu, or is alone.
func (p *wgPlane) rebuild() (refused []lease.Refusal) {
	lanes := map[*wg.Lane]*wgPeer{}
	for _, l := range p.links {
		refused = append(refused, p.rebuildLink(l, lanes)...)
	}
	p.lanes.Store(&lanes)
	p.node.peersChanged()
	return refused
}

// inClear returns the leases among refusals whose nodes do not encrypt.
func inClear(refused []lease.Refusal) (ls []lease.Lease) {
	for _, r := range refused {
		if !r.Lease.Attrs.Sealed() {
			ls = append(ls, r.Lease)
		}
	}
	return ls
}

// rebuildLink makes the table of one interface. A lease that asks for another
// backend stands in it too, so that what is for its subnet is told from what
// is for nobody.
func (p *wgPlane) rebuildLink(l *wgEnds, lanes map[*wg.Lane]*wgPeer) (refused []lease.Refusal) {
	t := &wgTable{known: p.listed, peers: map[wg.PublicKey]*wgPeer{}, own: [2]netip.Prefix{p.own.Subnet, p.own.Subnet6}}
	var was map[wg.PublicKey]*wgPeer
	if old := l.table.Load(); old != nil {
		was = old.peers
	}
	for _, of := range p.inClear {
		t.hold(&wgPeer{lease: of, seen: &path{}})
	}
	var want []wg.Peer
	for _, of := range p.leases {
		to, err := p.back.wg.peer(&l.wgLink, p.under, of)
		switch {
		case errors.Is(err, errNoSubnet):
			continue
		case err == nil && t.peers[to.Key] != nil:
			err = fmt.Errorf("PublicKey: %v is that of %s as well; was a key file copied?", to.Key, t.peers[to.Key].lease.Key())
		}
		if err != nil {
			refused = append(refused, lease.Refusal{Lease: of, Err: err})
			continue
		}
		peer := &wgPeer{lease: of, name: wayKey(of, !l.inner[0] && len(p.links) > 1), key: to.Key, link: l, endpoint: to.Endpoint, seen: &path{}}
		if old := was[to.Key]; old != nil {
			peer.seen = old.seen
		}
		t.peers[to.Key] = peer
		want = append(want, to)
	}
	if l.tunnel != nil {
		if err := l.tunnel.SetPeers(want); err != nil && !closed(l.tunnel) {
			p.node.log.Error("peers of the tunnel not as they should be", "iface", l.name, "err", err)
		}
	}
	for _, to := range want {
		peer := t.peers[to.Key]
		if l.tunnel != nil {
			peer.lane = l.tunnel.Lane(to.Key)
			lanes[peer.lane] = peer
		}
		for _, subnet := range to.Allowed {
			t.routes.Insert(subnet, peer)
		}
	}
	l.table.Store(t)
	return refused
}

// closed tells whether a tunnel is closed, or has failed.
func closed(t *wg.Tunnel) bool {
	select {
	case <-t.Ended():
		return true
	default:
		return false
	}
}

// peerOf returns the peer of a lane, or nil.
func (p *wgPlane) peerOf(l *wg.Lane) *wgPeer { return (*p.lanes.Load())[l] }

// open opens the interfaces and makes the kernel's state what it must be.
func (p *wgPlane) open(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			p.lose()
		}
	}()
	if err = p.takeOver(); err != nil {
		return err
	}
	for _, l := range p.links {
		if err = p.openLink(ctx, l); err != nil {
			return fmt.Errorf("interface %s: %w", l.name, err)
		}
	}
	p.mu.Lock()
	p.rebuild()
	p.mu.Unlock()
	p.watchAround()
	return nil
}

// isOpen tells whether there is something to carry.
func (p *wgPlane) isOpen() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links) > 0 && p.links[len(p.links)-1].tunnel != nil
}

// carry waits until an interface fails or ctx ends.
func (p *wgPlane) carry(ctx context.Context) error {
	failed := make(chan error, len(p.links))
	for _, l := range p.links {
		t := l.tunnel
		go func() {
			select {
			case <-t.Ended():
				failed <- t.Err()
			case <-ctx.Done():
			}
		}()
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lose closes the interfaces; devices and routes stay.
func (p *wgPlane) lose() {
	p.sample()
	for _, l := range p.links {
		if err := p.closeLink(l); err != nil {
			p.node.log.Debug("closing the data plane", "iface", l.name, "err", err)
		}
	}
	p.mu.Lock()
	p.rebuild() // without lanes
	p.mu.Unlock()
}

// changed tells of a peer that began or ceased to answer.
func (p *wgPlane) changed(l *wg.Lane, answers bool) {
	to := p.peerOf(l)
	if to == nil {
		return
	}
	if answers {
		p.node.log.Info("peer answers", "subnet", to.lease.Key(), "peer", outerOf(to.lease), "key", to.key)
		return
	}
	p.node.log.Warn("peer does not answer handshakes: it is down, has another key or PSK, or does not get our datagrams",
		"subnet", to.lease.Key(), "peer", outerOf(to.lease), "key", to.key)
}
