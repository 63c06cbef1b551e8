package route

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// callTimeout bounds each request to the kernel. rtnetlink answers in
// microseconds unless another process holds its lock for long.
const callTimeout = 5 * time.Second

// maxDumps bounds how often a listing is begun anew because the table changed
// underneath it.
const maxDumps = 4

// A kernel reads and changes the state of one network namespace.
type kernel struct {
	h    *netlink.Handle
	find *finder
}

// openKernel opens rtnetlink in the network namespace of the calling thread.
func openKernel() (*kernel, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("route: opening rtnetlink: %w", err)
	}
	if err := h.SetSocketTimeout(callTimeout); err != nil {
		h.Close()
		return nil, fmt.Errorf("route: setting the timeout of rtnetlink: %w", err)
	}
	find, err := openFinder()
	if err != nil {
		h.Close()
		return nil, err
	}
	return &kernel{h, find}, nil
}

func (k *kernel) close() {
	k.h.Close()
	k.find.close()
}

// link finds a device; missing reports that there is none of that name.
func (k *kernel) link(name string) (l netlink.Link, missing bool, err error) {
	l, err = k.h.LinkByName(name)
	if err != nil {
		missing = errors.As(err, new(netlink.LinkNotFoundError))
		return nil, missing, fmt.Errorf("route: link %s: %w", name, err)
	}
	return l, false, nil
}

// snapshot reads the state that d, in normal form, is about.
func (k *kernel) snapshot(d Desired, link netlink.Link) (actual, error) {
	link, err := k.h.LinkByIndex(link.Attrs().Index) // as it is now
	if err != nil {
		return actual{}, fmt.Errorf("route: link %s: %w", d.Link, err)
	}
	attrs := link.Attrs()
	a := actual{MTU: attrs.MTU, Up: attrs.Flags&net.FlagUp != 0}
	if a.Onlink, err = k.onlink(d.asked, attrs.Index); err != nil {
		return actual{}, err
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		err := k.addrs(&a, link, family)
		if err == nil && (d.Family == 0 || d.Family == family) {
			err = k.routes(&a, d, link, family)
		}
		if err != nil && (family == netlink.FAMILY_V4 || d.wantsIPv6()) {
			return actual{}, err
		}
	}
	return a, nil
}

func (k *kernel) addrs(a *actual, link netlink.Link, family int) error {
	var list []netlink.Addr
	err := whole(func() (err error) {
		list, err = k.h.AddrList(link, family)
		return err
	})
	if err != nil {
		return fmt.Errorf("route: listing addresses of %s: %w", link.Attrs().Name, err)
	}
	for _, x := range list {
		if p, ok := prefix(x.IPNet); ok {
			a.Addrs = append(a.Addrs, p)
		}
	}
	return nil
}

// routes adds the main table's entries that are ours or at a wanted place.
func (k *kernel) routes(a *actual, d Desired, link netlink.Link, family int) error {
	wanted := make(map[key]bool, len(d.Routes))
	for _, r := range d.Routes {
		wanted[r.key()] = true
	}
	names := map[int]string{link.Attrs().Index: link.Attrs().Name}
	var found []entry
	err := whole(func() error {
		found = found[:0]
		return k.h.RouteListFilteredIter(family, &netlink.Route{}, 0, func(r netlink.Route) bool {
			e, ok := fromWire(r, names, func(q key) bool { return r.Protocol == Protocol || wanted[q] })
			if ok {
				found = append(found, e)
			}
			return true
		})
	})
	if err != nil {
		return fmt.Errorf("route: listing routes: %w", err)
	}
	// Names are looked up only now: the socket was busy with the listing.
	for _, e := range found {
		e.Link = k.name(e.Link, names)
		a.Routes = append(a.Routes, e)
	}
	return nil
}

// name resolves "#index"; a device that is gone by now keeps that form.
func (k *kernel) name(s string, names map[int]string) string {
	var index int
	if n, _ := fmt.Sscanf(s, "#%d", &index); n != 1 {
		return s
	}
	if names[index] == "" {
		if l, err := k.h.LinkByIndex(index); err == nil {
			names[index] = l.Attrs().Name
		}
	}
	if names[index] == "" {
		return s
	}
	return names[index]
}

// apply makes one change.
func (k *kernel) apply(link netlink.Link, c change) error {
	var err error
	switch c.op {
	case setMTU:
		err = k.h.LinkSetMTU(link, c.mtu)
	case setUp:
		err = k.h.LinkSetUp(link)
	case addAddr:
		a := &netlink.Addr{IPNet: ipNet(c.addr)}
		if c.addr.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		err = k.h.AddrReplace(link, a)
	case delAddr:
		err = k.h.AddrDel(link, &netlink.Addr{IPNet: ipNet(c.addr)})
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			err = nil
		}
	case setRoute:
		err = k.setRoute(link, c.route)
	case delRoute:
		err = k.delRoute(link, c.route)
	}
	if err != nil {
		return fmt.Errorf("route: %s on %s: %w", c, link.Attrs().Name, err)
	}
	return nil
}

func (k *kernel) setRoute(link netlink.Link, e entry) error {
	r, err := k.toWire(link, e)
	if err != nil {
		return err
	}
	return k.h.RouteReplace(r)
}

// delRoute removes exactly e: the protocol in the request keeps somebody
// else's route at the same place safe.
func (k *kernel) delRoute(link netlink.Link, e entry) error {
	r := &netlink.Route{Dst: ipNet(e.Dst), Priority: e.Metric, Protocol: Protocol, Table: unix.RT_TABLE_MAIN, Type: int(e.Type)}
	if !e.Blackhole && !e.Multi {
		w, err := k.toWire(link, e)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil // the route went with its device
		}
		if err != nil {
			return err
		}
		r = w
	}
	if err := k.h.RouteDel(r); !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// quiet keeps the kernel from giving the link a link-local IPv6 address by
// itself, and so from soliciting routers through it.
func (k *kernel) quiet(link netlink.Link) error {
	return k.h.LinkSetIP6AddrGenMode(link, nl.IN6_ADDR_GEN_MODE_NONE)
}

// whole repeats a listing that a concurrent change made inconsistent.
func whole(list func() error) error {
	var err error
	for range maxDumps {
		if err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
	}
	return err
}
