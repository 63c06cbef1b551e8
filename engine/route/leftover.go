package route

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RemoveLeftovers deletes devices of these names that another run left behind
// in the network namespace of the calling thread, and whose routes would lead
// packets past ours: kernel WireGuard devices, which stock flanneld keeps under
// such names, and TUN devices that no process holds any more, except those in
// keep, which are ours to take up again. Any other device of such a name stays,
// and the error, which joins all failures, names it and says why. It is no
// error if there is none. removed names those that were deleted.
func RemoveLeftovers(names, keep []string) (removed []string, err error) {
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	defer k.close()
	var errs []error
	for _, name := range names {
		l, err := k.h.LinkByName(name)
		if errors.As(err, new(netlink.LinkNotFoundError)) || err == nil && l.Attrs().Name != name { // found by an alternative name
			continue
		}
		if err == nil {
			var gone bool
			if gone, err = k.removeLeftover(l, slices.Contains(keep, name)); gone {
				removed = append(removed, name)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("route: link %s: %w", name, err))
		}
	}
	return removed, errors.Join(errs...)
}

func (k *kernel) removeLeftover(l netlink.Link, keep bool) (gone bool, err error) {
	switch l.Type() {
	case "wireguard":
	case "tun", "tuntap":
		if keep {
			return false, nil
		}
		// The kernel gives a TUN device a carrier while a process holds it
		// (drivers/net/tun.c, tun_attach and tun_detach).
		if l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 {
			return false, errors.New("another process holds it; left as it is (is another weft or flanneld running?)")
		}
	default:
		return false, fmt.Errorf("it is of type %s; left as it is", l.Type())
	}
	switch err := k.h.LinkDel(l); {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.ENODEV): // somebody else was faster
		return false, nil
	default:
		return false, fmt.Errorf("removing it: %w", err)
	}
}
