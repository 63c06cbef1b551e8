package lease

import (
	"errors"
	"fmt"
	"net/netip"
)

// A Refusal is a peer's lease that must not be used, and why.
type Refusal struct {
	Lease Lease
	Err   error
}

// Check tells whether the peer's lease l may be believed by a node that holds
// own in the network cfg; nil means yes. It judges l alone; for what two peers
// claim see [Usable]. A lease is refused when
//
//   - its BackendType is neither the network's nor one that this node speaks
//     beside it (the udp backend and alloc write none; in networks of udp and
//     of vxlan, which this node frames itself, nodes of both may stand), nor
//     one that must be known lest its packets travel in the clear ([Attrs.Sealed]),
//   - it holds no subnet of a family that the network uses,
//   - such a subnet has host bits set, is not a part of the network or
//     overlaps the own one,
//   - it has no node address, or one that is this node's own, is multicast or
//     broadcast, or lies inside the lease itself, which would make a loop,
//   - its backend needs data that is missing for each of its families. A lease
//     that this node only keeps away from needs none.
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
	if sealed(cfg, l.Attrs) {
		return nil
	}
	return checkData(l)
}

// Sealed tells whether the node that published a encrypts what it sends: its
// lease says wireguard. A node that does not speak that sends it nothing and
// takes nothing from it, for whatever came would be in the clear.
func (a Attrs) Sealed() bool { return a.BackendType == "wireguard" }

// sealed tells whether a node in the network cfg must keep away from the node
// that published a.
func sealed(cfg *Config, a Attrs) bool { return framed(cfg.BackendType) && a.Sealed() }

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
	both := framed(cfg.BackendType) && (theirs == "" || framed(theirs) || a.Sealed())
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
