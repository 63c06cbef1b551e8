package doctor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host is the [System] that this process runs on: the network namespace of the
// thread that calls.
type Host struct{}

var _ System = Host{}

// Read reads a file.
func (Host) Read(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

// TUN opens /dev/net/tun. It makes no device.
func (Host) TUN() (TUN, error) {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return TUN{}, err
	}
	defer f.Close()
	features, err := unix.IoctlGetUint32(int(f.Fd()), unix.TUNGETFEATURES)
	if err != nil {
		return TUN{}, os.NewSyscallError("ioctl TUNGETFEATURES", err)
	}
	return TUN{Vnet: features&unix.IFF_VNET_HDR != 0, MultiQueue: features&unix.IFF_MULTI_QUEUE != 0}, nil
}

// maxDumps is how often a listing is begun anew because something changed
// meanwhile.
const maxDumps = 4

func whole[T any](list func() (T, error)) (out T, err error) {
	for range maxDumps {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return out, nil // a listing with a gap is better than none
}

// Links lists the interfaces.
func (Host) Links() ([]Link, error) {
	list, err := whole(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	addrs, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	of := map[int][]Address{}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok {
			continue
		}
		ones, _ := a.Mask.Size()
		of[a.LinkIndex] = append(of[a.LinkIndex], Address{Prefix: netip.PrefixFrom(ip.Unmap(), ones), Duplicate: a.Flags&unix.IFA_F_DADFAILED != 0})
	}
	links := make([]Link, 0, len(list))
	for _, x := range list {
		a := x.Attrs()
		l := Link{Name: a.Name, Index: a.Index, Kind: x.Type(), MTU: a.MTU, Up: a.Flags&net.FlagUp != 0, Addrs: of[a.Index]}
		switch x := x.(type) {
		case *netlink.Vxlan:
			l.VNI, l.Port = x.VxlanId, x.Port
		case *netlink.Tuntap:
			l.Kind = "tun"
			l.Held = a.RawFlags&unix.IFF_LOWER_UP != 0 // drivers/net/tun.c: while a process has it open
		}
		links = append(links, l)
	}
	return links, nil
}

// Routes lists the main tables of both families.
func (h Host) Routes() ([]Route, error) {
	links, err := h.Links()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	var routes []Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := whole(func() ([]netlink.Route, error) { return netlink.RouteList(nil, family) })
		if errors.Is(err, unix.EAFNOSUPPORT) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("listing routes: %w", err)
		}
		for _, r := range list {
			routes = append(routes, fromRoute(r, names)...)
		}
	}
	return routes, nil
}

// fromRoute makes a Route of each next hop.
func fromRoute(r netlink.Route, names map[int]string) (list []Route) {
	out := Route{}
	if r.Dst != nil {
		a, _ := netip.AddrFromSlice(r.Dst.IP)
		ones, _ := r.Dst.Mask.Size()
		out.Dst = netip.PrefixFrom(a.Unmap(), ones)
	}
	if a, ok := netip.AddrFromSlice(r.Src); ok {
		out.Src = a.Unmap()
	}
	add := func(index int, gateway net.IP) {
		hop := out
		if r.Type == unix.RTN_UNICAST || r.Type == unix.RTN_LOCAL {
			hop.Link = names[index]
		}
		if a, ok := netip.AddrFromSlice(gateway); ok {
			hop.Via = a.Unmap()
		}
		list = append(list, hop)
	}
	if len(r.MultiPath) == 0 {
		add(r.LinkIndex, r.Gw)
	}
	for _, h := range r.MultiPath {
		add(h.LinkIndex, h.Gw)
	}
	return list
}

// RouteTo asks the kernel.
func (Host) RouteTo(a netip.Addr) (Route, error) {
	list, err := netlink.RouteGet(a.AsSlice())
	if err != nil {
		return Route{}, err
	}
	if len(list) == 0 {
		return Route{}, errors.New("the kernel names no route")
	}
	l, err := netlink.LinkByIndex(list[0].LinkIndex)
	if err != nil {
		return Route{}, fmt.Errorf("interface %d: %w", list[0].LinkIndex, err)
	}
	r := fromRoute(list[0], map[int]string{list[0].LinkIndex: l.Attrs().Name})[0]
	r.Dst = netip.Prefix{}
	return r, nil
}
