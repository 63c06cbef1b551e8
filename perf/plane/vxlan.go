package plane

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/perf/lab"
)

// kernelVXLAN is what flanneld's vxlan backend sets up: a VXLAN device without
// learning, and for the other host a permanent neighbour, a permanent
// forwarding entry and an on-link route (flannel pkg/backend/vxlan/device.go,
// vxlan_network.go).
type kernelVXLAN struct{}

const (
	vni           = 1
	vxlanPort     = 8472 // the Linux default, which flannel keeps
	vxlanOverhead = 50   // outer IPv4, UDP, VXLAN and inner Ethernet header, bytes
	vxlanDevice   = "flannel.1"
)

func (*kernelVXLAN) Setup(_ context.Context, l *lab.Lab) error {
	for i, h := range l.Hosts {
		if err := addVTEP(h, hardwareAddr(i)); err != nil {
			return fmt.Errorf("vxlan in %s: %w", h.Name(), err)
		}
	}
	for i, h := range l.Hosts {
		if err := addPeer(h, l.Hosts[1-i], hardwareAddr(1-i)); err != nil {
			return fmt.Errorf("vxlan peer in %s: %w", h.Name(), err)
		}
	}
	return nil
}

// hardwareAddr is the address of host i's VXLAN device: locally administered,
// unicast.
func hardwareAddr(i int) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x77, 0x65, 0x66, 0x74, byte(1 + i)}
}

// addVTEP makes a host's VXLAN device.
func addVTEP(h *lab.Host, mac net.HardwareAddr) error {
	under, err := h.Netlink().LinkByName(lab.Underlay)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = vxlanDevice, lab.UnderlayMTU-vxlanOverhead, mac
	link := &netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: vni, Port: vxlanPort, VtepDevIndex: under.Attrs().Index,
		SrcAddr: h.Addr.AsSlice(), Learning: false, UDPCSum: true,
	}
	if err := h.Netlink().LinkAdd(link); err != nil {
		return fmt.Errorf("device %s: %w", vxlanDevice, err)
	}
	// The device bears the first address of the subnet, the one that the
	// other host's neighbour entry and route name.
	addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(h.Subnet.Masked().Addr(), 32))}
	if err := h.Netlink().AddrAdd(link, addr); err != nil {
		return fmt.Errorf("address %v: %w", addr, err)
	}
	return h.Netlink().LinkSetUp(link)
}

// addPeer tells a host how to reach the other one's pods.
func addPeer(h, other *lab.Host, mac net.HardwareAddr) error {
	link, err := h.Netlink().LinkByName(vxlanDevice)
	if err != nil {
		return fmt.Errorf("device %s: %w", vxlanDevice, err)
	}
	index, gateway := link.Attrs().Index, net.IP(other.Subnet.Masked().Addr().AsSlice())
	if err := h.Netlink().NeighSet(&netlink.Neigh{
		LinkIndex: index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
		Type: unix.RTN_UNICAST, IP: gateway, HardwareAddr: mac,
	}); err != nil {
		return fmt.Errorf("neighbour %v: %w", gateway, err)
	}
	if err := h.Netlink().NeighSet(&netlink.Neigh{
		LinkIndex: index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT,
		Flags: netlink.NTF_SELF, IP: other.Addr.AsSlice(), HardwareAddr: mac,
	}); err != nil {
		return fmt.Errorf("forwarding entry %v: %w", mac, err)
	}
	if err := h.Netlink().RouteReplace(&netlink.Route{
		LinkIndex: index, Dst: ipNet(other.Subnet), Gw: gateway, Flags: int(netlink.FLAG_ONLINK),
	}); err != nil {
		return fmt.Errorf("route %v: %w", other.Subnet, err)
	}
	return nil
}

func (*kernelVXLAN) MTU() int          { return lab.UnderlayMTU - vxlanOverhead }
func (*kernelVXLAN) Processes() []int  { return nil }
func (*kernelVXLAN) Device(int) string { return vxlanDevice }
func (*kernelVXLAN) Teardown() error   { return nil }
