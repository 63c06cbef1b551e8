package iface

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	callTimeout = 5 * time.Second // for one request to the kernel
	maxDumps    = 4               // listings begun anew because of a concurrent change
)

// A kernel reads the state of one network namespace.
type kernel struct {
	h *netlink.Handle
	snapshot
}

func (k *kernel) close() { k.h.Close() }

// openKernel opens rtnetlink in the network namespace of the calling thread.
func openKernel() (*kernel, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("iface: opening rtnetlink: %w", err)
	}
	if err := h.SetSocketTimeout(callTimeout); err != nil {
		h.Close()
		return nil, fmt.Errorf("iface: setting the timeout of rtnetlink: %w", err)
	}
	return &kernel{h: h}, nil
}

// read takes a snapshot. Its lookup works until close.
func read(families []family) (*kernel, error) {
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	if k.links, err = k.readLinks(); err != nil {
		k.close()
		return nil, err
	}
	for _, f := range families {
		if k.defaults[f], err = k.readDefaults(f); err != nil {
			k.close()
			return nil, err
		}
	}
	k.snapshot.lookup = k.route
	return k, nil
}

// readLinks lists the interfaces and their addresses.
func (k *kernel) readLinks() ([]link, error) {
	var found []netlink.Link
	err := whole(func() (err error) { found, err = k.h.LinkList(); return err })
	if err != nil {
		return nil, fmt.Errorf("iface: listing interfaces: %w", err)
	}
	var addrs []netlink.Addr
	err = whole(func() (err error) { addrs, err = k.h.AddrList(nil, netlink.FAMILY_ALL); return err })
	if err != nil {
		return nil, fmt.Errorf("iface: listing addresses: %w", err)
	}
	of := make(map[int][]address)
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			of[a.LinkIndex] = append(of[a.LinkIndex], address{ip.Unmap(), uint32(a.Flags)})
		}
	}
	links := make([]link, 0, len(found))
	for _, x := range found {
		a := x.Attrs()
		links = append(links, link{name: a.Name, index: a.Index, mtu: a.MTU, addrs: of[a.Index],
			up: a.Flags&net.FlagUp != 0, loopback: a.Flags&net.FlagLoopback != 0})
	}
	return links, nil
}

// readDefaults lists the next hops of the default routes, the lowest metric
// first, otherwise in the kernel's order.
func (k *kernel) readDefaults(f family) ([]nexthop, error) {
	type entry struct {
		metric int
		hops   []nexthop
	}
	var list []entry
	err := whole(func() error {
		list = nil
		return k.h.RouteListFilteredIter([...]int{netlink.FAMILY_V4, netlink.FAMILY_V6}[f], &netlink.Route{}, 0, func(r netlink.Route) bool {
			if bits := prefixLen(r.Dst); bits == 0 && r.Type == unix.RTN_UNICAST {
				list = append(list, entry{r.Priority, hops(r)})
			}
			return true
		})
	})
	if err != nil {
		return nil, fmt.Errorf("iface: listing %s routes: %w", f, err)
	}
	slices.SortStableFunc(list, func(a, b entry) int { return cmp.Compare(a.metric, b.metric) })
	var out []nexthop
	for _, e := range list {
		out = append(out, e.hops...)
	}
	return out, nil
}

// hops returns the next hops of a route, of which a multipath one has several.
func hops(r netlink.Route) []nexthop {
	const dead = unix.RTNH_F_DEAD | unix.RTNH_F_LINKDOWN
	if len(r.MultiPath) == 0 {
		return []nexthop{{index: r.LinkIndex, dead: r.Flags&dead != 0}}
	}
	var out []nexthop
	for _, h := range r.MultiPath {
		out = append(out, nexthop{index: h.LinkIndex, dead: h.Flags&dead != 0})
	}
	return out
}

func prefixLen(n *net.IPNet) int {
	if n == nil {
		return 0
	}
	bits, _ := n.Mask.Size()
	return bits
}

// route asks the kernel how it would reach a.
func (k *kernel) route(a netip.Addr) (nexthop, error) {
	routes, err := k.h.RouteGet(a.AsSlice())
	if err != nil {
		return nexthop{}, fmt.Errorf("no route to it: %w", err)
	}
	if len(routes) == 0 {
		return nexthop{}, errors.New("no route to it")
	}
	src, _ := netip.AddrFromSlice(routes[0].Src)
	return nexthop{index: routes[0].LinkIndex, src: src.Unmap()}, nil
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
