package trace

import (
	"fmt"
	"net/netip"

	engine "weft/engine/trace"
)

// names knows the nodes of a stream. The zero names knows none.
type names struct {
	peers  []engine.MetaPeer
	byAddr map[netip.Addr]*engine.MetaPeer
}

func newNames(m *engine.Meta) names {
	n := names{peers: m.Peers, byAddr: make(map[netip.Addr]*engine.MetaPeer, len(m.Peers))}
	for i := range n.peers {
		p := &n.peers[i]
		for _, a := range []netip.Addr{p.Public, p.Public6} {
			if a.IsValid() {
				n.byAddr[a.Unmap()] = p
			}
		}
	}
	return n
}

// at returns the node with an outer address; nil if there is none.
func (n *names) at(a netip.Addr) *engine.MetaPeer { return n.byAddr[a.Unmap()] }

// holder returns the node whose lease an inner address is of; nil if there is
// none, or the address is ours.
func (n *names) holder(a netip.Addr) *engine.MetaPeer {
	for i, p := range n.peers {
		if p.Subnet.Contains(a) || p.Subnet6.Contains(a) {
			return &n.peers[i]
		}
	}
	return nil
}

// subnet returns the subnet of a node, that of IPv6 only if it has no other.
func subnet(p *engine.MetaPeer) netip.Prefix {
	if p.Subnet.IsValid() {
		return p.Subnet
	}
	return p.Subnet6
}

// peer names the other node of r as briefly as can be: by its subnet, else by
// its address.
func (n *names) peer(r *engine.Record) string {
	if p := n.at(r.Remote.Addr()); p != nil && subnet(p).IsValid() {
		return subnet(p).String()
	}
	if !r.Remote.Addr().IsValid() {
		return "-"
	}
	return r.Remote.Addr().String()
}

// lease names a node by its subnet and its address.
func lease(p *engine.MetaPeer) string {
	a := p.Public
	if !a.IsValid() {
		a = p.Public6
	}
	return fmt.Sprintf("%v (%v)", subnet(p), a)
}

// whose tells of which node an inner address is, as far as that is known.
func (n *names) whose(a netip.Addr) string {
	if p := n.holder(a); p != nil {
		return fmt.Sprintf("%v is of %s", a, lease(p))
	}
	return fmt.Sprintf("%v is of no other node", a)
}
