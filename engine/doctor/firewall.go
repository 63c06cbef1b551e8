package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"weft/engine/control"
)

// A packetKind is what a check of the firewall asks about: packets of which the
// rules may name these properties.
type packetKind struct {
	networks []netip.Prefix
	links    []string
	ports    []uint16
}

// concerns reports whether a rule names something that such packets have, and
// all that it names is so. A rule without conditions concerns everything.
func (k packetKind) concerns(r Rule) (named, fits bool) {
	fits = true
	ask := func(is, has bool) {
		named = named || is
		fits = fits && (!is || has)
	}
	inside := func(p netip.Prefix) bool {
		return slices.ContainsFunc(k.networks, func(n netip.Prefix) bool { return n.Overlaps(p) })
	}
	ask(r.Src.IsValid(), inside(r.Src))
	ask(r.Dst.IsValid(), inside(r.Dst))
	link := func(name string) bool {
		start, wild := strings.CutSuffix(name, "*")
		return slices.ContainsFunc(k.links, func(l string) bool { return l == name || wild && strings.HasPrefix(l, start) })
	}
	ask(r.In != "", link(r.In))
	ask(r.Out != "", link(r.Out))
	ask(r.UDP, len(k.ports) > 0)
	ask(r.Port != 0, slices.Contains(k.ports, r.Port))
	return named, fits
}

// checkForwardPolicy finds chains that drop what is forwarded unless a rule
// accepts it, and have no rule that does, and rules that drop overlay packets
// by name, at all hooks that such packets meet. The order of rules is not judged:
// an accept behind a drop counts.
func checkForwardPolicy(v *visit) []control.Check {
	k := packetKind{links: v.devices(), networks: v.networks()}
	if len(k.networks) == 0 {
		k.networks = v.fileNetworks()
	}
	list := v.judge([]string{"prerouting", "forward", "postrouting"}, k, func(c Chain) string { return v.acceptForward(c, k) })
	for i := range list {
		if v.Status == nil && list[i].Verdict == control.Fail {
			list[i].Verdict = control.Warn
			list[i].Cause += "; a node adds such a rule when it starts"
		}
	}
	return list
}

// checkPortPolicy does the same for the node's own datagrams.
func checkPortPolicy(v *visit) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	var k packetKind
	for _, p := range v.Status.Engine.Ports {
		if !slices.Contains(k.ports, p.Address.Port()) {
			k.ports = append(k.ports, p.Address.Port())
		}
	}
	if len(k.ports) == 0 {
		return skip("the node has no port open")
	}
	k.links = []string{v.Status.Node.Iface}
	hosts := []netip.Addr{v.Status.Node.Public, v.Status.Node.Public6}
	for _, p := range v.Status.Peers {
		hosts = append(hosts, p.Public, p.Public6)
	}
	for _, a := range hosts {
		if a.IsValid() {
			k.networks = append(k.networks, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	fix := func(c Chain) string {
		return acceptRule(c, "udp dport", "-p udp --dport", fmt.Sprint(k.ports[0]))
	}
	list := v.judge([]string{"prerouting", "input", "output", "postrouting"}, k, fix)
	if list[0].Verdict == control.Pass {
		return pass("no rule drops datagrams of port %d", k.ports[0])
	}
	return list
}

// judge looks at all chains of some hooks.
func (v *visit) judge(hooks []string, k packetKind, fix func(Chain) string) []control.Check {
	chains, err := v.chains()
	if err != nil && len(chains) == 0 {
		return skip("%v", err)
	}
	var bad []control.Check
	var seen int
	for _, c := range chains {
		if !slices.Contains(hooks, c.Hook) || !v.uses(c.Family) {
			continue
		}
		seen++
		bad = append(bad, judgeChain(chains, c, k, fix)...)
	}
	switch {
	case len(bad) > 0:
		return bad
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return skip("some packet filters cannot be listed: %v", err)
	case seen == 0:
		return pass("no packet filter has a chain at %s", strings.Join(hooks, ", "))
	}
	return pass("%s at %s: nothing there drops what is ours", plural(seen, "chain"), strings.Join(hooks, ", "))
}

// uses reports whether chains of a family see packets of this node.
func (v *visit) uses(family string) bool {
	return family != "ip6" || v.Status != nil && (v.Status.Node.Subnet6.IsValid() || v.Status.Node.Public6.IsValid())
}

// judgeChain judges a base chain and all that it jumps to.
func judgeChain(chains []Chain, c Chain, k packetKind, fix func(Chain) string) (bad []control.Check) {
	var accepts, unclear bool
	for _, r := range k.reachable(chains, c, map[string]bool{}) {
		named, fits := k.concerns(r)
		switch {
		case r.Verdict == "accept" && fits && !r.Other:
			accepts = true
		case r.Verdict == "accept" && fits && named:
			unclear = true
		case r.Verdict == "drop" && fits && named && r.Other: // network policies look like this
			bad = append(bad, info("a rule in %s drops %s", c.title(), r.what())...)
		case r.Verdict == "drop" && fits && named:
			bad = append(bad, fail(fmt.Sprintf("a rule in %s drops %s", c.title(), r.what()),
				"the rule was set by someone on this host", "look for it with "+c.list()+", and delete it if it is not meant")...)
		case r.Verdict == "drop" && fits && !r.Other && !accepts:
			bad = append(bad, fail(fmt.Sprintf("a rule in %s drops everything", c.title()), "no rule before it accepts what is ours", fix(c))...)
		}
	}
	switch cause := "nothing in it accepts what is ours (Docker and firewalls set such policies)"; {
	case !c.Drop || accepts || len(bad) > 0:
	case unclear:
		bad = append(bad, warn(c.title()+" drops by policy, and accepts what is ours only under conditions", "see "+c.list(), fix(c))...)
	default:
		bad = append(bad, fail(c.title()+" drops by policy what no rule accepts", cause, fix(c))...)
	}
	return bad
}

// reachable lists the rules that such a packet may meet in c and the chains that
// it jumps to. Behind a jump with conditions all rules have them.
func (k packetKind) reachable(chains []Chain, c Chain, seen map[string]bool) (rules []Rule) {
	if seen[c.Name] {
		return nil
	}
	seen[c.Name] = true
	for _, r := range c.Rules {
		rules = append(rules, r)
		if _, fits := k.concerns(r); r.Verdict != "jump" || !fits {
			continue
		}
		for _, d := range chains {
			if d.Name != r.Target || d.Table != c.Table || d.Family != c.Family || d.Place != c.Place {
				continue
			}
			for _, inner := range k.reachable(chains, d, seen) {
				inner.Other = inner.Other || r.Other
				rules = append(rules, inner)
			}
		}
	}
	return rules
}

// title names a chain as its own tools do.
func (c Chain) title() string {
	return fmt.Sprintf("%s %s %s (%s)", c.Family, c.Table, c.Name, c.Place)
}

// iptables names the program that shows an iptables chain.
func (c Chain) iptables() string {
	if c.Family == "ip6" {
		return strings.Replace(c.Place, "iptables", "ip6tables", 1)
	}
	return c.Place
}

// list is the command that shows the chain.
func (c Chain) list() string {
	if c.Place == "nftables" {
		return fmt.Sprintf("`nft list chain %s %s %s`", c.Family, c.Table, c.Name)
	}
	return fmt.Sprintf("`%s%s -S`", c.iptables(), c.option())
}

// option names the table to iptables, where it is not the one meant without.
func (c Chain) option() string {
	if c.Table == "filter" {
		return ""
	}
	return " -t " + c.Table
}

// acceptRule is the command that accepts what matches at the head of a chain.
func acceptRule(c Chain, nft, xt, value string) string {
	if c.Place == "nftables" {
		return fmt.Sprintf("nft insert rule %s %s %s %s %s accept", c.Family, c.Table, c.Name, nft, value)
	}
	return fmt.Sprintf("%s%s -I %s %s %s -j ACCEPT", c.iptables(), c.option(), c.Name, xt, value)
}

func (v *visit) acceptForward(c Chain, k packetKind) string {
	i := slices.IndexFunc(k.networks, func(n netip.Prefix) bool { return n.Addr().Is6() == (c.Family == "ip6") })
	if i < 0 {
		return "start the node with --iptables-forward-rules, which is the default"
	}
	n := k.networks[i].String()
	proto := "ip"
	if k.networks[i].Addr().Is6() {
		proto = "ip6"
	}
	fix := acceptRule(c, proto+" saddr", "-s", n) + "; " + acceptRule(c, proto+" daddr", "-d", n)
	if c.Place != "nftables" && c.Table == "filter" {
		fix += "; or start the node with --iptables-forward-rules, which is the default"
	}
	return fix
}

// what says which packets a rule is about.
func (r Rule) what() string {
	var words []string
	switch {
	case r.Port != 0:
		words = append(words, fmt.Sprintf("udp port %d", r.Port))
	case r.UDP:
		words = append(words, "udp")
	}
	for _, x := range []struct {
		name string
		p    netip.Prefix
	}{{"from", r.Src}, {"to", r.Dst}} {
		if x.p.IsValid() {
			words = append(words, x.name+" "+x.p.String())
		}
	}
	if r.In != "" {
		words = append(words, "in by "+r.In)
	}
	if r.Out != "" {
		words = append(words, "out by "+r.Out)
	}
	text := strings.Join(words, " ")
	if r.Other {
		text += " under further conditions"
	}
	return text
}

// networks are the overlay's.
func (v *visit) networks() (list []netip.Prefix) {
	if v.Status == nil {
		return nil
	}
	for _, n := range []netip.Prefix{v.Status.Node.Network, v.Status.Node.Network6} {
		if n.IsValid() {
			list = append(list, n)
		}
	}
	return list
}

// checkBothTables finds hosts where iptables is used through both of its
// kernels' tables: each tool shows one and packets must pass both.
func checkBothTables(v *visit) []control.Check {
	chains, err := v.chains()
	if err != nil && len(chains) == 0 {
		return skip("%v", err)
	}
	rules := map[string]int{}
	for _, c := range chains {
		rules[c.Place] += len(c.Rules)
	}
	switch {
	case rules["iptables-legacy"] > 0 && rules["iptables-nft"] > 0:
		return warn(fmt.Sprintf("rules in both iptables-legacy (%d) and iptables-nft (%d)", rules["iptables-legacy"], rules["iptables-nft"]),
			"programs on this host use different iptables; each shows one half, and packets must pass both",
			"choose one with `update-alternatives --config iptables`, restart what writes rules, and flush the other: iptables-legacy -F")
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return skip("some packet filters cannot be listed: %v", err)
	}
	var places []string
	for _, place := range []string{"nftables", "iptables-nft", "iptables-legacy"} {
		if rules[place] > 0 {
			places = append(places, fmt.Sprintf("%s (%s)", place, plural(rules[place], "rule")))
		}
	}
	if len(places) == 0 {
		return pass("no rules")
	}
	return pass("rules in %s", strings.Join(places, ", "))
}
