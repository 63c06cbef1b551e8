package route

import (
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/engine/internal/nstest"
)

// vxlan makes a kernel VXLAN device over eth0, up.
func vxlan(t *testing.T, name string, vni, port int) {
	t.Helper()
	eth, err := netlink.LinkByName("eth0")
	must(t, err)
	err = netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: name}, VxlanId: vni, Port: port,
		VtepDevIndex: eth.Attrs().Index, SrcAddr: addr("192.168.50.1").AsSlice()})
	if err != nil {
		t.Skipf("this kernel makes no VXLAN device: %v", err)
	}
	l, err := netlink.LinkByName(name)
	must(t, err)
	must(t, netlink.LinkSetUp(l))
}

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
	device(t, "eth0", "192.168.50.1/24")
	vxlan(t, "flannel.1", 1, 8472)
	vxlan(t, "flannel-v6.1", 1, 8473)
	vxlan(t, "flannel.2", 2, 8474)
	vxlan(t, "vxlan3", 3, 8474)
	stock, err := netlink.LinkByName("flannel.1")
	must(t, err)
	must(t, netlink.RouteAdd(&netlink.Route{Dst: ipNet(pfx("10.5.2.0/24")), Gw: addr("10.5.2.0").AsSlice(),
		LinkIndex: stock.Attrs().Index, Flags: unix.RTNH_F_ONLINK}))
	if err := bindUDP(t, 8472); err != unix.EADDRINUSE {
		t.Errorf("binding the port while the device is up: %v", err)
	}
	if !has(t, netlink.FAMILY_V4, "10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink proto 3") {
		t.Errorf("table %q", table(t, netlink.FAMILY_V4))
	}

	removed, err := RemoveStock(1)
	must(t, err)
	if want := []string{"flannel.1", "flannel-v6.1"}; !slices.Equal(removed, want) {
		t.Errorf("removed %q, want %q", removed, want)
	}
	for _, port := range []int{8472, 8473} {
		if err := bindUDP(t, port); err != nil {
			t.Errorf("binding port %d afterwards: %v", port, err)
		}
	}
	for _, s := range table(t, netlink.FAMILY_V4) {
		if strings.HasPrefix(s, "10.5.2.0/24") {
			t.Errorf("still there: %s", s)
		}
	}
	linkOf(t, "flannel.2")
	linkOf(t, "vxlan3")
	if removed, err := RemoveStock(1); err != nil || len(removed) > 0 {
		t.Errorf("the second time: removed %q, %v", removed, err)
	}
}

// A device that is not what it is called stays, and the other one goes.
func TestRemoveStockLeavesOthers(t *testing.T) {
	nstest.Enter(t)
	device(t, "eth0", "192.168.50.1/24")
	device(t, "flannel.1")
	vxlan(t, "flannel-v6.1", 1, 8472)
	vxlan(t, "flannel.7", 70, 8473)

	removed, err := RemoveStock(1)
	if !slices.Equal(removed, []string{"flannel-v6.1"}) {
		t.Errorf("removed %q", removed)
	}
	if err == nil || !strings.Contains(err.Error(), "link flannel.1: it is of type bridge and not vxlan") {
		t.Errorf("error %v", err)
	}
	removed, err = RemoveStock(7)
	if len(removed) > 0 || err == nil || !strings.Contains(err.Error(), "link flannel.7: its VNI is 70 and not 7") {
		t.Errorf("removed %q, %v", removed, err)
	}
	linkOf(t, "flannel.1")
	linkOf(t, "flannel.7")
}

// Names that the kernel finds a device by, but that it does not have.
func TestRemoveStockExactName(t *testing.T) {
	nstest.Enter(t)
	device(t, "eth0", "192.168.50.1/24")
	vxlan(t, "other", 1, 8472)
	l, err := netlink.LinkByName("other")
	must(t, err)
	vxlan(t, "big", 1<<24-1, 8473)
	big, err := netlink.LinkByName("big")
	must(t, err)
	must(t, netlink.LinkAddAltName(l, "flannel.1"))
	must(t, netlink.LinkAddAltName(big, "flannel.16777215"))
	for _, vni := range []int{1, 1<<24 - 1} {
		if removed, err := RemoveStock(vni); err != nil || len(removed) > 0 {
			t.Errorf("VNI %d: removed %q, %v", vni, removed, err)
		}
	}
	linkOf(t, "other")
	linkOf(t, "big")
}
