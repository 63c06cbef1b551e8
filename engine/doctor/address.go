package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"weft/engine/control"
)

// checkAddress looks for others that hold the node's addresses: the public ones
// on two interfaces or on another host, the tunnel's on another interface.
func checkAddress(v *visit) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	links, err := v.links()
	if err != nil {
		return skip("%v", err)
	}
	n := v.Status.Node
	var bad []control.Check
	for _, a := range []netip.Addr{n.Public, n.Public6} {
		bad = append(bad, duplicate(links, a)...)
	}
	bad = append(bad, v.tunnelAddresses(links)...)
	mac, asked, err := v.claimed(links)
	if mac != "" {
		bad = append(bad, fail(fmt.Sprintf("%s is also the address of the host with MAC %s", n.Public, mac),
			"two hosts on one network have the same address, so that its packets reach now one, now the other",
			"give one of them another address: ip address replace, and restart its node")...)
	}
	switch {
	case len(bad) > 0:
		return bad
	case err != nil:
		return info("no other interface has %s; other hosts were not asked: %v", addresses(n.Public, n.Public6), err)
	case !asked:
		return info("no other interface has %s; other hosts were not asked: no interface of this host has an IPv4 address of the node", addresses(n.Public, n.Public6))
	case n.Public6.IsValid():
		return info("no other interface has %s, and no neighbour has %s; for IPv6 other hosts were not asked, the kernel does so when an address is set",
			addresses(n.Public, n.Public6), n.Public)
	}
	return pass("no other interface and no neighbour has %s", addresses(n.Public, n.Public6))
}

// claimed asks the neighbours on the underlay whether they hold our address of
// IPv4, if there is one.
func (v *visit) claimed(links []Link) (mac string, asked bool, err error) {
	n := v.Status.Node
	holder := holders(links, n.Public)
	if !n.Public.Is4() || len(holder) == 0 {
		return "", false, nil
	}
	mac, err = v.System.Claimed(v.ctx, holder[0].Name, n.Public)
	if errors.Is(err, fs.ErrPermission) {
		return "", false, errors.New("that needs NET_RAW")
	}
	return mac, err == nil, err
}

// holders lists the links that have an address.
func holders(links []Link, a netip.Addr) (list []Link) {
	if !a.IsValid() {
		return nil
	}
	for _, l := range links {
		if slices.ContainsFunc(l.Addrs, func(x Address) bool { return x.Addr() == a.WithZone("") }) {
			list = append(list, l)
		}
	}
	return list
}

func duplicate(links []Link, a netip.Addr) (bad []control.Check) {
	list := holders(links, a)
	if len(list) > 1 {
		var names []string
		for _, l := range list {
			names = append(names, l.Name)
		}
		bad = append(bad, warn(fmt.Sprintf("%s is on several interfaces: %s", a, strings.Join(names, ", ")),
			"the kernel may answer and send by either", fmt.Sprintf("ip address del %s dev %s", a, names[len(names)-1]))...)
	}
	for _, l := range list {
		for _, x := range l.Addrs {
			if x.Addr() == a && x.Duplicate {
				bad = append(bad, fail(fmt.Sprintf("%s on %s belongs to another host too", a, l.Name),
					"the kernel found it in use when it was set (duplicate address detection)", "give one of the hosts another address")...)
			}
		}
	}
	return bad
}

// tunnelAddresses finds links beside the node's own that have the address of
// its devices, which is the first of its subnet.
func (v *visit) tunnelAddresses(links []Link) (bad []control.Check) {
	for _, s := range []netip.Prefix{v.Status.Node.Subnet, v.Status.Node.Subnet6} {
		if !s.IsValid() {
			continue
		}
		for _, l := range holders(links, s.Masked().Addr()) {
			if slices.Contains(v.devices(), l.Name) {
				continue
			}
			bad = append(bad, fail(fmt.Sprintf("%s has %s, which is the address of the tunnel", l.Name, s.Masked().Addr()),
				"answers to this host's own packets into the overlay end at that interface",
				fmt.Sprintf("ip address del %s dev %s", s.Masked().Addr(), l.Name))...)
		}
	}
	return bad
}

// checkNAT compares what the lease says with the host's interfaces and with
// what peers have seen.
func checkNAT(v *visit) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	n := v.Status.Node
	links, err := v.links()
	if err != nil {
		return skip("%v", err)
	}
	var bad []control.Check
	asked := 0
	for _, p := range v.Status.Peers {
		seen := p.Observed.Addr()
		if !seen.IsValid() {
			continue
		}
		asked++
		if registered := ofFamily(seen, n.Public, n.Public6); registered.IsValid() && registered != seen {
			bad = append(bad, warn(fmt.Sprintf("%s sees this node as %s, the lease says %s", PeerName(p), p.Observed, registered),
				"an address translator lies between, or the kernel sends by another interface; peers that check sources drop the packets",
				"start the node with --public-ip="+seen.String()+", or with the right --iface")...)
		}
	}
	if len(bad) > 0 {
		return bad
	}
	for _, a := range []netip.Addr{n.Public, n.Public6} {
		if a.IsValid() && len(holders(links, a)) == 0 {
			return info("no interface has %s, which peers are told: a router must translate it; %s confirmed it", a, plural(asked, "peer"))
		}
	}
	if asked == 0 {
		return info("%s is on an interface of this host; no peer has told what it sees", addresses(n.Public, n.Public6))
	}
	return pass("this node's address is as the lease says, in the eyes of %s", plural(asked, "peer"))
}

// ofFamily returns the first of the addresses that is of a's family.
func ofFamily(a netip.Addr, list ...netip.Addr) netip.Addr {
	for _, x := range list {
		if x.IsValid() && x.Is4() == a.Is4() {
			return x
		}
	}
	return netip.Addr{}
}
