package route

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Stock says which devices of stock flanneld are in our place: those of the
// backend configuration that we run with.
type Stock struct {
	VNI      int            // VXLAN network identifier, 0..2²⁴−1
	Port     int            // UDP destination port, 1..65535
	Networks []netip.Prefix // the overlay networks; the zero value contains nothing
	MACs     [][6]byte      // endpoints that our own lease names, if any; the zero value names none
}

// RemoveStock deletes the VXLAN devices that stock flanneld leaves behind when
// it stops, flannel.<VNI> and flannel-v6.<VNI>, from the network namespace of
// the calling thread. While one of them is up, the kernel holds its UDP port
// for it, so that nobody else can bind it, and its routes to single subnets
// win over ours to the whole network. Both go with the device.
//
// A device is deleted only if it is of type vxlan, has that VNI and port, and
// bears a sign of being flanneld's for this network: an address inside one of
// Networks, one of MACs, or no address at all but link-local ones, as flanneld
// leaves a device that it did not finish. Any other of such a name stays, and
// the error, which joins all failures, names it and says why. Two cases are no
// error: there is no such device; or it has another port and no route inside
// Networks, and so is not in our way. removed names the devices that were
// deleted, whatever else failed.
func RemoveStock(s Stock) (removed []string, err error) {
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	defer k.close()
	var errs []error
	for _, name := range []string{fmt.Sprintf("flannel.%d", s.VNI), fmt.Sprintf("flannel-v6.%d", s.VNI)} {
		done, err := k.removeStock(name, s)
		if done {
			removed = append(removed, name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("route: link %s: %w", name, err))
		}
	}
	return removed, errors.Join(errs...)
}

// removeStock deletes the device of that name if it is s's.
func (k *kernel) removeStock(name string, s Stock) (done bool, err error) {
	if len(name) >= unix.IFNAMSIZ {
		return false, nil // no device can have it
	}
	l, err := k.h.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) || err == nil && l.Attrs().Name != name { // found by an alternative name
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := k.spared(l, s); err != nil || !vxlanAt(l, s.Port) {
		return false, err
	}
	err = k.h.LinkDel(l)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.ENODEV): // somebody else was faster
		return false, nil
	}
	return false, fmt.Errorf("removing it: %w", err)
}

// vxlanAt reports whether l is a VXLAN device with that UDP destination port.
func vxlanAt(l netlink.Link, port int) bool {
	v, ok := l.(*netlink.Vxlan)
	return ok && v.Port == port
}

// spared says why a device of such a name is not to be deleted. It is silent
// about one with another port that is not in the way.
func (k *kernel) spared(l netlink.Link, s Stock) error {
	v, ok := l.(*netlink.Vxlan)
	switch {
	case !ok:
		return fmt.Errorf("it is of type %s and not vxlan; left as it is", l.Type())
	case v.VxlanId != s.VNI:
		return fmt.Errorf("its VNI is %d and not %d; left as it is", v.VxlanId, s.VNI)
	case v.Port != s.Port:
		return k.inTheWay(v, s)
	}
	var a actual
	if err := k.addrs(&a, l, netlink.FAMILY_ALL); err != nil {
		return fmt.Errorf("%w; left as it is", err)
	}
	if !s.claims(v.HardwareAddr, a.Addrs) {
		return fmt.Errorf("its addresses %v are in none of the networks %v, and its MAC address %s is not that of our lease; left as it is",
			a.Addrs, s.Networks, v.HardwareAddr)
	}
	return nil
}

// claims reports whether a device with that MAC address and these addresses
// bears a sign of being a flanneld's for s's networks.
func (s Stock) claims(mac net.HardwareAddr, addrs []netip.Prefix) bool {
	bare := true
	for _, a := range addrs {
		if s.inside(a.Addr()) {
			return true
		}
		bare = bare && a.Addr().IsLinkLocalUnicast()
	}
	return bare || slices.ContainsFunc(s.MACs, func(m [6]byte) bool {
		return m != [6]byte{} && bytes.Equal(m[:], mac)
	})
}

// inside reports whether a is in one of the overlay networks.
func (s Stock) inside(a netip.Addr) bool {
	return slices.ContainsFunc(s.Networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// inTheWay returns an error if v, which has another port, has routes inside the
// overlay networks.
func (k *kernel) inTheWay(v *netlink.Vxlan, s Stock) error {
	var hidden []netip.Prefix
	for _, n := range s.Networks {
		if !n.IsValid() {
			continue
		}
		dsts, err := k.routesVia(v.Index, n)
		if err != nil {
			return fmt.Errorf("its port is %d and not %d; left as it is; listing its routes: %w", v.Port, s.Port, err)
		}
		hidden = append(hidden, dsts...)
	}
	if len(hidden) == 0 {
		return nil
	}
	return fmt.Errorf("its port is %d and not %d; left as it is, but its routes inside our networks hide ours (%d, the first to %s)",
		v.Port, s.Port, len(hidden), hidden[0])
}

// routesVia lists the destinations within n of the main table's routes by way
// of a device.
func (k *kernel) routesVia(index int, n netip.Prefix) (out []netip.Prefix, err error) {
	family := netlink.FAMILY_V4
	if n.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	var list []netlink.Route
	err = whole(func() (err error) {
		list, err = k.h.RouteListFiltered(family, &netlink.Route{LinkIndex: index}, netlink.RT_FILTER_OIF)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		if dst, ok := prefix(r.Dst); ok && dst.Bits() >= n.Bits() && n.Contains(dst.Addr()) {
			out = append(out, dst)
		}
	}
	return out, nil
}

// Holders names, in order, the VXLAN devices in the network namespace of the
// calling thread that are up and have this UDP destination port: the kernel
// holds the port for them, with a socket that belongs to no process, and so no
// tool that lists sockets with their owners tells whose it is. It is nil if
// there are none, and also if the kernel cannot be asked.
func Holders(port int) []string {
	k, err := openKernel()
	if err != nil {
		return nil
	}
	defer k.close()
	all, err := k.vxlans()
	if err != nil {
		return nil
	}
	var names []string
	for _, v := range all {
		if v.Port == port && v.Flags&net.FlagUp != 0 {
			names = append(names, v.Name)
		}
	}
	slices.Sort(names)
	return names
}

// StockVXLANs returns the network identifiers and ports of the VXLAN devices in
// the network namespace of the calling thread that bear the names stock flanneld
// gives them, see [RemoveStock].
func StockVXLANs() (found []Stock, err error) {
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	defer k.close()
	all, err := k.vxlans()
	for _, v := range all {
		if v.Name == fmt.Sprintf("flannel.%d", v.VxlanId) || v.Name == fmt.Sprintf("flannel-v6.%d", v.VxlanId) {
			found = append(found, Stock{VNI: v.VxlanId, Port: v.Port})
		}
	}
	return found, err
}

// vxlans lists the VXLAN devices.
func (k *kernel) vxlans() (found []*netlink.Vxlan, err error) {
	var links []netlink.Link
	err = whole(func() (err error) {
		links, err = k.h.LinkList()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("route: listing links: %w", err)
	}
	for _, l := range links {
		if v, ok := l.(*netlink.Vxlan); ok {
			found = append(found, v)
		}
	}
	return found, nil
}
