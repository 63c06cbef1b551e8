package lease

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// choices is how many free subnets are collected before one is drawn. Flannel
// uses the same number (pkg/subnet/etcd/local_manager.go): enough that nodes
// starting together rarely draw the same, few enough to keep the low end dense.
const choices = 100

// A Plan is how to satisfy a [Claim]: in one step, drop the leases in Drop and
// write Lease.
type Plan struct {
	Lease Lease
	Old   *Lease  // the own lease that Lease carries on, under the same or another key; nil: a new claim
	Drop  []Lease // own leases that must go: those that fit the network no longer, and Old if its key changes
}

// Owns reports whether l is the lease of the claiming node. Flannel knows a
// node by its PublicIP; a node without IPv4 is known by its PublicIPv6.
func (c Claim) Owns(l Lease) bool {
	return sameNode(c.Attrs, l.Attrs) && !(noAddr(l.Attrs.PublicIP) && noAddr(l.Attrs.PublicIPv6))
}

// Plan decides which subnets to claim, given the node's own leases in the
// store and everyone else's. In this order it takes
//
//  1. what an own lease holds, if that fits the network; if only one family
//     fits, that one, so that switching IPv6 on or off renumbers nobody,
//  2. the previous subnets, if they fit and are free,
//  3. for each family, one of the first 100 free subnets at random.
//
// A free subnet overlaps no lease of another node. Expires of the result is
// zero exactly if it carries on a reservation. The error wraps [ErrNoSubnet].
func (c Claim) Plan(own, others []Lease, rnd *rand.Rand) (Plan, error) {
	taken4, taken6 := c.occupied(others)
	p := Plan{Lease: Lease{Attrs: c.Attrs}}
	best := 0
	for i := range own {
		if n := c.fitting(own[i], taken4, taken6); n > best {
			best, p.Old = n, &own[i]
		}
	}
	from := c.Previous
	if p.Old != nil {
		from, p.Lease.Expires = *p.Old, p.Old.Expires
	}
	p.Lease.Subnet, p.Lease.Subnet6 = c.keep(from, taken4, taken6)
	if err := c.fill(&p.Lease, taken4, taken6, rnd); err != nil {
		return Plan{}, err
	}
	for i := range own {
		l := &own[i]
		stays := c.fitting(*l, taken4, taken6) > 0 && l != p.Old && !l.Overlaps(p.Lease)
		if compareSubnets(l, &p.Lease) != 0 && !stays {
			p.Drop = append(p.Drop, *l)
		}
	}
	return p, nil
}

// Overlaps reports whether a and b share addresses in either family.
func (l Lease) Overlaps(b Lease) bool {
	return l.Subnet.IsValid() && b.Subnet.IsValid() && l.Subnet.Overlaps(b.Subnet) ||
		l.Subnet6.IsValid() && b.Subnet6.IsValid() && l.Subnet6.Overlaps(b.Subnet6)
}

// keep returns those subnets of l that fit the network and are free.
func (c Claim) keep(l Lease, taken4, taken6 ranger) (subnet, subnet6 netip.Prefix) {
	if fits(c.Config.range4(), l.Subnet, taken4) {
		subnet = l.Subnet
	}
	if fits(c.Config.range6(), l.Subnet6, taken6) {
		subnet6 = l.Subnet6
	}
	return subnet, subnet6
}

// fitting says how well l can be carried on: 0 not at all, 1 in the family that
// matters (IPv4, unless the network has none), 2 in both.
func (c Claim) fitting(l Lease, taken4, taken6 ranger) int {
	subnet, subnet6 := c.keep(l, taken4, taken6)
	switch {
	case subnet.IsValid() && subnet6.IsValid():
		return 2
	case subnet.IsValid(), subnet6.IsValid() && !c.Config.EnableIPv4:
		return 1
	}
	return 0
}

// fill draws the subnets that are still missing.
func (c Claim) fill(l *Lease, taken4, taken6 ranger, rnd *rand.Rand) (err error) {
	if c.Config.EnableIPv4 && !l.Subnet.IsValid() {
		l.Subnet, err = pick(c.Config.range4(), "", taken4, rnd)
	}
	if err == nil && c.Config.EnableIPv6 && !l.Subnet6.IsValid() {
		l.Subnet6, err = pick(c.Config.range6(), "IPv6", taken6, rnd)
	}
	return err
}

func (c *Config) range4() ranges {
	return ranges{c.Network, c.SubnetLen, c.SubnetMin, c.SubnetMax}
}

func (c *Config) range6() ranges {
	return ranges{c.IPv6Network, c.IPv6SubnetLen, c.IPv6SubnetMin, c.IPv6SubnetMax}
}

// fits reports whether s is one of the subnets that r hands out, and free.
func fits(r ranges, s netip.Prefix, taken ranger) bool {
	if !s.IsValid() || !r.network.IsValid() || s.Bits() != r.length || s != s.Masked() ||
		s.Addr().Less(r.min) || r.max.Less(s.Addr()) {
		return false
	}
	_, clash := taken.overlap(s)
	return !clash
}

// pick draws one of the first free subnets of r.
func pick(r ranges, key string, taken ranger, rnd *rand.Rand) (netip.Prefix, error) {
	if r.max.Less(r.min) {
		return netip.Prefix{}, fmt.Errorf("%w: %sSubnetMin %s is above %sSubnetMax %s", ErrNoSubnet, key, r.min, key, r.max)
	}
	free := firstFree(r, taken)
	if len(free) == 0 {
		return netip.Prefix{}, fmt.Errorf("%w: all from %sSubnetMin %s to %sSubnetMax %s are taken", ErrNoSubnet, key, r.min, key, r.max)
	}
	return free[rnd.IntN(len(free))], nil
}

// firstFree walks up from r.min, stepping over whatever is taken, be it
// smaller or larger than a subnet of r.
func firstFree(r ranges, taken ranger) []netip.Prefix {
	var free []netip.Prefix
	s, ok := netip.PrefixFrom(r.min, r.length), true
	for ok && len(free) < choices && !r.max.Less(s.Addr()) {
		used, clash := taken.overlap(s)
		switch {
		case !clash:
			free = append(free, s)
			s, ok = nextPrefix(s)
		case used.Bits() < r.length: // one larger lease covers several subnets
			s, ok = nextPrefix(used)
			s = netip.PrefixFrom(s.Addr(), r.length)
		default:
			s, ok = nextPrefix(s)
		}
	}
	return free
}

// occupied returns the addresses that leases hold, per family, as disjoint
// prefixes: one inside another is dropped. A lease that is not a part of the
// network, such as a stray 0.0.0.0/0, holds nothing: no node would use it.
func (c Claim) occupied(ls []Lease) (v4, v6 ranger) {
	for _, l := range ls {
		if inside(c.Config.Network, l.Subnet) {
			v4 = append(v4, l.Subnet.Masked())
		}
		if inside(c.Config.IPv6Network, l.Subnet6) {
			v6 = append(v6, l.Subnet6.Masked())
		}
	}
	return merge(v4), merge(v6)
}

// inside reports whether s is a part of network and not the whole of it.
func inside(network, s netip.Prefix) bool {
	return network.IsValid() && s.IsValid() && s.Bits() > network.Bits() && network.Contains(s.Addr())
}

func merge(r ranger) ranger {
	slices.SortFunc(r, comparePrefixes)
	kept := r[:0]
	for _, p := range r {
		if n := len(kept); n > 0 && kept[n-1].Overlaps(p) {
			continue // sorted, so the larger one came first
		}
		kept = append(kept, p)
	}
	return kept
}
