package control

import (
	"fmt"
	"net/netip"
	"strings"

	"weft/lease"
)

// Label is how people tell a peer from others: by its public address, IPv4 where
// it has both; else by where its datagrams go; "" if it has neither. Where two
// share an address the subnet tells them apart, so it belongs beside it.
func (p *Peer) Label() string {
	switch {
	case p.Public.IsValid():
		return p.Public.String()
	case p.Public6.IsValid():
		return p.Public6.String()
	case p.Endpoint.IsValid():
		return p.Endpoint.Addr().String()
	}
	return ""
}

// subnet is the peer's first subnet as text.
func (p *Peer) subnet() string {
	for _, s := range [...]netip.Prefix{p.Subnet, p.Subnet6} {
		if s.IsValid() {
			return s.String()
		}
	}
	return ""
}

// FindPeer returns the peer that name stands for: an address of the node or one
// inside its subnet, the subnet itself (bits behind the prefix do not matter),
// or the key of its lease. The error is an [*Error] of the field "peer" that
// names some of those that there are.
func FindPeer(peers []Peer, name string) (Peer, error) {
	for _, is := range [...]func(*Peer, string) bool{(*Peer).isAt, (*Peer).has} {
		for i := range peers {
			if is(&peers[i], name) {
				return peers[i], nil
			}
		}
	}
	text := fmt.Sprintf("peer: %q is no address, subnet or lease key of a peer; ", name)
	return Peer{}, &Error{Message: text + listed(peers), Field: "peer"}
}

// isAt reports whether name is an address of the node itself, or names its lease.
func (p *Peer) isAt(name string) bool {
	if a, err := netip.ParseAddr(name); err == nil {
		a = a.Unmap()
		return p.Public == a || p.Public6 == a || p.Endpoint.Addr().Unmap() == a
	}
	if s, err := netip.ParsePrefix(name); err == nil {
		return p.Subnet == s.Masked() || p.Subnet6 == s.Masked()
	}
	return name != "" && p.subnet() != "" && lease.Key(p.Subnet, p.Subnet6) == name
}

// has reports whether name is an address inside the peer's subnets.
func (p *Peer) has(name string) bool {
	a, err := netip.ParseAddr(name)
	return err == nil && (p.Subnet.Contains(a.Unmap()) || p.Subnet6.Contains(a))
}

// listed tells how many peers there are, and names the first ones.
func listed(peers []Peer) string {
	const most = 3
	switch len(peers) {
	case 0:
		return "there are no peers"
	case 1:
		return "there is 1 peer: " + peers[0].named()
	}
	var names []string
	for i := range peers[:min(most, len(peers))] {
		names = append(names, peers[i].named())
	}
	text := fmt.Sprintf("there are %d peers: %s", len(peers), strings.Join(names, ", "))
	if len(peers) > most {
		text += ", …"
	}
	return text
}

// named is a peer's label and subnet.
func (p *Peer) named() string {
	if label := p.Label(); label != "" {
		return strings.TrimSuffix(label+" with "+p.subnet(), " with ")
	}
	return p.subnet()
}
