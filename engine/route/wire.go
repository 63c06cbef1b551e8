package route

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// fromWire translates a route of the library if want says so. A device not in
// names is left as "#index".
func fromWire(r netlink.Route, names map[int]string, want func(key) bool) (entry, bool) {
	dst, ok := prefix(r.Dst)
	if !ok || !want(key{dst, r.Priority}) {
		return entry{}, false
	}
	e := entry{Proto: uint8(r.Protocol), Scope: uint8(r.Scope), Type: uint8(r.Type), Multi: len(r.MultiPath) > 0}
	e.Opaque = r.Tos != 0 || r.Via != nil || r.Encap != nil || r.MTU != 0
	e.Dst, e.Metric = dst, r.Priority
	e.Blackhole = r.Type == unix.RTN_BLACKHOLE
	if e.Blackhole || r.Type == unix.RTN_UNREACHABLE || r.Type == unix.RTN_PROHIBIT {
		return e, true // IPv6 shows these as being on lo
	}
	e.Via, _ = netip.AddrFromSlice(r.Gw)
	e.Src, _ = netip.AddrFromSlice(r.Src)
	e.Via, e.Src = e.Via.Unmap(), e.Src.Unmap()
	e.Onlink = r.Flags&unix.RTNH_F_ONLINK != 0
	if e.Link = names[r.LinkIndex]; e.Link == "" {
		e.Link = fmt.Sprintf("#%d", r.LinkIndex)
	}
	return e, true
}

// toWire translates e for the library.
func (k *kernel) toWire(link netlink.Link, e entry) (*netlink.Route, error) {
	r := &netlink.Route{
		Dst: ipNet(e.Dst), Priority: e.Metric, Protocol: Protocol, Table: unix.RT_TABLE_MAIN,
		Type: int(e.Type), Scope: netlink.Scope(e.Scope), Gw: e.Via.AsSlice(), Src: e.Src.AsSlice(),
	}
	if e.Onlink {
		r.Flags = unix.RTNH_F_ONLINK
	}
	switch e.Link {
	case "":
	case link.Attrs().Name:
		r.LinkIndex = link.Attrs().Index
	default:
		l, _, err := k.link(e.Link)
		if err != nil {
			return nil, err
		}
		r.LinkIndex = l.Attrs().Index
	}
	return r, nil
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if bits == 32 { // the library's 0.0.0.0/0 has 16 bytes
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, ones), ok
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
