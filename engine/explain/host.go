package explain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host asks the kernel in the network namespace of the calling thread. It
// changes nothing.
type Host struct{}

var _ Kernel = Host{}

// callTimeout bounds each request to the kernel, which answers in microseconds
// unless another process holds its lock for long.
const callTimeout = 5 * time.Second

// routeTypes are the names that ip(8) gives to rtm_type (rtnetlink(7)).
var routeTypes = map[int]string{unix.RTN_UNICAST: "unicast", unix.RTN_LOCAL: "local", unix.RTN_BROADCAST: "broadcast",
	unix.RTN_ANYCAST: "anycast", unix.RTN_MULTICAST: "multicast", unix.RTN_BLACKHOLE: "blackhole",
	unix.RTN_UNREACHABLE: "unreachable", unix.RTN_PROHIBIT: "prohibit", unix.RTN_THROW: "throw"}

// Route looks up where a packet goes, as `ip route get fibmatch` does.
func (Host) Route(ctx context.Context, l Lookup) (Route, error) {
	if err := ctx.Err(); err != nil {
		return Route{}, err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return Route{}, fmt.Errorf("opening rtnetlink: %w", err)
	}
	defer h.Close()
	if err := h.SetSocketTimeout(callTimeout); err != nil {
		return Route{}, fmt.Errorf("setting the timeout of rtnetlink: %w", err)
	}
	opt := &netlink.RouteGetOptions{Iif: l.In, FIBMatch: true}
	if l.Src.IsValid() {
		opt.SrcAddr = l.Src.AsSlice()
	}
	routes, err := h.RouteGetWithOptions(l.Dst.AsSlice(), opt)
	var errno unix.Errno
	switch {
	case errors.As(err, &errno):
		return noRoute(h, l, errno)
	case err != nil:
		return Route{}, fmt.Errorf("looking up %v: %w", l.Dst, err)
	case len(routes) == 0:
		return Route{Type: "none"}, nil
	}
	return fromWire(h, l, &routes[0]), nil
}

// noRoute reads an error of the lookup. Blackhole, unreachable and prohibit
// routes answer with errors (fib_props in net/ipv4/fib_semantics.c). EXDEV is
// reverse path filtering's (__fib_validate_source in net/ipv4/fib_frontend.c);
// kernels from 6.13 on say EINVAL instead, as for a blackhole and for a source
// that cannot be.
func noRoute(h *netlink.Handle, l Lookup, errno unix.Errno) (Route, error) {
	switch errno {
	case unix.ENETUNREACH:
		return Route{Type: "none"}, nil
	case unix.EHOSTUNREACH:
		return Route{Type: "unreachable"}, nil
	case unix.EACCES:
		return Route{Type: "prohibit"}, nil
	case unix.EXDEV, unix.EINVAL:
		if l.In == "" {
			return Route{Type: "blackhole"}, nil
		}
		return refused(h, l), nil
	}
	return Route{}, fmt.Errorf("looking up %v: %w", l.Dst, errno)
}

// refused finds out why the kernel does not take a packet that comes in.
func refused(h *netlink.Handle, l Lookup) Route {
	plain := &netlink.RouteGetOptions{FIBMatch: true}
	if _, err := h.RouteGetWithOptions(l.Dst.AsSlice(), plain); errors.Is(err, unix.EINVAL) {
		return Route{Type: "blackhole"}
	}
	martian := Route{Type: "refused", Refuse: fmt.Sprintf("%v is an impossible source for what comes in by %s (a martian)", l.Src, l.In)}
	by := "no interface"
	if routes, err := h.RouteGetWithOptions(l.Src.AsSlice(), plain); err == nil && len(routes) > 0 {
		r := fromWire(h, Lookup{Dst: l.Src}, &routes[0])
		if r.Type != "unicast" {
			return martian
		}
		by = r.Device
	}
	rp := rpFilter(l.In)
	if rp == "0" {
		return martian
	}
	return Route{Type: "refused", Refuse: fmt.Sprintf("reverse path filtering: %v came in by %s, and the way back to it is by %s (rp_filter=%s)",
		l.Src, l.In, by, rp)}
}

// rpFilter is the value in force for a device: the larger of its own and that
// of all (Documentation/networking/ip-sysctl.rst).
func rpFilter(device string) string {
	own, errOwn := Host{}.Sysctl("net/ipv4/conf/" + device + "/rp_filter")
	all, errAll := Host{}.Sysctl("net/ipv4/conf/all/rp_filter")
	if errOwn != nil || errAll != nil {
		return "unknown"
	}
	return max(own, all) // one digit each
}

// fromWire reads the kernel's answer. Of several next hops it takes the first.
func fromWire(h *netlink.Handle, l Lookup, x *netlink.Route) Route {
	r := Route{Type: routeTypes[x.Type], Table: tableName(x.Table)}
	if r.Type == "" {
		r.Type = "type " + strconv.Itoa(x.Type)
	}
	if x.Dst != nil {
		r.Dst = prefix(x.Dst)
	}
	index, gw := x.LinkIndex, x.Gw
	if index == 0 && len(x.MultiPath) > 0 {
		index, gw = x.MultiPath[0].LinkIndex, x.MultiPath[0].Gw
	}
	if a, ok := netip.AddrFromSlice(gw); ok && !a.IsUnspecified() {
		r.Via = a.Unmap()
	}
	if link, err := h.LinkByIndex(index); index != 0 && err == nil {
		r.Device, r.MTU = link.Attrs().Name, link.Attrs().MTU
	}
	if x.MTU > 0 && (r.MTU == 0 || x.MTU < r.MTU) {
		r.MTU = x.MTU
	}
	if r.Type == "local" { // without rules of others the kernel has both tables in one, and calls it main
		r.Table = "local"
		return r
	}
	r.Rule = ruleOf(h, l, x.Table)
	return r
}

// ruleOf returns the priority of the rule that leads to a table, if only one
// does and it has one; 0 otherwise.
func ruleOf(h *netlink.Handle, l Lookup, table int) int {
	family := netlink.FAMILY_V4
	if l.Dst.Is6() {
		family = netlink.FAMILY_V6
	}
	rules, err := h.RuleList(family)
	if err != nil {
		return 0
	}
	found, n := 0, 0
	for _, r := range rules {
		if r.Table == table {
			found, n = r.Priority, n+1
		}
	}
	if n != 1 {
		return 0
	}
	return max(found, 0)
}

func prefix(n *net.IPNet) netip.Prefix {
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	if !ok {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a.Unmap(), bits)
}

func tableName(t int) string {
	return cmp.Or(map[int]string{unix.RT_TABLE_MAIN: "main", unix.RT_TABLE_LOCAL: "local", unix.RT_TABLE_DEFAULT: "default", 0: "?"}[t], strconv.Itoa(t))
}

// Sysctl reads a sysctl of the network namespace.
func (Host) Sysctl(name string) (string, error) {
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("sysctl %q: not a path below /proc/sys", name)
	}
	b, err := os.ReadFile(filepath.Join("/proc/sys", name))
	return strings.TrimSpace(string(b)), err
}
