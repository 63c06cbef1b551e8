package iface

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// byPublic is the rule without interface flags.
func (c chooser) byPublic() (Underlay, error) {
	f := ip4
	if !c.public[ip4].IsValid() {
		f = ip6
	}
	public := c.public[f]
	if !public.IsValid() {
		return c.byDefault()
	}
	l, local := c.owner(public)
	why := fmt.Sprintf("%s is an address of %s", c.publicFlag(f), l.name)
	switch {
	case !local: // take adds the warning
		return c.byDefault()
	case !l.loopback:
		return c.take(l, why)
	}
	// An address announced by a routing daemon: packets leave elsewhere.
	u, err := c.byDefault()
	if err != nil {
		return c.take(l, why)
	}
	return u, nil
}

// byDefault takes the first usable next hop of the default routes. With both
// families on, one through which both have a default route comes first.
func (c chooser) byDefault() (Underlay, error) {
	var hops []nexthop
	var missing []string
	for _, f := range c.families() {
		if len(c.defaults[f]) == 0 {
			missing = append(missing, fmt.Sprintf("there is no %s default route", f))
		}
		for _, h := range c.defaults[f] {
			if !slices.ContainsFunc(hops, func(x nexthop) bool { return x.index == h.index && !x.dead }) {
				hops = append(hops, h)
			}
		}
	}
	if len(hops) == 0 {
		return Underlay{}, errors.New(join(missing) + " (name an interface with --iface)")
	}
	shared := func(h nexthop) bool { return len(c.unrouted(h.index)) == 0 }
	var refusals []string
	for _, wantShared := range []bool{true, false} {
		for _, h := range hops {
			if shared(h) != wantShared {
				continue
			}
			u, err := c.byHop(h)
			if err == nil {
				return u, nil
			}
			refusals = append(refusals, err.Error())
		}
	}
	return Underlay{}, errors.New(join(append(refusals, missing...)))
}

func (c chooser) byHop(h nexthop) (Underlay, error) {
	l, ok := c.byIndex(h.index)
	if !ok {
		return Underlay{}, fmt.Errorf("default route: interface %d is not here", h.index)
	}
	if h.dead || !l.up {
		return Underlay{}, fmt.Errorf("default route through %s: the link is down", l.name)
	}
	why := "default route through " + l.name
	for _, f := range c.unrouted(h.index) {
		why += fmt.Sprintf("; warning: there is no %s default route through it", f)
	}
	return c.take(l, why)
}

// unrouted lists the families that are on and have no default route through
// the link.
func (c chooser) unrouted(index int) (fs []family) {
	for _, f := range c.families() {
		if !slices.ContainsFunc(c.defaults[f], func(h nexthop) bool { return h.index == index }) {
			fs = append(fs, f)
		}
	}
	return fs
}

// take makes l the underlay, with the given addresses in their families. Else
// a public address that is local is bound, wherever it is: packets to it must
// arrive. Else the best address of l is.
func (c chooser) take(l link, why string, given ...netip.Addr) (Underlay, error) {
	if l.mtu <= 0 {
		return Underlay{}, fmt.Errorf("%s: its MTU is %d", why, l.mtu)
	}
	notes := ""
	if !l.up {
		notes = "; warning: it is down"
	}
	var bind, public [2]netip.Addr
	for _, f := range c.families() {
		home, local := c.owner(c.public[f])
		i := slices.IndexFunc(given, func(a netip.Addr) bool { return familyOf(a) == f })
		switch {
		case i >= 0:
			bind[f] = l.zoned(given[i])
		case local:
			bind[f] = home.zoned(c.public[f])
			if home.index != l.index {
				notes += fmt.Sprintf("; %s is on %s", c.publicFlag(f), home.name)
			}
		default:
			ok := l.usable(f)
			if len(ok) == 0 {
				return Underlay{}, fmt.Errorf("%s: %s has no usable %s address", why, l.name, f)
			}
			bind[f] = ok[0]
		}
		public[f] = bind[f].WithZone("")
		if c.public[f].IsValid() {
			public[f] = c.public[f]
			if !local {
				notes += fmt.Sprintf("; warning: %s is no address of this host, so it must be translated to %s on the way", c.publicFlag(f), bind[f])
			}
		}
	}
	return Underlay{Name: l.name, Index: l.index, MTU: l.mtu, Why: why + notes,
		Addr: bind[ip4], Addr6: bind[ip6], Public: public[ip4], Public6: public[ip6]}, nil
}
