package engine

import (
	"net/netip"

	"weft/engine/route"
	"weft/lease"
)

// An overlay is the network of one inner family, and our part of it. Both are
// zero if the family is off.
type overlay struct{ network, subnet netip.Prefix }

// overlays returns those of IPv4 and IPv6.
func overlays(cfg *lease.Config, own lease.Lease) (both [2]overlay) {
	if own.Subnet.IsValid() {
		both[0] = overlay{cfg.Network.Masked(), own.Subnet.Masked()}
	}
	if own.Subnet6.IsValid() {
		both[1] = overlay{cfg.IPv6Network.Masked(), own.Subnet6.Masked()}
	}
	return both
}

// join adds to d what makes its device a part of the overlay: our address, the
// route to the network and, if asked for, a blackhole for what of our subnet no
// pod has.
func (o overlay) join(d *route.Desired, blackhole bool) {
	if !o.subnet.IsValid() {
		return
	}
	a := tunnelAddr(o.subnet)
	d.Addrs = append(d.Addrs, netip.PrefixFrom(a, a.BitLen()))
	d.Routes = append(d.Routes, route.Route{Dst: o.network})
	if blackhole {
		d.Routes = append(d.Routes, route.Route{Dst: o.subnet, Blackhole: true, Metric: route.GuardMetric})
	}
}

// holds tells whether a is in one of the subnets, IPv4 and IPv6.
func holds(subnets [2]netip.Prefix, a netip.Addr) bool {
	if a.Is4() {
		return subnets[0].Contains(a)
	}
	return subnets[1].Contains(a)
}
