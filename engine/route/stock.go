package route

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RemoveStock deletes the VXLAN devices that stock flanneld leaves behind when
// it stops, flannel.<vni> and flannel-v6.<vni>, from the network namespace of
// the calling thread. While one of them is up, the kernel holds its UDP port
// for it, so that nobody else can bind it, and its routes to single subnets
// win over ours to the whole network. Both go with the device.
//
// A device is deleted only if it is of type vxlan and has that VNI. Another of
// such a name stays, and the error, which joins all failures, names it. That
// there is none is no error. removed names the devices that were deleted,
// whatever else failed.
func RemoveStock(vni int) (removed []string, err error) {
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	defer k.close()
	var errs []error
	for _, name := range []string{fmt.Sprintf("flannel.%d", vni), fmt.Sprintf("flannel-v6.%d", vni)} {
		done, err := k.removeVXLAN(name, vni)
		if done {
			removed = append(removed, name)
		}
		errs = append(errs, err)
	}
	return removed, errors.Join(errs...)
}

// removeVXLAN deletes the device of that name if it is what it is called.
func (k *kernel) removeVXLAN(name string, vni int) (done bool, err error) {
	if len(name) >= unix.IFNAMSIZ {
		return false, nil // no device can have it
	}
	l, missing, err := k.link(name)
	if missing || err == nil && l.Attrs().Name != name { // found by an alternative name
		return false, nil
	}
	if err != nil {
		return false, err
	}
	v, ok := l.(*netlink.Vxlan)
	if !ok {
		return false, fmt.Errorf("route: link %s: it is of type %s and not vxlan; left as it is", name, l.Type())
	}
	if v.VxlanId != vni {
		return false, fmt.Errorf("route: link %s: its VNI is %d and not %d; left as it is", name, v.VxlanId, vni)
	}
	err = k.h.LinkDel(l)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.ENODEV): // somebody else was faster
		return false, nil
	}
	return false, fmt.Errorf("route: link %s: removing it: %w", name, err)
}
