// Package iface chooses the interface and the addresses through which this
// node talks to the others: the underlay.
//
// The rules are flanneld's, in this order:
//
//	no --iface, --iface-regex, --iface-can-reach:
//	    the interface that owns --public-ip (without it: --public-ipv6),
//	    else the interface of the default route
//	otherwise, the first that succeeds of:
//	    each --iface      an address literal: its owner; a name: that interface
//	    each --iface-regex  searched for in addresses first, then in names
//	    --iface-can-reach the interface of the kernel's route to that address
//
// An interface is usable if it has an MTU and, in each enabled family, a
// unicast address that is neither deprecated nor tentative. The best of several
// is the first one after ordering global before link-local, permanent before
// dynamic, and plain before temporary (IPv4: secondary).
//
// Where flanneld gives up, weft goes on if it can, and says so in
// [Underlay.Why]: a --public-ip that no interface has is taken as an address
// that some router translates; a multipath default route gives its first
// usable next hop; with both families on, default routes on different
// interfaces are no obstacle as long as one interface has both addresses. A
// flag that cannot mean anything is an error at once, with its value.
//
// The choice is a pure function of a snapshot of the kernel's state. [Watch]
// tells when that state has changed since.
package iface

import (
	"fmt"
	"net/netip"
)

// Options says how the underlay interface is to be chosen; the fields are
// flanneld's flags of the same names.
type Options struct {
	Iface      []string
	IfaceRegex []string
	CanReach   string
	PublicIP   string
	PublicIPv6 string
}

// An Underlay is the chosen interface and the addresses of this node on it.
// Addresses of a family that is off are the zero value.
type Underlay struct {
	Name        string
	Index       int
	MTU         int        // bytes
	Addr, Addr6 netip.Addr // where sockets are bound; a link-local Addr6 has its zone
	Public      netip.Addr // what peers are told
	Public6     netip.Addr
	Why         string // the rule that chose it, for the log
}

// Select chooses the underlay in the network namespace of the calling thread,
// for the families that are on. Its error names the flags and values at fault,
// or lists every interface with the reason why it was not taken.
func Select(o Options, v4, v6 bool) (Underlay, error) {
	w, err := parse(o, v4, v6) // before the kernel is asked anything
	if err != nil {
		return Underlay{}, err
	}
	s, err := read(w.families())
	if err != nil {
		return Underlay{}, err
	}
	defer s.close()
	return choose(s.snapshot, w)
}

// A family is an address family, as an index.
type family int

const (
	ip4 family = iota
	ip6
)

func (f family) String() string { return [...]string{"IPv4", "IPv6"}[f] }

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return ip4
	}
	return ip6
}

// flag shows a flag as the user wrote it.
func flag(name, value string) string { return fmt.Sprintf("--%s=%s", name, value) }
