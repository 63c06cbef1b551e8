package doctor

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"weft/engine/control"
)

// usualPorts are flannel's, by backend.
var usualPorts = []uint16{8285, 8472, 51820, 51821}

// checkPorts looks for other programs at the ports, and for another flanneld.
func checkPorts(v *visit) []control.Check {
	sockets, err := v.sockets()
	if err != nil {
		return skip("%v", err)
	}
	self, ports := os.Getpid(), usualPorts
	if v.Status != nil {
		self, ports = v.Status.Node.PID, nil
		for _, p := range v.Status.Engine.Ports {
			ports = append(ports, p.Address.Port())
		}
	}
	var bad []control.Check
	for _, s := range sockets {
		if slices.Contains(ports, s.Local.Port()) && s.PID != 0 && s.PID != self {
			bad = append(bad, v.portTaken(s)...)
		}
	}
	links, err := v.links()
	if err != nil {
		return append(bad, skip("%v", err)...)
	}
	for _, l := range links {
		if l.Kind == "vxlan" && l.Up && slices.Contains(ports, uint16(l.Port)) {
			bad = append(bad, warn(fmt.Sprintf("the kernel's VXLAN device %s holds udp port %d", l.Name, l.Port),
				"a device of stock flanneld or of another network", "ip link del "+l.Name)...)
		}
	}
	others, err := v.System.Processes("flanneld")
	if err != nil {
		return append(bad, skip("%v", err)...)
	}
	for _, pid := range others {
		if pid != self {
			bad = append(bad, warn(fmt.Sprintf("another flanneld runs, pid %d", pid), "two daemons share the lease and the devices' names, and undo each other's work",
				fmt.Sprintf("stop one of them: kill %d", pid))...)
		}
	}
	return found(bad, pass("nobody else uses udp port %s", portList(ports)))
}

func (v *visit) portTaken(s Socket) []control.Check {
	text := fmt.Sprintf("%s (pid %d) has udp %s", s.Command, s.PID, s.Local)
	if v.Status == nil {
		return info("%s: a node that does not answer here, or another program", text)
	}
	return warn(text, "another program uses this node's port", fmt.Sprintf("stop it (kill %d), or choose another port for the backend", s.PID))
}

func portList(ports []uint16) string {
	var words []string
	for _, p := range ports {
		words = append(words, fmt.Sprint(p))
	}
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ", ")
}

// overlayName tells the names of flannel's devices and of weft's.
func overlayName(name string) bool {
	rest, ok := strings.CutPrefix(name, "flannel")
	return ok && rest != "" && strings.ContainsAny(rest[:1], "0123456789.-")
}

// checkLeftovers finds devices with names of the overlay's that the node does
// not have.
func checkLeftovers(v *visit) []control.Check {
	links, err := v.links()
	if err != nil {
		return skip("%v", err)
	}
	routes, err := v.routes()
	if err != nil {
		return skip("%v", err)
	}
	var bad []control.Check
	for _, l := range links {
		if !overlayName(l.Name) || slices.Contains(v.devices(), l.Name) {
			continue
		}
		leads := slices.DeleteFunc(slices.Clone(routes), func(r Route) bool { return r.Link != l.Name })
		text := fmt.Sprintf("%s (%s) is there, with %s", l.Name, l.Kind, plural(len(leads), "route"))
		switch {
		case v.Status == nil && l.Held:
			bad = append(bad, info("%s: a process holds it", text)...)
		case v.Status == nil:
			bad = append(bad, info("%s: left by an earlier run, or a running flanneld's", text)...)
		case len(leads) > 0 && v.inNetwork(leads):
			bad = append(bad, fail(text, "its routes lead packets past this node's device", "ip link del "+l.Name)...)
		default:
			bad = append(bad, warn(text, "left by another run or program", "ip link del "+l.Name)...)
		}
	}
	return found(bad, pass("no other tunnel device"))
}

// inNetwork reports whether one of the routes lies in the overlay.
func (v *visit) inNetwork(routes []Route) bool {
	return slices.ContainsFunc(routes, func(r Route) bool { return v.overlays(r.Dst) })
}

func (v *visit) overlays(p netip.Prefix) bool {
	return slices.ContainsFunc(v.networks(), func(n netip.Prefix) bool {
		return p.IsValid() && n.Contains(p.Addr()) && p.Bits() >= n.Bits()
	})
}

// checkRoutes asks the kernel for the way to each peer's subnet, and looks for
// routes inside the overlay that lead elsewhere.
func checkRoutes(v *visit) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	routes, err := v.routes()
	if err != nil {
		return skip("%v", err)
	}
	var bad []control.Check
	for _, r := range routes {
		if v.overlays(r.Dst) && v.astray(r) {
			bad = append(bad, fail(fmt.Sprintf("route %s leads to %s and not to %s", r.Dst, r.Link, joined(v.devices(), "the node's device")),
				"set by another program, or left by another run", fmt.Sprintf("ip route del %s dev %s", r.Dst, r.Link))...)
		}
	}
	asked := 0
	for _, p := range v.Status.Peers {
		for _, s := range []netip.Prefix{p.Subnet, p.Subnet6} {
			if !s.IsValid() || p.Via == "direct" || p.State == control.PeerUnusable {
				continue
			}
			asked++
			if c := v.way(s); len(bad) == 0 { // the routes above explain the rest
				bad = append(bad, c...)
			}
		}
	}
	return found(bad, pass("the kernel sends %s to %s", plural(asked, "subnet"), joined(v.devices(), "no device")))
}

// astray reports whether a route inside the overlay leads where it should not:
// to neither our device, nor our own pods, nor directly to a peer.
func (v *visit) astray(r Route) bool {
	n := v.Status.Node
	own := func(s netip.Prefix) bool { return s.IsValid() && s.Bits() <= r.Dst.Bits() && s.Contains(r.Dst.Addr()) }
	if r.Link == "" || slices.Contains(v.devices(), r.Link) || own(n.Subnet) || own(n.Subnet6) {
		return false
	}
	return !slices.ContainsFunc(v.Status.Peers, func(p control.Peer) bool {
		return p.Via == "direct" && (p.Subnet == r.Dst || p.Subnet6 == r.Dst) && (r.Via == p.Public || r.Via == p.Public6)
	})
}

// way finds fault with the kernel's way to a peer's subnet.
func (v *visit) way(s netip.Prefix) []control.Check {
	r, err := v.System.RouteTo(firstHost(s))
	devices := joined(v.devices(), "the node's device")
	switch {
	case err != nil:
		return fail(fmt.Sprintf("the kernel has no way to %s: %v", s, err), "the route to the overlay is gone", "restart the node; it restores its routes while it runs")
	case !slices.Contains(v.devices(), r.Link):
		return fail(fmt.Sprintf("the kernel sends %s to %s and not to %s", s, joined([]string{r.Link}, "nowhere"), devices),
			"another route, or a rule of policy routing, comes first", fmt.Sprintf("ip route get %s; ip rule", firstHost(s)))
	}
	return nil
}
