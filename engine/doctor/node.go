package doctor

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weft/engine/control"
)

// nodeRows are the checks of the node on its host.
var nodeRows = []row{
	{"daemon", "a node runs and is well", checkDaemon},
	{"offload", "capabilities of the kernel that are in use", checkOffload},
	{"iface", "the underlay interface, and what else could have been chosen", checkIface},
	{"nested", "whether the underlay interface is itself a tunnel", checkNested},
	{"address", "nobody else holds the node's addresses", checkAddress},
	{"nat", "peers see the address that the lease names", checkNAT},
	{"port-bound", "no other program holds or uses the ports", checkPorts},
	{"leftovers", "no tunnel device of another run or program is in the way", checkLeftovers},
	{"routes", "the kernel sends the overlay's packets to the node's device", checkRoutes},
	{"subnet.env", "the file for the container runtime says what the lease says", checkSubnetFile},
	{"bridge", "the bridges of pods bear the leased subnet and a MTU that fits", checkBridges},
}

func checkDaemon(v *visit) []control.Check {
	s := v.Status
	switch {
	case s == nil:
		return fail("weft does not run here, or its socket is elsewhere", cmp.Or(v.Why, "no daemon answered"),
			"start it with `weft up`, or name its socket with --socket; until it runs this host carries nothing for the overlay")
	}
	text := fmt.Sprintf("weft %s, %s backend, subnet %s, up %s", s.Node.Version, s.Node.Backend,
		prefixes(s.Node.Subnet, s.Node.Subnet6), span(v.Now().Sub(s.Node.Started)))
	switch {
	case !s.Engine.Open:
		return fail(text+": it carries no packets", joined(s.Causes, "its device or its port is not open"), "see its log")
	case s.Health == control.Down:
		return fail(text+": down", joined(s.Causes, "it does not say why"), "see the checks below and its log")
	case s.Health == control.Degraded:
		return warn(text+": degraded", joined(s.Causes, "it does not say why"), "see the checks below")
	}
	return pass("%s", text)
}

func joined(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return strings.Join(list, "; ")
}

// prefixes writes those that are there.
func prefixes(list ...netip.Prefix) string {
	var words []string
	for _, p := range list {
		if p.IsValid() {
			words = append(words, p.String())
		}
	}
	return joined(words, "none")
}

// offCost says what it costs to do without a feature.
var offCost = map[string]string{
	"vnet": "each packet is a system call of its own", "tso": "TCP comes from pods in single packets", "uso": "UDP comes from pods in single packets (Linux before 6.2)",
	"gso": "datagrams are sent one by one (Linux before 4.18)", "gro": "datagrams are received one by one (Linux before 5.0)",
	"mmsg": "a system call for each datagram", "ecn": "congestion marks do not cross the tunnel",
}

func checkOffload(v *visit) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	e := v.Status.Engine
	text := "in use: " + joined(e.Features, "none")
	var costs []string
	for _, name := range e.Off {
		if cost, ok := offCost[strings.ToLower(name)]; ok {
			costs = append(costs, name+": "+cost)
		} else {
			costs = append(costs, name)
		}
	}
	if len(costs) == 0 {
		return pass("%s", text)
	}
	return []control.Check{{Verdict: control.Info, Text: text + "; not in use: " + strings.Join(e.Off, ", "),
		Cause: "switched off by WEFT_DISABLE or --tun-mode, or refused by the kernel. " + strings.Join(costs, "; ")}}
}

func checkIface(v *visit) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	n := v.Status.Node
	links, err := v.links()
	if err != nil {
		return skip("%v", err)
	}
	at := slices.IndexFunc(links, func(l Link) bool { return l.Name == n.Iface })
	switch {
	case n.Iface == "":
		return skip("the node names no underlay interface")
	case at < 0:
		return fail("there is no interface "+n.Iface, "it was removed or renamed after the node started, or is in another network namespace", "restart the node, or start it with --iface")
	case !links[at].Up:
		return fail(n.Iface+" is down", "the node cannot reach its peers by it", "ip link set "+n.Iface+" up")
	}
	text := fmt.Sprintf("%s %s", n.Iface, addresses(n.Public, n.Public6))
	if n.IfaceWhy != "" {
		text += ": " + n.IfaceWhy
	}
	if other := v.candidates(links); len(other) > 0 {
		text += ". Also seen: " + strings.Join(other, ", ")
	}
	if links[at].MTU != n.IfaceMTU && n.IfaceMTU != 0 {
		return warn(text, fmt.Sprintf("its MTU is %d now and was %d when the node started", links[at].MTU, n.IfaceMTU), "restart the node, and then the pods")
	}
	return pass("%s", text)
}

// candidates are the other interfaces with an address that peers could be told.
func (v *visit) candidates(links []Link) (names []string) {
	for _, l := range links {
		if l.Name == v.Status.Node.Iface || l.Kind == "bridge" && v.podBridge(l) || slices.Contains(v.devices(), l.Name) {
			continue
		}
		for _, a := range l.Addrs {
			if !a.Addr().IsLoopback() && a.Addr().IsGlobalUnicast() {
				names = append(names, l.Name)
				break
			}
		}
	}
	return names
}

func addresses(list ...netip.Addr) string {
	var words []string
	for _, a := range list {
		if a.IsValid() {
			words = append(words, a.String())
		}
	}
	return strings.Join(words, " ")
}

// tunnelKinds are the kinds of links that are tunnels themselves.
var tunnelKinds = []string{"wireguard", "tun", "tuntap", "vxlan", "geneve", "gre", "gretap", "ip6gre", "ipip", "ip6tnl", "sit", "vti", "xfrm", "ppp"}

func checkNested(v *visit) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	n := v.Status.Node
	kind := n.Nested
	if kind == "" {
		links, err := v.links()
		if err != nil {
			return skip("%v", err)
		}
		for _, l := range links {
			if l.Name == n.Iface && slices.Contains(tunnelKinds, l.Kind) {
				kind = l.Kind
			}
		}
	}
	switch {
	case kind == "":
		return pass("%s is no tunnel", n.Iface)
	case n.IfaceMTU >= 1500:
		return warn(fmt.Sprintf("%s is itself a tunnel (%s), yet has MTU %d", n.Iface, kind, n.IfaceMTU),
			"its own headers do not fit a wire of 1500 bytes, so that long packets are cut or lost",
			fmt.Sprintf("ip link set %s mtu 1420, and restart the node; or choose another interface with --iface", n.Iface))
	}
	return info("%s is itself a tunnel (%s) of MTU %d: pods have %d bytes for each packet, and two tunnels' work", n.Iface, kind, n.IfaceMTU, n.MTU)
}
