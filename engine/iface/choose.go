package iface

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// choose applies the rules of the package comment to s.
func choose(s snapshot, w wish) (Underlay, error) {
	c := chooser{s, w}
	if len(w.ifaces)+len(w.regexes) == 0 && !w.canReach.IsValid() {
		u, err := c.byPublic()
		return u, c.explain(err)
	}
	var refusals []error
	for _, rule := range c.rules() {
		u, err := rule()
		if err == nil {
			return u, nil
		}
		refusals = append(refusals, err)
	}
	return Underlay{}, c.explain(refusals...)
}

type chooser struct {
	snapshot
	wish
}

// rules lists the attempts that the flags ask for, in order.
func (c chooser) rules() (rules []func() (Underlay, error)) {
	for _, n := range c.ifaces {
		rules = append(rules, func() (Underlay, error) { return c.byIface(n) })
	}
	for _, re := range c.regexes {
		rules = append(rules, func() (Underlay, error) { return c.byRegex(re) })
	}
	if c.canReach.IsValid() {
		rules = append(rules, c.byReach)
	}
	return rules
}

// explain makes the final error of refusals, with all candidates.
func (c chooser) explain(refusals ...error) error {
	refusals = slices.DeleteFunc(refusals, func(err error) bool { return err == nil })
	if len(refusals) == 0 {
		return nil
	}
	var seen []string
	for _, l := range c.links {
		seen = append(seen, l.state())
	}
	if len(seen) == 0 {
		seen = []string{"none"}
	}
	return fmt.Errorf("iface: no usable underlay interface: %s; interfaces here: %s", join(refusals), strings.Join(seen, ", "))
}

func (c chooser) byIface(n named) (Underlay, error) {
	name := flag("iface", n.text)
	if !n.literal.IsValid() {
		l, ok := c.byName(n.text)
		if !ok {
			return Underlay{}, fmt.Errorf("%s: there is no such interface", name)
		}
		return c.take(l, name)
	}
	l, ok := c.owner(n.literal)
	if !ok {
		return Underlay{}, fmt.Errorf("%s: no interface has this address", name)
	}
	return c.take(l, fmt.Sprintf("%s is an address of %s", name, l.name), n.literal)
}

// byRegex searches addresses of all interfaces first: for one that matches in
// each family, then for one that matches in any; then it searches names.
// Interfaces that are up come before those that are not.
func (c chooser) byRegex(re *regexp.Regexp) (Underlay, error) {
	name := flag("iface-regex", re.String())
	type candidate struct {
		l     link
		addrs []netip.Addr // those that match, one per family
		why   string
	}
	var all, some, names []candidate
	for _, l := range c.upFirst() {
		if overlayDevice(l.name) {
			continue
		}
		addrs := c.matching(l, re)
		by := candidate{l, addrs, fmt.Sprintf("%s matches %s of %s", name, join(addrs), l.name)}
		switch len(addrs) {
		case 0:
		case len(c.families()):
			all = append(all, by)
		default:
			some = append(some, by)
		}
		if re.MatchString(l.name) {
			names = append(names, candidate{l, nil, fmt.Sprintf("%s matches the name %s", name, l.name)})
		}
	}
	refusals := []error{}
	for _, x := range slices.Concat(all, some, names) {
		u, err := c.take(x.l, x.why, x.addrs...)
		if err == nil {
			return u, nil
		}
		refusals = append(refusals, err)
	}
	if len(refusals) == 0 {
		return Underlay{}, fmt.Errorf("%s: no usable address and no name matches", name)
	}
	return Underlay{}, errors.New(join(refusals))
}

// matching returns the best of l's usable addresses that re matches, one per
// family.
func (c chooser) matching(l link, re *regexp.Regexp) (addrs []netip.Addr) {
	for _, f := range c.families() {
		ok := l.usable(f)
		if i := slices.IndexFunc(ok, func(a netip.Addr) bool { return re.MatchString(a.WithZone("").String()) }); i >= 0 {
			addrs = append(addrs, ok[i])
		}
	}
	return addrs
}

// upFirst returns all links, those that are up before the others.
func (c chooser) upFirst() []link {
	down := slices.DeleteFunc(slices.Clone(c.links), func(l link) bool { return l.up })
	up := slices.DeleteFunc(slices.Clone(c.links), func(l link) bool { return !l.up })
	return append(up, down...)
}

// join writes a list into a message.
func join[T any](list []T) string {
	texts := make([]string, len(list))
	for i, x := range list {
		texts[i] = fmt.Sprint(x)
	}
	return strings.Join(texts, "; ")
}

// overlayDevice tells the tunnels of flannel and weft by their names: an
// expression such as "^10\." would match their addresses on the next start.
func overlayDevice(name string) bool {
	rest, ok := strings.CutPrefix(name, "flannel")
	return ok && rest != "" && strings.ContainsAny(rest[:1], "0123456789.-")
}

func (c chooser) byReach() (Underlay, error) {
	name := flag("iface-can-reach", c.canReach.String())
	if l, ok := c.owner(c.canReach); ok {
		return c.take(l, fmt.Sprintf("%s is an address of %s", name, l.name), c.canReach)
	}
	hop, err := c.lookup(c.canReach)
	if err != nil {
		return Underlay{}, fmt.Errorf("%s: %w", name, err)
	}
	l, ok := c.byIndex(hop.index)
	if !ok {
		return Underlay{}, fmt.Errorf("%s: its route leads through no interface", name)
	}
	why := fmt.Sprintf("%s is reached through %s", name, l.name)
	if hop.src.IsValid() {
		return c.take(l, why, l.zoned(hop.src))
	}
	return c.take(l, why)
}
