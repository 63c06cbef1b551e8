package route

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// actual is the kernel's state, as far as one Desired is concerned.
type actual struct {
	MTU    int
	Up     bool
	Addrs  []netip.Prefix     // on the link, all scopes
	Routes []entry            // main table: ours, and those at a place that we want
	Onlink map[netip.Addr]hop // of the gateways of conditional routes, those on a link
}

// An entry is a route as the kernel has it.
type entry struct {
	Route        // in normal form; Link is the device's name
	Proto  uint8 // RTPROT_*
	Scope  uint8 // RT_SCOPE_*; always 0 for IPv6
	Type   uint8 // RTN_*
	Multi  bool  // has several next hops
	Opaque bool  // has properties that Route cannot express
}

// String describes the entry for a log line.
func (e entry) String() string {
	s := e.Route.String()
	if e.Type != unix.RTN_UNICAST && e.Type != unix.RTN_BLACKHOLE {
		s = fmt.Sprintf("type %d %s", e.Type, s)
	}
	if e.Multi {
		s += " (several next hops)"
	}
	return fmt.Sprintf("%s proto %d", s, e.Proto)
}

// installed returns the entry that the kernel shows after r was installed by
// us. Scope global is what flanneld uses for all its tunnel routes.
func (r Route) installed() entry {
	e := entry{Route: r, Proto: Protocol, Scope: unix.RT_SCOPE_UNIVERSE, Type: unix.RTN_UNICAST}
	if r.Blackhole {
		e.Type = unix.RTN_BLACKHOLE
	}
	return e
}

// says reports whether e sends packets where w does.
func (e entry) says(w entry) bool {
	return e.Type == w.Type && !e.Multi && !e.Opaque && e.Via == w.Via && e.Link == w.Link
}

type op uint8

const (
	setMTU op = iota + 1
	setUp
	addAddr
	delAddr
	setRoute
	delRoute
)

// A change is one step from the actual state to the desired one.
type change struct {
	op    op
	mtu   int
	addr  netip.Prefix
	route entry
}

// String says what the change does.
func (c change) String() string {
	switch c.op {
	case setMTU:
		return fmt.Sprintf("set MTU %d", c.mtu)
	case setUp:
		return "set link up"
	case addAddr:
		return "add address " + c.addr.String()
	case delAddr:
		return "remove address " + c.addr.String()
	case setRoute:
		return "set route " + c.route.Route.String()
	default:
		return "remove route " + c.route.Route.String()
	}
}

// A conflict is a wanted route whose place is held by somebody else's.
type conflict struct {
	want   Route
	holder entry
}

// Error says who holds the place.
func (c conflict) Error() string {
	return fmt.Sprintf("route %s: the table has %s, which is not ours; left as it is", c.want, c.holder)
}

// benign reports whether the holder is a connected route.
func (c conflict) benign() bool { return c.holder.Proto == unix.RTPROT_KERNEL }

// plan lists the changes that turn a into d, in the order in which they can be
// made: the link first, since routes need it up; then addresses, since routes
// name them as sources; then new routes before old ones go, so that traffic
// always finds one. d must be in normal form.
func plan(d Desired, a actual) (changes []change, conflicts []conflict) {
	if a.MTU != d.MTU {
		changes = append(changes, change{op: setMTU, mtu: d.MTU})
	}
	if !a.Up {
		changes = append(changes, change{op: setUp})
	}
	changes = append(changes, planAddrs(d, a)...)

	routes, conflicts := planRoutes(d, a)
	return append(changes, routes...), conflicts
}

func planRoutes(d Desired, a actual) (changes []change, conflicts []conflict) {
	held := make(map[key][]entry)
	for _, e := range a.Routes {
		held[e.key()] = append(held[e.key()], e)
	}
	wanted := make(map[key]entry, len(d.Routes))
	taken := make(map[entry]bool) // entries that a replacement does away with
	for _, r := range d.Routes {
		r, ok := r.under(a.Onlink)
		if !ok {
			continue
		}
		w := r.installed()
		holders := held[r.key()]
		present := slices.Contains(holders, w)
		other := slices.IndexFunc(holders, func(e entry) bool { return !replaceable(e, w) })
		if other >= 0 && (!present || r.Blackhole) {
			// A bridge that comes up after our blackhole gets its route
			// behind it, so a blackhole has to go and not only to stay away.
			conflicts = append(conflicts, conflict{r, holders[other]})
			continue
		}
		wanted[r.key()] = w
		if present {
			continue
		}
		changes = append(changes, change{op: setRoute, route: w})
		for _, e := range holders {
			taken[e] = true
		}
	}
	for _, e := range a.Routes {
		if e.Proto == Protocol && !taken[e] && wanted[e.key()] != e && !d.spares(e) {
			changes = append(changes, change{op: delRoute, route: e})
		}
	}
	return changes, conflicts
}

// spares reports whether e, a route of ours that is not wanted, may be wanted
// as soon as d is whole.
func (d Desired) spares(e entry) bool {
	return d.Partial && e.Via.IsValid() && e.Link != d.Link
}

// replaceable reports whether w may take e's place in the table.
func replaceable(e, w entry) bool {
	return e.Proto == Protocol || e.Proto == unix.RTPROT_BOOT || e.says(w)
}

func planAddrs(d Desired, a actual) (changes []change) {
	for _, p := range a.Addrs {
		if !slices.Contains(d.Addrs, p) && unwelcome(d, p) {
			changes = append(changes, change{op: delAddr, addr: p})
		}
	}
	for _, p := range d.Addrs {
		if !slices.Contains(a.Addrs, p) {
			changes = append(changes, change{op: addAddr, addr: p})
		}
	}
	return changes
}

// unwelcome reports whether an address that is not wanted has to go; the
// package comment has the rule.
func unwelcome(d Desired, p netip.Prefix) bool {
	if p.Addr().IsLinkLocalUnicast() {
		return false
	}
	if p.IsSingleIP() {
		return true
	}
	for _, w := range d.Addrs {
		if w.Masked().Contains(p.Addr()) {
			return true
		}
	}
	for _, r := range d.Routes {
		if r.Dst.Contains(p.Addr()) && r.Dst.Bits() > 0 {
			return true
		}
	}
	return false
}
