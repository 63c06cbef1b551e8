package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"weft/engine/control"
	"weft/lease"
)

// env reads subnet.env.
func (v *visit) env() (lease.Env, error) {
	text, err := v.System.Read(v.SubnetFile)
	if err != nil {
		return lease.Env{}, err
	}
	return lease.ParseEnv([]byte(text))
}

// fileNetworks are the networks that subnet.env names: the best guess where no
// daemon answers.
func (v *visit) fileNetworks() (list []netip.Prefix) {
	e, err := v.env()
	if err != nil {
		return nil // checkSubnetFile says so
	}
	for _, n := range []netip.Prefix{e.Network, e.IPv6Network} {
		if n.IsValid() {
			list = append(list, n)
		}
	}
	return list
}

// checkSubnetFile compares the file with the lease.
func checkSubnetFile(v *visit) []control.Check {
	e, err := v.env()
	if v.Status == nil {
		if err != nil {
			return skip("%v", err)
		}
		return info("%s says %s, MTU %d: of an earlier run, or of a node that does not answer here", v.SubnetFile, prefixes(e.Subnet, e.IPv6Subnet), e.MTU)
	}
	const fix = "restart the node, which writes it, and then the pods"
	n := v.Status.Node
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(v.SubnetFile+" is missing", "the node writes it when it has a lease; somebody deleted it, or --subnet-file is another", fix)
	case errors.Is(err, fs.ErrPermission):
		return skip("%v", err)
	case err != nil:
		return fail(v.SubnetFile+" cannot be read", err.Error(), fix)
	}
	var differs []string
	for _, x := range []struct {
		key         string
		file, lease any
	}{
		{"FLANNEL_NETWORK", e.Network, n.Network.Masked()},
		{"FLANNEL_SUBNET", e.Subnet, n.Subnet.Masked()},
		{"FLANNEL_IPV6_NETWORK", e.IPv6Network, n.Network6.Masked()},
		{"FLANNEL_IPV6_SUBNET", e.IPv6Subnet, n.Subnet6.Masked()},
		{"FLANNEL_MTU", e.MTU, n.MTU},
	} {
		if x.file != x.lease {
			differs = append(differs, fmt.Sprintf("%s is %v, the node has %v", x.key, x.file, x.lease))
		}
	}
	if len(differs) > 0 {
		return fail(v.SubnetFile+" does not say what the node has", strings.Join(differs, "; "), fix)
	}
	return pass("%s matches the lease", v.SubnetFile)
}

// usualBridges are the bridges that container runtimes make from subnet.env.
var usualBridges = []string{"cni0", "docker0", "kube-bridge", "cbr0"}

// podBridge reports whether a bridge is one of pods.
func (v *visit) podBridge(l Link) bool {
	return slices.Contains(usualBridges, l.Name) || slices.ContainsFunc(l.Addrs, func(a Address) bool { return v.ours(a.Addr()) })
}

// ours reports whether an address is in the node's subnets.
func (v *visit) ours(a netip.Addr) bool {
	subnets, _ := v.subnets()
	return slices.ContainsFunc(subnets, func(s netip.Prefix) bool { return s.Contains(a) })
}

// subnets are the node's, or without a node those of subnet.env, and the MTU
// beside them.
func (v *visit) subnets() (list []netip.Prefix, mtu int) {
	if v.Status != nil {
		return valid(v.Status.Node.Subnet, v.Status.Node.Subnet6), v.Status.Node.MTU
	}
	e, err := v.env()
	if err != nil {
		return nil, 0
	}
	return valid(e.Subnet, e.IPv6Subnet), e.MTU
}

func valid(list ...netip.Prefix) (kept []netip.Prefix) {
	for _, p := range list {
		if p.IsValid() {
			kept = append(kept, p)
		}
	}
	return kept
}

func checkBridges(v *visit) []control.Check {
	links, err := v.links()
	if err != nil {
		return skip("%v", err)
	}
	subnets, mtu := v.subnets()
	if len(subnets) == 0 {
		return skip("neither a daemon nor %s tells of a subnet", v.SubnetFile)
	}
	var bad []control.Check
	var good []string
	for _, l := range links {
		if l.Kind != "bridge" || !v.podBridge(l) {
			continue
		}
		judged := v.judgeBridge(l, mtu)
		if len(judged) == 0 {
			good = append(good, fmt.Sprintf("%s %s mtu %d", l.Name, l.shown(), l.MTU))
		}
		bad = append(bad, judged...)
	}
	switch {
	case len(bad) > 0:
		return bad
	case len(good) == 0:
		return skip("there is no bridge of pods yet, as cni0 or docker0")
	}
	return pass("%s", strings.Join(good, ", "))
}

// judgeBridge finds fault with one bridge.
func (v *visit) judgeBridge(l Link, mtu int) []control.Check {
	inside := slices.ContainsFunc(l.Addrs, func(a Address) bool { return v.ours(a.Addr()) })
	subnets, _ := v.subnets()
	switch {
	case !inside && l.Name == "docker0":
		return info("docker0 has %s, not %s: Docker's own containers are not in the overlay (weft docker-opts tells Docker how)", l.shown(), prefixes(subnets...))
	case !inside && len(l.Addrs) > 0:
		return fail(fmt.Sprintf("%s has %s, the lease says %s", l.Name, l.shown(), prefixes(subnets...)),
			"the subnet changed under the bridge; its pods have addresses that other nodes send elsewhere",
			"ip link del "+l.Name+", and restart the pods: the CNI plugin makes it anew")
	case mtu > 0 && l.MTU > mtu && inside:
		return warn(fmt.Sprintf("%s has MTU %d, the tunnel %d", l.Name, l.MTU, mtu),
			"longer packets of pods meet `too big` answers, or are cut, where those are filtered out they vanish",
			fmt.Sprintf("ip link set %s mtu %d, and restart the pods", l.Name, mtu))
	}
	return nil
}

// shown writes the addresses of a link, those of the link alone left out.
func (l Link) shown() string {
	var list []netip.Prefix
	for _, a := range l.Addrs {
		if !a.Addr().IsLinkLocalUnicast() {
			list = append(list, a.Prefix)
		}
	}
	if len(list) == 0 {
		return "no address"
	}
	return prefixes(list...)
}
