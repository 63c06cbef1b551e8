package route

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// GuardMetric is the metric of the routes that [Guard] sets: behind any real
// one.
const GuardMetric = 4096

// Guard sets a blackhole route for each of the networks in the main table of
// the calling thread's network namespace, behind all others. While the device
// that carries a network is missing or down, packets for it would else take
// the default route, in the clear. A Desired for that device should have the
// same routes, so that they stay.
func Guard(networks []netip.Prefix) error {
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	var errs []error
	for _, n := range networks {
		if !n.IsValid() {
			continue
		}
		e := Route{Dst: n.Masked(), Blackhole: true, Metric: GuardMetric}.installed()
		if err := k.setRoute(nil, e); err != nil { // it is of no device
			errs = append(errs, fmt.Errorf("route: setting %s: %w", e.Route, err))
		}
	}
	return errors.Join(errs...)
}

// Around lists the routes of the main table that lead packets for the networks
// past the devices named in links: those to a part of a network, outside the
// subnets own, by another device. Such are left by backends that keep a route
// for each peer, or set by an administrator.
func Around(networks, own []netip.Prefix, links []string) (routes []string, err error) {
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	defer k.close()
	names := map[int]string{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		var list []netlink.Route
		err := whole(func() (err error) {
			list, err = k.h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
			return err
		})
		if err != nil && family == netlink.FAMILY_V4 {
			return nil, fmt.Errorf("route: listing routes: %w", err)
		}
		for _, r := range list {
			dst, ok := prefix(r.Dst)
			if !ok || r.Type != unix.RTN_UNICAST || !inside(networks, dst) || inside(own, dst) {
				continue
			}
			name := k.name(fmt.Sprintf("#%d", r.LinkIndex), names)
			if !slices.Contains(links, name) {
				routes = append(routes, strings.TrimSpace(fmt.Sprintf("%s dev %s", dst, name)))
			}
		}
	}
	return routes, nil
}

// inside tells whether p is a part of one of networks.
func inside(networks []netip.Prefix, p netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool {
		return n.IsValid() && n.Bits() <= p.Bits() && n.Contains(p.Addr())
	})
}
