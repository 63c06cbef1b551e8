package space

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Bridge makes a bridge and sets it up. It is given an address of its own:
// otherwise it takes the lowest of its ports', and every port that joins later
// may change it under the neighbours' caches.
func (s *Space) Bridge(name string, mac net.HardwareAddr) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = name, mac
	off := false
	br := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}
	if err := s.nl.LinkAdd(br); err != nil {
		return fmt.Errorf("%s: add bridge %s: %w", s.name, name, err)
	}
	return s.Up(name)
}

// Pair makes a veth pair with one end here, as a port of bridge, and the other
// end in peer. Both ends are set up.
func (s *Space) Pair(port, bridge string, peer *Space, peerName string) error {
	if err := s.Veth(port, peer, peerName); err != nil {
		return err
	}
	if err := s.Join(port, bridge); err != nil {
		return err
	}
	return errors.Join(s.Up(port), peer.Up(peerName))
}

// Veth makes a veth pair with one end here and the other in peer. Both ends
// stay down.
func (s *Space) Veth(name string, peer *Space, peerName string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := &netlink.Veth{
		LinkAttrs:     attrs,
		PeerName:      peerName,
		PeerNamespace: netlink.NsFd(int(peer.fd.Fd())),
	}
	if err := s.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("%s: add veth %s to %s/%s: %w", s.name, name, peer.name, peerName, err)
	}
	return nil
}

// Join makes a link a port of bridge.
func (s *Space) Join(port, bridge string) error {
	br, err := s.nl.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("%s: join %s to %s: %w", s.name, port, bridge, err)
	}
	return s.edit(port, "join "+bridge, func(l netlink.Link) error { return s.nl.LinkSetMaster(l, br) })
}

// Up sets a link up.
func (s *Space) Up(link string) error {
	return s.edit(link, "set up", s.nl.LinkSetUp)
}

// Down sets a link down.
func (s *Space) Down(link string) error {
	return s.edit(link, "set down", s.nl.LinkSetDown)
}

// MTU sets the largest packet of a link, in bytes of IP.
func (s *Space) MTU(link string, mtu int) error {
	return s.edit(link, fmt.Sprintf("set mtu %d", mtu), func(l netlink.Link) error {
		return s.nl.LinkSetMTU(l, mtu)
	})
}

// Addresses makes the addresses of the link exactly want, link-local ones
// left aside. IPv6 addresses skip duplicate address detection.
func (s *Space) Addresses(link string, want ...netip.Prefix) error {
	return s.edit(link, fmt.Sprintf("set addresses %v", want), func(l netlink.Link) error {
		have, err := s.addresses(l)
		if err != nil {
			return err
		}
		missing := make(map[netip.Prefix]bool, len(want))
		for _, p := range want {
			missing[p] = true
		}
		for i := range have {
			p := prefixOf(have[i].IPNet)
			if missing[p] {
				delete(missing, p)
			} else if !p.Addr().IsLinkLocalUnicast() {
				err = errors.Join(err, s.nl.AddrDel(l, &have[i]))
			}
		}
		for _, p := range want { // in the caller's order: the first is the primary one
			if missing[p] {
				err = errors.Join(err, s.nl.AddrAdd(l, addrOf(p)))
			}
		}
		return err
	})
}

// maxDumps is how often a listing is tried that a change on the way may have
// made incomplete: the kernel too adds addresses, when a link goes up.
const maxDumps = 10

// addresses lists those of a link.
func (s *Space) addresses(l netlink.Link) (have []netlink.Addr, err error) {
	for range maxDumps {
		if have, err = s.nl.AddrList(l, netlink.FAMILY_ALL); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return have, err
}

// Default makes via, reached through link, the default route of its family.
func (s *Space) Default(link string, via netip.Addr) error {
	dst := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if via.Is6() {
		dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return s.Route(link, dst, via)
}

// Route adds or replaces a route to dst by way of via through link.
func (s *Space) Route(link string, dst netip.Prefix, via netip.Addr) error {
	return s.edit(link, fmt.Sprintf("route %s via %s", dst, via), func(l netlink.Link) error {
		return s.nl.RouteReplace(&netlink.Route{
			LinkIndex: l.Attrs().Index,
			Dst:       ipNet(dst),
			Gw:        via.AsSlice(),
		})
	})
}

// Statistics returns the kernel's counters of a link.
func (s *Space) Statistics(link string) (stats netlink.LinkStatistics, err error) {
	err = s.edit(link, "read statistics", func(l netlink.Link) error {
		if st := l.Attrs().Statistics; st != nil {
			stats = *st
		}
		return nil
	})
	return stats, err
}

// Router lets the namespace forward between its links, both families, and
// turns off what delays IPv6 addresses. A kernel without IPv6 is fine as long
// as ipv6 is false.
func (s *Space) Router(ipv6 bool) error {
	err := s.Sysctl("net.ipv4.ip_forward", "1")
	err6 := errors.Join(s.NoDAD(), s.Sysctl("net.ipv6.conf.all.forwarding", "1"))
	if !ipv6 && errors.Is(err6, fs.ErrNotExist) {
		err6 = nil
	}
	return errors.Join(err, err6)
}

// NoDAD turns duplicate address detection off for the links that exist and
// those still to come, so that an IPv6 address can be used at once.
func (s *Space) NoDAD() error {
	return errors.Join(
		s.Sysctl("net.ipv6.conf.all.accept_dad", "0"),
		s.Sysctl("net.ipv6.conf.default.accept_dad", "0"),
	)
}

// edit looks link up, applies f to it, and says in an error what was tried.
func (s *Space) edit(link, what string, f func(netlink.Link) error) error {
	l, err := s.nl.LinkByName(link)
	if err == nil {
		err = f(l)
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %s: %w", s.name, link, what, err)
	}
	return nil
}

func addrOf(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) netip.Prefix {
	a, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones)
}
