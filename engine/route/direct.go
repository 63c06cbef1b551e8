package route

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// A hop is the device on whose link an address is.
type hop struct {
	index int
	link  string // its name
}

// vias lists the gateways of d's conditional routes, each once, that are worth
// a lookup. Left out is one that lies within the destination of a conditional
// route: installed, that route would take away its own condition or another's,
// and the two would come and go in turns. Link-local ones are too: they say
// nothing without a device.
func (d Desired) vias() []netip.Addr {
	dsts, bits := make(map[netip.Prefix]bool), make(map[int]bool)
	for _, r := range d.Routes {
		if r.Direct {
			dsts[r.Dst] = true
			bits[r.Dst.Bits()] = true
		}
	}
	var out []netip.Addr
	seen := make(map[netip.Addr]bool)
	for _, r := range d.Routes {
		if !r.Direct || seen[r.Via] || r.Via.IsLinkLocalUnicast() {
			continue
		}
		seen[r.Via] = true
		circular := false
		for n := range bits {
			p, err := r.Via.Prefix(n) // err: n is for the other family
			circular = circular || err == nil && dsts[p]
		}
		if !circular {
			out = append(out, r.Via)
		}
	}
	return out
}

// under returns r as it is to be installed while onlink holds, or false if it
// is not to be.
func (r Route) under(onlink map[netip.Addr]hop) (Route, bool) {
	if !r.Direct {
		return r, true
	}
	h, ok := onlink[r.Via]
	r.Direct, r.Link = false, h.link
	return r, ok
}

// direct lists d's conditional routes that are in force in a.
func (d Desired) direct(a actual) []netip.Prefix {
	present := make(map[entry]bool, len(a.Routes))
	for _, e := range a.Routes {
		present[e] = true
	}
	var out []netip.Prefix
	for _, r := range d.Routes {
		if w, ok := r.under(a.Onlink); ok && r.Direct && present[w.installed()] {
			out = append(out, r.Dst)
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

// onlink asks the kernel's lookup which of the addresses are on a link of this
// host other than the tunnel device and loopback.
func (k *kernel) onlink(vias []netip.Addr, tunnel int) (map[netip.Addr]hop, error) {
	out := make(map[netip.Addr]hop, len(vias))
	links := map[int]hop{tunnel: {}} // the zero hop: not to be used
	found, err := k.find.find(vias)
	if err != nil {
		return nil, err
	}
	for i, index := range found {
		if index == 0 {
			continue
		}
		h, known := links[index]
		if !known {
			if h, err = k.hop(index); err != nil {
				return nil, err
			}
			links[index] = h
		}
		if h.index != 0 {
			out[vias[i]] = h
		}
	}
	return out, nil
}

// hop looks at a device. It is the zero hop for loopback, and for a device
// that is gone by now.
func (k *kernel) hop(index int) (hop, error) {
	l, err := k.h.LinkByIndex(index)
	switch {
	case errors.As(err, new(netlink.LinkNotFoundError)):
		return hop{}, nil
	case err != nil:
		return hop{}, fmt.Errorf("route: link %d: %w", index, err)
	case l.Attrs().Flags&net.FlagLoopback != 0:
		return hop{}, nil
	}
	return hop{index, l.Attrs().Name}, nil
}

// Direct returns the destinations of the conditional routes that are in force,
// in order, as of the last Set or check of Run: the condition holds, and the
// route is ours and in the table.
func (r *Reconciler) Direct() []netip.Prefix {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.direct)
}

// observe notes where the conditional routes stand. The caller holds mu.
func (r *Reconciler) observe(a actual) {
	r.direct = r.want.direct(a)
	if !maps.Equal(a.Onlink, r.onlink) {
		r.onlink = a.Onlink
		r.attend(r.index)
	}
}

// unmoved reports whether the last check left nothing to do and each lookup
// still has the answer that it had then. The caller holds mu.
func (r *Reconciler) unmoved() bool {
	if !r.settled {
		return false
	}
	now, err := r.kern.onlink(r.want.asked, r.index)
	return err == nil && maps.Equal(now, r.onlink)
}
