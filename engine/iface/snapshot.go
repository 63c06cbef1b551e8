package iface

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A snapshot is what choose knows of the kernel.
type snapshot struct {
	links    []link                              // in the kernel's order
	defaults [2][]nexthop                        // default routes by family, best first
	lookup   func(a netip.Addr) (nexthop, error) // the kernel's route to a
}

type link struct {
	name     string
	index    int
	mtu      int
	up       bool
	loopback bool
	addrs    []address
}

type address struct {
	netip.Addr
	flags uint32 // IFA_F_*
}

// A nexthop is one way out.
type nexthop struct {
	index int        // of the link
	src   netip.Addr // preferred source, if the kernel named one
	dead  bool       // the kernel says that it is of no use now
}

// refusal says why a is not to be used unless asked for; empty: it may be.
func (a address) refusal() string {
	switch {
	case a.IsLoopback():
		return "loopback"
	case !a.IsGlobalUnicast() && !a.IsLinkLocalUnicast():
		return "not unicast"
	case a.flags&unix.IFA_F_DEPRECATED != 0:
		return "deprecated"
	case a.flags&unix.IFA_F_DADFAILED != 0:
		return "in use by another host"
	case a.flags&unix.IFA_F_TENTATIVE != 0 && a.flags&unix.IFA_F_OPTIMISTIC == 0:
		return "tentative"
	}
	return ""
}

// badness orders usable addresses, the best one lowest.
func (a address) badness() (n int) {
	if a.IsLinkLocalUnicast() {
		n += 4
	}
	if a.flags&unix.IFA_F_PERMANENT == 0 {
		n += 2
	}
	if a.flags&unix.IFA_F_TEMPORARY != 0 { // for IPv4 the same bit means secondary
		n++
	}
	return n
}

// usable lists l's usable addresses of family f, the best one first.
func (l link) usable(f family) []netip.Addr {
	var ok []address
	for _, a := range l.addrs {
		if familyOf(a.Addr) == f && a.refusal() == "" {
			ok = append(ok, a)
		}
	}
	slices.SortStableFunc(ok, func(a, b address) int { return cmp.Compare(a.badness(), b.badness()) })
	out := make([]netip.Addr, 0, len(ok))
	for _, a := range ok {
		out = append(out, l.zoned(a.Addr))
	}
	return out
}

// zoned adds the zone without which a link-local IPv6 address says nothing.
func (l link) zoned(a netip.Addr) netip.Addr {
	if a.Is6() && a.IsLinkLocalUnicast() {
		return a.WithZone(l.name)
	}
	return a
}

// has reports whether a, whose zone if any must fit, is an address of l.
func (l link) has(a netip.Addr) bool {
	if z := a.Zone(); z != "" && z != l.name {
		return false
	}
	return slices.ContainsFunc(l.addrs, func(x address) bool { return x.Addr == a.WithZone("") })
}

// state describes l for an error: its addresses, and what is wrong with it.
func (l link) state() string {
	var words []string
	if !l.up {
		words = append(words, "down")
	}
	if l.mtu == 0 {
		words = append(words, "MTU 0")
	}
	for _, a := range l.addrs {
		if r := a.refusal(); r != "" {
			words = append(words, fmt.Sprintf("%s is %s", a.Addr, r))
		} else {
			words = append(words, a.Addr.String())
		}
	}
	if len(l.addrs) == 0 {
		words = append(words, "no address")
	}
	return fmt.Sprintf("%s (%s)", l.name, strings.Join(words, ", "))
}

func (s snapshot) byIndex(index int) (link, bool) {
	return s.find(func(l link) bool { return l.index == index })
}

func (s snapshot) byName(name string) (link, bool) {
	return s.find(func(l link) bool { return l.name == name })
}

// owner finds the interface that has address a; one that is up, if several do.
func (s snapshot) owner(a netip.Addr) (link, bool) {
	if l, ok := s.find(func(l link) bool { return l.up && l.has(a) }); ok {
		return l, true
	}
	return s.find(func(l link) bool { return l.has(a) })
}

func (s snapshot) find(f func(link) bool) (link, bool) {
	if i := slices.IndexFunc(s.links, f); i >= 0 {
		return s.links[i], true
	}
	return link{}, false
}
