package masq

import (
	"fmt"
	"net/netip"
)

// Rules says what the rules are to be about. The zero Rules wants none.
type Rules struct {
	Network, Subnet   netip.Prefix // IPv4: the overlay and this node's part of it; both zero: family off
	Network6, Subnet6 netip.Prefix // IPv6, likewise

	Masq        bool // masquerade what leaves the overlay (--ip-masq)
	RandomFully bool // masquerade with randomly chosen ports, where that is possible
	Forward     bool // accept forwarding from and to the overlay (--iptables-forward-rules)
}

// serviceMark is the bit in the packet mark with which kube-proxy says that it
// masquerades a packet itself. Other bits of the mark belong to others.
const serviceMark = 0x4000

var multicast = [2]netip.Prefix{
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("ff00::/8"),
}

// A verdict is what becomes of a packet that a rule matches.
type verdict uint8

const (
	leave      verdict = iota // leave our chain; later chains may judge
	accept                    // let it pass
	masquerade                // rewrite its source to the outgoing interface's address
)

// A side is one end of a packet: inside a prefix, or outside it.
type side struct {
	in  netip.Prefix // zero: any
	not bool
}

func in(p netip.Prefix) side    { return side{in: p} }
func notIn(p netip.Prefix) side { return side{in: p, not: true} }

// A rule is one line of a chain: all that it names must match.
type rule struct {
	marked   bool // the packet's mark has the bit serviceMark
	src, dst side
	do       verdict
	random   bool // with masquerade: choose ports at random
}

// A family holds the wanted rules of one address family, in order.
type family struct {
	six     bool
	masq    []rule
	forward []rule
}

func (f family) empty() bool { return len(f.masq) == 0 && len(f.forward) == 0 }

// wanted computes the rules of IPv4, at index 0, and IPv6.
func wanted(r Rules) ([2]family, error) {
	want := [2]family{{}, {six: true}}
	nets := [2][2]netip.Prefix{{r.Network, r.Subnet}, {r.Network6, r.Subnet6}}
	for i, n := range nets {
		network, subnet := n[0].Masked(), n[1].Masked()
		if !network.IsValid() && !subnet.IsValid() {
			continue
		}
		six := i == 1
		if !network.IsValid() || !subnet.IsValid() || network.Addr().Is6() != six || !covers(network, subnet) {
			return want, fmt.Errorf("masq: subnet %v is not part of network %v", n[1], n[0])
		}
		if r.Masq {
			want[i].masq = masqRules(network, subnet, multicast[i], r.RandomFully)
		}
		if r.Forward {
			want[i].forward = forwardRules(network)
		}
	}
	return want, nil
}

func covers(network, subnet netip.Prefix) bool {
	return network.Bits() <= subnet.Bits() && network.Contains(subnet.Addr())
}

// masqRules returns flannel's masquerade rules (pkg/trafficmngr/iptables,
// masqRules): pods of this node talk to the overlay, and the overlay and the
// world to pods of this node, under their own addresses. Else pods go out, and
// the host goes in, under the node's.
func masqRules(network, subnet, multicast netip.Prefix, random bool) []rule {
	return []rule{
		{marked: true, do: leave},
		{src: in(subnet), dst: in(network), do: leave},
		{src: in(network), dst: in(subnet), do: leave},
		{src: notIn(network), dst: in(subnet), do: leave},
		{src: in(network), dst: notIn(multicast), do: masquerade, random: random},
		{src: notIn(network), dst: in(network), do: masquerade, random: random},
	}
}

func forwardRules(network netip.Prefix) []rule {
	return []rule{
		{src: in(network), do: accept},
		{dst: in(network), do: accept},
	}
}
