package route

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/engine/internal/nstest"
)

// vxlan makes a kernel VXLAN device over eth0, up; for IPv6 if it is named so.
func vxlan(t *testing.T, name string, vni, port int, addrs ...string) netlink.Link {
	t.Helper()
	eth, err := netlink.LinkByName("eth0")
	must(t, err)
	local := addr("192.168.50.1")
	if strings.HasPrefix(name, "flannel-v6.") {
		local = addr("fd00:50::1")
	}
	err = netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: stockMAC[:]},
		VxlanId: vni, Port: port, VtepDevIndex: eth.Attrs().Index, SrcAddr: local.AsSlice()})
	if err != nil {
		t.Skipf("this kernel makes no VXLAN device: %v", err)
	}
	l, err := netlink.LinkByName(name)
	must(t, err)
	for _, a := range addrs {
		must(t, netlink.AddrAdd(l, quick(a)))
	}
	must(t, netlink.LinkSetUp(l))
	return l
}

// stockMAC is what vxlan gives its devices.
var stockMAC = net.HardwareAddr{0x96, 0x59, 0xb2, 0x3f, 0x04, 0xee}

// stock is what a dual-stack configuration with that VNI looks for.
func stock(vni int) Stock {
	return Stock{VNI: vni, Port: 8472, Networks: []netip.Prefix{pfx("10.5.0.0/16"), pfx("10.96.0.0/16"), pfx("fd00:10:5::/48")}}
}

// underlay makes eth0.
func underlay(t *testing.T) { device(t, "eth0", "192.168.50.1/24", "fd00:50::1/64") }

// bindUDP binds a port of the namespace.
func bindUDP(t *testing.T, port int) error {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrInet4{Port: port})
}

func TestRemoveStock(t *testing.T) {
	nstest.Enter(t)
	underlay(t)
	left := vxlan(t, "flannel.1", 1, 8472, "10.5.1.0/32")
	vxlan(t, "flannel-v6.1", 1, 8472, "fd00:10:5:1::/128")
	vxlan(t, "flannel.2", 2, 8474, "10.5.1.0/32")
	vxlan(t, "vxlan3", 3, 8474)
	must(t, netlink.RouteAdd(&netlink.Route{Dst: ipNet(pfx("10.5.2.0/24")), Gw: addr("10.5.2.0").AsSlice(),
		LinkIndex: left.Attrs().Index, Flags: unix.RTNH_F_ONLINK}))
	if err := bindUDP(t, 8472); err != unix.EADDRINUSE {
		t.Errorf("binding the port while the device is up: %v", err)
	}
	if !has(t, netlink.FAMILY_V4, "10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink proto 3") {
		t.Errorf("table %q", table(t, netlink.FAMILY_V4))
	}

	removed, err := RemoveStock(stock(1))
	must(t, err)
	if want := []string{"flannel.1", "flannel-v6.1"}; !slices.Equal(removed, want) {
		t.Errorf("removed %q, want %q", removed, want)
	}
	if err := bindUDP(t, 8472); err != nil {
		t.Errorf("binding the port afterwards: %v", err)
	}
	for _, s := range table(t, netlink.FAMILY_V4) {
		if strings.HasPrefix(s, "10.5.2.0/24") {
			t.Errorf("still there: %s", s)
		}
	}
	linkOf(t, "flannel.2")
	linkOf(t, "vxlan3")
	if removed, err := RemoveStock(stock(1)); err != nil || len(removed) > 0 {
		t.Errorf("the second time: removed %q, %v", removed, err)
	}
}

// Name, type and VNI are not enough: somebody else may have made the device.
func TestRemoveStockClaim(t *testing.T) {
	mac, other := [6]byte(stockMAC), [6]byte{0x96, 0x59, 0xb2, 0x3f, 0x04, 0xef}
	for _, c := range []struct {
		name  string
		port  int
		addrs []string
		route string // through the device
		macs  [][6]byte
		gone  bool
		err   string // part of it
	}{
		{name: "half made", port: 8472, gone: true},
		{name: "only link-local addresses", port: 8472, addrs: []string{"169.254.7.1/16", "fe80::7/64"}, gone: true},
		{name: "an address of the network", port: 8472, addrs: []string{"10.5.9.0/32"}, gone: true},
		{name: "an address of the IPv6 network", port: 8472, addrs: []string{"fd00:10:5:9::/128"}, gone: true},
		{name: "one address of the network among others", port: 8472, addrs: []string{"192.0.2.1/24", "10.5.9.0/32"}, gone: true},
		{name: "our MAC address", port: 8472, addrs: []string{"192.0.2.1/24"}, macs: [][6]byte{other, mac}, gone: true},
		{name: "an address elsewhere", port: 8472, addrs: []string{"192.0.2.1/24"}, macs: [][6]byte{{}},
			err: "link flannel.1: its addresses [192.0.2.1/24"},
		{name: "an address and a MAC address elsewhere", port: 8472, addrs: []string{"10.6.0.0/8"}, macs: [][6]byte{other},
			err: "MAC address 96:59:b2:3f:04:ee is not that of our lease"},
		{name: "another port", port: 4789, macs: [][6]byte{mac}},
		{name: "another port, and a route elsewhere", port: 4789, addrs: []string{"192.0.2.1/24"}, route: "10.6.2.0/24"},
		{name: "another port, and a route around a network", port: 4789, addrs: []string{"192.0.2.1/24"}, route: "10.96.0.0/11"},
		{name: "another port, and a route in our way", port: 4789, addrs: []string{"10.5.9.0/32"}, macs: [][6]byte{mac}, route: "10.5.2.0/24",
			err: "link flannel.1: its port is 4789 and not 8472; left as it is, but its routes inside our networks hide ours (1, the first to 10.5.2.0/24)"},
		{name: "another port, and an IPv6 route in our way", port: 4789, route: "fd00:10:5:2::/64",
			err: "hide ours (1, the first to fd00:10:5:2::/64)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			nstest.Enter(t)
			underlay(t)
			l := vxlan(t, "flannel.1", 1, c.port, c.addrs...)
			if c.route != "" {
				must(t, netlink.RouteAdd(by(c.route, l)))
			}
			s := stock(1)
			s.MACs = c.macs
			removed, err := RemoveStock(s)
			if gone := slices.Equal(removed, []string{"flannel.1"}); gone != c.gone || !gone && len(removed) > 0 {
				t.Errorf("removed %q, %v", removed, err)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error %v, want one with %q", err, c.err)
			}
			if _, err := netlink.LinkByName("flannel.1"); (err != nil) != c.gone {
				t.Errorf("looking for the device: %v", err)
			}
		})
	}
}

// A configuration for one family has the zero value for the other's network.
func TestRemoveStockOneFamily(t *testing.T) {
	nstest.Enter(t)
	underlay(t)
	s := Stock{VNI: 1, Port: 8472, Networks: []netip.Prefix{pfx("10.5.0.0/16"), {}}, MACs: make([][6]byte, 2)}
	vxlan(t, "flannel.1", 1, 4789, "192.0.2.1/24")
	vxlan(t, "flannel-v6.1", 1, 8472, "fd00:10:5:1::/128")
	removed, err := RemoveStock(s)
	if len(removed) > 0 || err == nil || !strings.Contains(err.Error(), "link flannel-v6.1: its addresses") || strings.Contains(err.Error(), "flannel.1:") {
		t.Errorf("removed %q, %v", removed, err)
	}
}

// A device that is not what it is called stays, and the other one goes.
func TestRemoveStockLeavesOthers(t *testing.T) {
	nstest.Enter(t)
	underlay(t)
	device(t, "flannel.1")
	vxlan(t, "flannel-v6.1", 1, 8472)
	vxlan(t, "flannel.7", 70, 8472)

	removed, err := RemoveStock(stock(1))
	if !slices.Equal(removed, []string{"flannel-v6.1"}) {
		t.Errorf("removed %q", removed)
	}
	if err == nil || !strings.Contains(err.Error(), "link flannel.1: it is of type bridge and not vxlan") {
		t.Errorf("error %v", err)
	}
	removed, err = RemoveStock(stock(7))
	if len(removed) > 0 || err == nil || !strings.Contains(err.Error(), "link flannel.7: its VNI is 70 and not 7") {
		t.Errorf("removed %q, %v", removed, err)
	}
	linkOf(t, "flannel.1")
	linkOf(t, "flannel.7")
}

func TestHolders(t *testing.T) {
	nstest.Enter(t)
	underlay(t)
	if got := Holders(8472); got != nil {
		t.Errorf("without a device: %q", got)
	}
	vxlan(t, "weave", 2, 8472)
	vxlan(t, "flannel.1", 1, 8472)
	vxlan(t, "elsewhere", 3, 4789)
	must(t, netlink.LinkSetDown(vxlan(t, "down", 4, 8472)))
	if got, want := Holders(8472), []string{"flannel.1", "weave"}; !slices.Equal(got, want) {
		t.Errorf("Holders = %q, want %q", got, want)
	}
}

// Names that the kernel finds a device by, but that it does not have.
func TestRemoveStockExactName(t *testing.T) {
	nstest.Enter(t)
	underlay(t)
	vxlan(t, "other", 1, 8472)
	l, err := netlink.LinkByName("other")
	must(t, err)
	vxlan(t, "big", 1<<24-1, 8472)
	big, err := netlink.LinkByName("big")
	must(t, err)
	must(t, netlink.LinkAddAltName(l, "flannel.1"))
	must(t, netlink.LinkAddAltName(big, "flannel.16777215"))
	for _, vni := range []int{1, 1<<24 - 1} {
		if removed, err := RemoveStock(stock(vni)); err != nil || len(removed) > 0 {
			t.Errorf("VNI %d: removed %q, %v", vni, removed, err)
		}
	}
	linkOf(t, "other")
	linkOf(t, "big")
}
