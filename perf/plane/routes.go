package plane

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"weft/perf/lab"
)

// routes is flannel's host-gw: a kernel route to each other host's subnet and
// no tunnel. It is the most that the lab can do.
type routes struct{}

func (*routes) Setup(_ context.Context, l *lab.Lab) error {
	for i, h := range l.Hosts {
		other := l.Hosts[1-i]
		err := h.Netlink().RouteAdd(&netlink.Route{Dst: ipNet(other.Subnet), Gw: other.Addr.AsSlice()})
		if err != nil {
			return fmt.Errorf("route %v via %v in %s: %w", other.Subnet, other.Addr, h.Name(), err)
		}
	}
	return nil
}

func (*routes) MTU() int          { return lab.UnderlayMTU }
func (*routes) Processes() []int  { return nil }
func (*routes) Device(int) string { return lab.Underlay }
func (*routes) Teardown() error   { return nil }

// ipNet converts a prefix for netlink.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
