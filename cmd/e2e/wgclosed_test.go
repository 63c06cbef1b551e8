package e2e

import (
	"testing"

	"github.com/vishvananda/netlink"

	"weft/cmd/weft/lab"
)

// Whatever happens to the tunnel's device, no packet for the overlay finds
// another way: it would be in the clear. The underlay's default route is such a
// way. The route that prevents it goes when another backend takes over.
func TestWireGuardFailsClosed(t *testing.T) {
	l := newLabUp(t, lab.Options{Nodes: 2, Env: quiet, Store: lab.StoreEtcd, NetConf: wgConf("46", "")})
	n, other := l.Nodes[0], l.Nodes[1]
	nl := n.Host.Netlink()
	eth0 := get(t, func() (netlink.Link, error) { return nl.LinkByName("eth0") })
	for _, via := range []netlink.Route{{Gw: other.Underlay.AsSlice()}, {Gw: other.Underlay6.AsSlice()}} {
		via.LinkIndex = eth0.Attrs().Index
		must(t, nl.RouteReplace(&via))
	}
	must(t, n.Stop(within(t)))
	for family, pod := range addrs(other) {
		device := "flannel-wg"
		if family == "IPv6" {
			device = "flannel-wg-v6"
		}
		link := get(t, func() (netlink.Link, error) { return nl.LinkByName(device) })
		must(t, nl.LinkSetDown(link))
		if r, err := nl.RouteGet(pod.AsSlice()); err == nil {
			t.Errorf("%s is down: %s goes by %v", device, pod, r)
		}
		must(t, nl.LinkDel(link))
		if r, err := nl.RouteGet(pod.AsSlice()); err == nil {
			t.Errorf("%s is gone: %s goes by %v", device, pod, r)
		}
	}
	must(t, n.Start(within(t)))
	everything(t, n, other, 1<<20, 700)

	// A route that an earlier backend left for one peer leads around the tunnel.
	m := markLog(t, n)
	must(t, n.Stop(within(t)))
	around := &netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: other.Underlay.AsSlice(), Dst: ipNet(other.Env().Subnet)}
	must(t, nl.RouteReplace(around))
	must(t, n.Start(within(t)))
	m.await(t, "routes lead around the tunnel", other.Env().Subnet.String()+" dev eth0")
	must(t, nl.RouteDel(around))
}
