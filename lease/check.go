package lease

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// A Refusal is a peer's lease that must not be used, and why.
type Refusal struct {
	Lease Lease
	Err   error
}

// Check tells whether the peer's lease l may be used by a node that holds own
// in the network cfg; nil means yes. It judges l alone; for what two peers
// claim see [Usable]. A lease is refused when
//
//   - its BackendType is neither the network's nor one that this node speaks
//     beside it (the udp backend and alloc write none; in networks of udp and
//     of vxlan, which this node frames itself, nodes of both may stand),
//   - it holds no subnet of a family that the network uses,
//   - such a subnet has host bits set, is not a part of the network or
//     overlaps the own one,
//   - it has no node address, or one that is this node's own, is multicast or
//     broadcast, or lies inside the lease itself, which would make a loop,
//   - its backend needs data that is missing for each of its families.
//
// Loopback and link-local IPv4 addresses are allowed: whole networks run on
// one machine in tests and labs. The length of the subnet is free, so that
// nodes leased before a change of SubnetLen stay reachable.
func Check(cfg *Config, own, l Lease) error {
	if err := checkType(cfg, l.Attrs); err != nil {
		return err
	}
	l = l.only(cfg)
	if !l.Subnet.IsValid() && !l.Subnet6.IsValid() {
		return errors.New("it holds no subnet of an address family in use")
	}
	if err := checkSubnet("Network", cfg.Network, own.Subnet, l.Subnet); err != nil {
		return err
	}
	if err := checkSubnet("IPv6Network", cfg.IPv6Network, own.Subnet6, l.Subnet6); err != nil {
		return err
	}
	if noAddr(l.Attrs.PublicIP) && noAddr(l.Attrs.PublicIPv6) {
		return errors.New("it has no node address")
	}
	if err := checkAddr("PublicIP", own.Attrs.PublicIP, l.Attrs.PublicIP, l.Subnet); err != nil {
		return err
	}
	if err := checkAddr("PublicIPv6", own.Attrs.PublicIPv6, l.Attrs.PublicIPv6, l.Subnet6); err != nil {
		return err
	}
	return checkData(l)
}

// only returns l without the family that cfg does not use: a node with IPv4
// alone can well use the IPv4 half of a dual-stack lease.
func (l Lease) only(cfg *Config) Lease {
	if !cfg.EnableIPv4 {
		l.Subnet = netip.Prefix{}
	}
	if !cfg.EnableIPv6 {
		l.Subnet6 = netip.Prefix{}
	}
	return l
}

// published returns the type that a node with this backend writes into its
// lease. Those that came first write none.
func published(backendType string) string {
	switch backendType {
	case "udp", "alloc", "tencent-vpc":
		return ""
	}
	return backendType
}

// framed tells whether a backend of this type is a framing of our own, so that
// it can be spoken beside another one.
func framed(backendType string) bool { return backendType == "udp" || backendType == "vxlan" }

func checkType(cfg *Config, a Attrs) error {
	theirs := published(a.BackendType)
	both := framed(cfg.BackendType) && (theirs == "" || framed(theirs))
	if !both && theirs != published(cfg.BackendType) {
		return fmt.Errorf("BackendType: %q does not talk to %q", a.BackendType, cfg.BackendType)
	}
	return nil
}

// checkSubnet judges the subnet s of one family; a missing one is in order.
func checkSubnet(key string, network, own, s netip.Prefix) error {
	switch {
	case !s.IsValid():
		return nil
	case s != s.Masked():
		return fmt.Errorf("%s has host bits set", s)
	case !inside(network, s):
		return fmt.Errorf("%s is not a part of %s %s", s, key, network)
	case own.IsValid() && own.Overlaps(s):
		return fmt.Errorf("%s overlaps this node's own %s", s, own)
	}
	return nil
}

// checkAddr judges the node address a of one family; a missing one is in order.
func checkAddr(field string, own, a netip.Addr, subnet netip.Prefix) error {
	switch {
	case noAddr(a):
		return nil
	case a == own:
		return fmt.Errorf("%s: %s is this node's own", field, a)
	case a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%s: %s is not the address of one node", field, a)
	case a.Is6() && a.IsLinkLocalUnicast():
		return fmt.Errorf("%s: %s means nothing without an interface", field, a)
	case subnet.IsValid() && subnet.Contains(a):
		return fmt.Errorf("%s: %s lies inside its own subnet %s", field, a, subnet)
	}
	return nil
}

// checkData judges whether the data that the backend cannot do without is there
// for one family at least. What is missing for the other costs that one alone.
func checkData(l Lease) error {
	if t := l.Attrs.BackendType; t != "vxlan" && t != "wireguard" {
		return nil
	}
	has4, has6 := len(l.Attrs.BackendData) > 0, len(l.Attrs.BackendV6Data) > 0
	if l.Subnet.IsValid() && has4 || l.Subnet6.IsValid() && has6 {
		return nil
	}
	if l.Subnet.IsValid() {
		return errors.New("BackendData: missing")
	}
	return errors.New("BackendV6Data: missing")
}

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
// Both results are in order of subnets.
func Usable(cfg *Config, own Lease, set *Set) (ok []Lease, refused []Refusal) {
	for _, l := range set.leases {
		if compareSubnets(l, &own) == 0 && sameNode(l.Attrs, own.Attrs) {
			continue
		}
		if err := Check(cfg, own, *l); err != nil {
			refused = append(refused, Refusal{*l, err})
			continue
		}
		ok = append(ok, l.only(cfg))
	}
	ok, lost := disjoint(ok)
	refused = append(refused, lost...)
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
	slices.SortFunc(ok, func(a, b Lease) int { return compareSubnets(&a, &b) })
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
