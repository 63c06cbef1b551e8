package e2e

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/lease"
)

// A vtep is one of the kernel's VXLAN devices, for the inner packets of one
// address family.
type vtep struct {
	*netlink.Vxlan
	direct bool // peers on the same link get a plain route
}

// A remote is a peer's tunnel endpoint for one inner family.
type remote struct {
	subnet netip.Prefix
	mac    net.HardwareAddr
	outer  netip.Addr
}

func vtepName(family, vni int) string {
	return fmt.Sprintf([...]string{"flannel.%d", "flannel-v6.%d"}[family], vni)
}

// openVTEP makes the device of an inner family (0 IPv4, 1 IPv6), or takes the
// one that an earlier run has left, with its address.
func openVTEP(n *kernelNode, family int) (*vtep, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = vtepName(family, n.conf.VNI)
	attrs.MTU = n.mtu() - 50 // over IPv6 the kernel makes it 20 less
	attrs.HardwareAddr = make([]byte, 6)
	if _, err := rand.Read(attrs.HardwareAddr); err != nil {
		return nil, err
	}
	attrs.HardwareAddr[0] = attrs.HardwareAddr[0]&^1 | 2
	want := &netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: n.conf.VNI, VtepDevIndex: n.link.Attrs().Index,
		SrcAddr: n.public[family].AsSlice(), Port: n.conf.Port,
		Learning: n.conf.Learning, GBP: n.conf.GBP,
	}
	err := netlink.LinkAdd(want)
	if errors.Is(err, os.ErrExist) {
		err = replaceVTEP(want)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", attrs.Name, err)
	}
	have, err := vxlanLink(attrs.Name)
	if err != nil {
		return nil, err
	}
	return &vtep{have, n.conf.DirectRouting}, nil
}

func vxlanLink(name string) (*netlink.Vxlan, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	v, ok := link.(*netlink.Vxlan)
	if !ok {
		return nil, fmt.Errorf("%s: is of type %s, not vxlan", name, link.Type())
	}
	return v, nil
}

// replaceVTEP keeps a device of the same name if it serves, address and all,
// and otherwise puts want in its place.
func replaceVTEP(want *netlink.Vxlan) error {
	have, err := vxlanLink(want.Name)
	if err != nil {
		return err
	}
	if have.VxlanId == want.VxlanId && have.GBP == want.GBP && have.Port == want.Port &&
		have.VtepDevIndex == want.VtepDevIndex && have.SrcAddr.Equal(want.SrcAddr) {
		return nil
	}
	if err := netlink.LinkDel(have); err != nil {
		return err
	}
	return netlink.LinkAdd(want)
}

// describe is what the lease tells of the device.
func (v *vtep) describe(conf lease.VXLANBackend) (json.RawMessage, error) {
	return json.Marshal(lease.VTEP{VNI: uint32(conf.VNI), MAC: [6]byte(v.HardwareAddr)})
}

// up gives the device the subnet's own address, as a host's, and sets it up.
func (v *vtep) up(a netip.Addr) error {
	err := netlink.AddrAdd(v, &netlink.Addr{IPNet: only(a)})
	if err == nil || errors.Is(err, os.ErrExist) {
		err = netlink.LinkSetUp(v)
	}
	if err != nil {
		return fmt.Errorf("%s: address %s: %w", v.Name, a, err)
	}
	return nil
}

// neighbour is the entry that says which endpoint a subnet lies behind, and
// forward the one that says where that endpoint is.
func (v *vtep) neighbour(r remote) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: v.Index, State: netlink.NUD_PERMANENT, Type: unix.RTN_UNICAST,
		IP: r.subnet.Addr().AsSlice(), HardwareAddr: r.mac}
}

func (v *vtep) forward(r remote) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: v.Index, State: netlink.NUD_PERMANENT, Family: unix.AF_BRIDGE,
		Flags: netlink.NTF_SELF, IP: r.outer.AsSlice(), HardwareAddr: r.mac}
}

func (v *vtep) route(r remote) *netlink.Route {
	return &netlink.Route{LinkIndex: v.Index, Scope: netlink.SCOPE_UNIVERSE, Flags: unix.RTNH_F_ONLINK,
		Dst: ipNet(r.subnet), Gw: r.subnet.Addr().AsSlice()}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// add makes a peer reachable: by the tunnel, or if DirectRouting is on and the
// peer is on the same link, by a plain route.
func (v *vtep) add(r remote) error {
	if v.direct {
		ways, err := netlink.RouteGet(r.outer.AsSlice())
		if err == nil && len(ways) == 1 && ways[0].Gw == nil {
			return netlink.RouteReplace(&netlink.Route{Dst: ipNet(r.subnet), Gw: r.outer.AsSlice()})
		}
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"neighbour", func() error { return netlink.NeighSet(v.neighbour(r)) }},
		{"FDB entry", func() error { return netlink.NeighSet(v.forward(r)) }},
		{"route", func() error { return netlink.RouteReplace(v.route(r)) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %s of %s: %w", v.Name, step.what, r.subnet, err)
		}
	}
	return nil
}

// remove undoes add. Like flanneld it looks anew whether the peer is on the
// same link.
func (v *vtep) remove(r remote) error {
	if v.direct {
		ways, err := netlink.RouteGet(r.outer.AsSlice())
		if err == nil && len(ways) == 1 && ways[0].Gw == nil {
			return netlink.RouteDel(&netlink.Route{Dst: ipNet(r.subnet), Gw: r.outer.AsSlice()})
		}
	}
	return errors.Join(netlink.NeighDel(v.neighbour(r)), netlink.NeighDel(v.forward(r)), netlink.RouteDel(v.route(r)))
}
