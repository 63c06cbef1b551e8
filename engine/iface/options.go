package iface

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
)

// A wish is Options after all checks that need no kernel.
type wish struct {
	on       [2]bool // families
	ifaces   []named
	regexes  []*regexp.Regexp
	canReach netip.Addr    // invalid: not given
	public   [2]netip.Addr // invalid: not given
}

// A named is one --iface value: a literal, or if that is invalid, a name.
type named struct {
	literal netip.Addr
	text    string
}

// families lists those that are on.
func (w wish) families() (fs []family) {
	for f, on := range w.on {
		if on {
			fs = append(fs, family(f))
		}
	}
	return fs
}

// parse checks o and returns all faults at once.
func parse(o Options, v4, v6 bool) (w wish, err error) {
	w.on = [2]bool{v4, v6}
	if !v4 && !v6 {
		return w, errors.New("iface: neither IPv4 nor IPv6 is on")
	}
	var errs []error
	for _, text := range o.Iface {
		n := named{text: text}
		if text == "" {
			errs = append(errs, fault("iface", text, "the name is empty"))
		} else if _, err := netip.ParseAddr(text); err == nil {
			n.literal, err = w.parseAddr("iface", text)
			errs = append(errs, err)
		}
		w.ifaces = append(w.ifaces, n)
	}
	for _, text := range o.IfaceRegex {
		re, err := regexp.Compile(text)
		if err != nil {
			errs = append(errs, fault("iface-regex", text, err.Error()))
			continue
		}
		w.regexes = append(w.regexes, re)
	}
	if o.CanReach != "" {
		w.canReach, err = w.parseAddr("iface-can-reach", o.CanReach)
		errs = append(errs, err)
	}
	for f, p := range [2]struct{ name, text string }{{"public-ip", o.PublicIP}, {"public-ipv6", o.PublicIPv6}} {
		a, err := parsePublic(family(f), p.name, p.text)
		errs = append(errs, err)
		if w.on[f] {
			w.public[f] = a
		}
	}
	return w, errors.Join(errs...)
}

func fault(name, value, what string) error {
	return fmt.Errorf("iface: %s: %s", flag(name, value), what)
}

// parseAddr reads an address of a family that is on.
func (w wish) parseAddr(name, text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fault(name, text, "this is no IP address")
	}
	a = a.Unmap()
	if f := familyOf(a); !w.on[f] {
		return netip.Addr{}, fault(name, text, fmt.Sprintf("this is an %s address, and %s is off", f, f))
	}
	return a, nil
}

// parsePublic reads an address that peers are to be told.
func parsePublic(f family, name, text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	a = a.Unmap()
	switch {
	case err != nil:
		return netip.Addr{}, fault(name, text, "this is no IP address")
	case familyOf(a) != f:
		return netip.Addr{}, fault(name, text, fmt.Sprintf("this is no %s address", f))
	case a.IsUnspecified() || a.IsMulticast() || a.Zone() != "":
		return netip.Addr{}, fault(name, text, "peers cannot send to this address")
	}
	return a, nil
}

// publicFlag shows the public address of family f as the flag it came from.
func (w wish) publicFlag(f family) string {
	return flag([...]string{"public-ip", "public-ipv6"}[f], w.public[f].String())
}
