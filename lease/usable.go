package lease

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Usable divides the peers in set into those that a node holding own in the
// network cfg may use and those it must not. The own lease is in neither. An
// accepted lease comes without the family that cfg does not use. The accepted
// leases do not overlap: of two that do, all nodes choose the same one, namely
//
//  1. the one with the longer prefix, so that no single lease over half the
//     network can push out all others,
//  2. of equal ones that which has both families,
//  3. then the lower subnets and the lower node address.
//
// Sealed leases ([Attrs.Sealed]) in a network that does not encrypt are there to
// be kept away from, and overlap as they like. All of them are accepted, because
// one that was refused would be forgotten, and what its node sends in the clear
// with it. Beside a clear lease rule 1 holds, but an equal prefix is the sealed
// one's: a second claim to a subnet must not be enough to bring its packets into
// the clear. A wider sealed lease keeps what no longer clear one covers.
//
// Both results are in order of subnets.
func Usable(cfg *Config, own Lease, set *Set) (ok []Lease, refused []Refusal) {
	var away []Lease // accepted to be kept away from
	for _, l := range set.leases {
		if compareSubnets(l, &own) == 0 && sameNode(l.Attrs, own.Attrs) {
			continue
		}
		if err := Check(cfg, own, *l); err != nil {
			refused = append(refused, Refusal{*l, err})
			continue
		}
		if sealed(cfg, l.Attrs) {
			away = append(away, l.only(cfg))
		} else {
			ok = append(ok, l.only(cfg))
		}
	}
	ok, lost := unsealed(ok, away)
	refused = append(refused, lost...)
	ok, lost = disjoint(ok)
	refused = append(refused, lost...)
	ok = append(ok, away...)
	slices.SortFunc(ok, func(a, b Lease) int { return compareSubnets(&a, &b) })
	slices.SortFunc(refused, func(a, b Refusal) int { return compareSubnets(&a.Lease, &b.Lease) })
	return ok, refused
}

// sameNode reports whether a and b are published by one node.
func sameNode(a, b Attrs) bool {
	if !noAddr(a.PublicIP) || !noAddr(b.PublicIP) {
		return addrEqual(a.PublicIP, b.PublicIP)
	}
	return addrEqual(a.PublicIPv6, b.PublicIPv6)
}

// unsealed refuses those of ls that claim a subnet of the sealed leases away, or
// more than such a subnet.
func unsealed(ls, away []Lease) (ok []Lease, refused []Refusal) {
	var held [2][]netip.Prefix
	for _, l := range away {
		held[0], held[1] = append(held[0], l.Subnet), append(held[1], l.Subnet6)
	}
	slices.SortFunc(held[1], comparePrefixes) // those of IPv4 are in the set's order
	for _, l := range ls {
		other, clash := within(held[0], l.Subnet)
		if !clash {
			other, clash = within(held[1], l.Subnet6)
		}
		if clash {
			refused = append(refused, Refusal{l, fmt.Errorf("it overlaps %s, whose node sends and takes nothing in the clear", other)})
			continue
		}
		ok = append(ok, l)
	}
	return ok, refused
}

// within returns one of the sorted prefixes ps that p contains or equals. Those
// stand in one row that begins where p's own place is: a wider one with the same
// address comes before it.
func within(ps []netip.Prefix, p netip.Prefix) (netip.Prefix, bool) {
	i, _ := slices.BinarySearchFunc(ps, p, comparePrefixes)
	if p.IsValid() && i < len(ps) && p.Contains(ps[i].Addr()) {
		return ps[i], true
	}
	return netip.Prefix{}, false
}

// disjoint refuses those of ls that overlap a better one.
func disjoint(ls []Lease) (ok []Lease, refused []Refusal) {
	slices.SortFunc(ls, better)
	var v4, v6 ranger
	for _, l := range ls {
		other, clash := v4.overlap(l.Subnet)
		if !clash {
			other, clash = v6.overlap(l.Subnet6)
		}
		if clash {
			refused = append(refused, Refusal{l, fmt.Errorf("it overlaps %s, which another node holds", other)})
			continue
		}
		v4.add(l.Subnet)
		v6.add(l.Subnet6)
		ok = append(ok, l)
	}
	return ok, refused
}

// better is the order in which leases are accepted.
func better(a, b Lease) int {
	return cmp.Or(
		-cmp.Compare(a.Subnet.Bits(), b.Subnet.Bits()),
		-cmp.Compare(a.Subnet6.Bits(), b.Subnet6.Bits()),
		compareSubnets(&a, &b),
		a.Attrs.PublicIP.Compare(b.Attrs.PublicIP),
		a.Attrs.PublicIPv6.Compare(b.Attrs.PublicIPv6),
	)
}

// A ranger is a set of prefixes that do not overlap, in order of addresses.
type ranger []netip.Prefix

// overlap returns the prefix in r that overlaps p. Because those in r are
// disjoint, only the two neighbours of p's place can do so.
func (r ranger) overlap(p netip.Prefix) (netip.Prefix, bool) {
	if !p.IsValid() {
		return p, false
	}
	i, _ := slices.BinarySearchFunc(r, p, comparePrefixes)
	if i < len(r) && r[i].Overlaps(p) {
		return r[i], true
	}
	if i > 0 && r[i-1].Overlaps(p) {
		return r[i-1], true
	}
	return netip.Prefix{}, false
}

// add puts p, which overlaps none of r, in its place.
func (r *ranger) add(p netip.Prefix) {
	if p.IsValid() {
		i, _ := slices.BinarySearchFunc(*r, p, comparePrefixes)
		*r = slices.Insert(*r, i, p)
	}
}
