package route

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/engine/internal/nstest"
)

// TestGuard: without the device that carries a network its packets go nowhere;
// with it they go there, and the guard stays when a Desired asks for it.
func TestGuard(t *testing.T) {
	nstest.Enter(t)
	network, n6 := netip.MustParsePrefix("10.5.0.0/16"), netip.MustParsePrefix("fd00:5::/48")
	for range 2 { // the second finds it in place
		if err := Guard([]netip.Prefix{network, n6, {}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, dst := range []string{"10.5.7.7", "fd00:5::7"} {
		if _, err := netlink.RouteGet(netip.MustParseAddr(dst).AsSlice()); err != unix.EINVAL && err != unix.ENETUNREACH {
			t.Errorf("%s: %v, want no way", dst, err)
		}
	}
}

// TestAround: routes to a part of the network by another device are found; the
// own subnet, the device itself and what lies outside are not among them.
func TestAround(t *testing.T) {
	nstest.Enter(t)
	device(t, "tun0", "10.5.1.0/32", "fd00:5:0:1::/128")
	device(t, "eth0", "192.0.2.1/32", "2001:db8::1/128")
	add := func(dst, dev string) {
		t.Helper()
		l, err := netlink.LinkByName(dev)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(netip.MustParsePrefix(dst))}); err != nil {
			t.Fatalf("%s dev %s: %v", dst, dev, err)
		}
	}
	add("10.5.0.0/16", "tun0")
	add("10.5.1.0/24", "eth0") // our own pods
	add("192.0.2.0/24", "eth0")
	add("10.5.2.0/24", "eth0")
	add("fd00:5:0:2::/64", "eth0")
	networks := []netip.Prefix{netip.MustParsePrefix("10.5.0.0/16"), netip.MustParsePrefix("fd00:5::/48"), {}}
	got, err := Around(networks, []netip.Prefix{netip.MustParsePrefix("10.5.1.0/24"), {}}, []string{"tun0"})
	if want := []string{"10.5.2.0/24 dev eth0", "fd00:5:0:2::/64 dev eth0"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}
