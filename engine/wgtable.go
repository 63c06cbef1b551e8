package engine

import (
	"net/netip"

	"github.com/gaissmai/bart"

	"weft/lease"
	"weft/tunnel/wg"
)

// A wgPeer is a remote node as a WireGuard interface reaches it.
type wgPeer struct {
	name     string // to the prober; see peer.key
	lease    lease.Lease
	key      wg.PublicKey
	link     *wgEnds        // the interface
	endpoint netip.AddrPort // where its lease says that it is
	lane     *wg.Lane       // nil: its lease asks for another backend, or the tunnel is not open
	seen     *path          // what was learnt about the way to it; outlives the table
}

// A wgTable is a snapshot of the cluster as one interface reaches it.
type wgTable struct {
	known  bool // made from a listing; before the first one, silence means nothing
	routes bart.Fast[*wgPeer]
	peers  map[wg.PublicKey]*wgPeer
	own    [2]netip.Prefix // our own subnets, IPv4 and IPv6
}

// hold puts a peer without a lane into the routes, so that what is for its
// subnets is known.
func (t *wgTable) hold(p *wgPeer) {
	for _, subnet := range [...]netip.Prefix{p.lease.Subnet, p.lease.Subnet6} {
		if subnet.IsValid() {
			t.routes.Insert(subnet.Masked(), p)
		}
	}
}

// lookup returns the peer that owns the inner address a, or nil.
func (t *wgTable) lookup(a netip.Addr) *wgPeer {
	p, _ := t.routes.Lookup(a)
	return p
}

// owns tells whether a is in our own subnets.
func (t *wgTable) owns(a netip.Addr) bool { return holds(t.own, a) }
