package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weft/engine/control"
)

// clusterRows are the checks of what all nodes share.
var clusterRows = []row{
	{"store", "the lease store answers", checkStore},
	{"clock-skew", "this clock and the store's agree", checkClock},
	{"lease", "the node's own lease is renewed", checkLease},
	{"dup-public-ip", "no two leases name one node address", checkPublic},
	{"dup-subnet", "no two leases claim one subnet", checkSubnets},
	{"refused", "all leases can be used", checkRefused},
	{"peers", "there are other nodes", checkPeers},
	{"checksum-offload", "peers whose kernel frames VXLAN itself", checkOffloadPeers},
}

const (
	quietStore = 2 * time.Minute // a store that has not answered for so long is away
	shortLease = time.Hour       // flannel renews that long before the end (--subnet-lease-renew-margin)
	skewWarn   = 5 * time.Second
	skewFail   = 5 * time.Minute
)

func checkStore(v *visit) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	s := v.Status.Store
	text := fmt.Sprintf("%s %s, %s", s.Kind, s.Where, plural(s.Leases, "lease"))
	age := v.Now().Sub(s.Contact)
	if !s.Contact.IsZero() {
		text += ", last contact " + span(age) + " ago"
	}
	if !s.Changed.IsZero() {
		text += ", last change " + span(v.Now().Sub(s.Changed)) + " ago"
	}
	const effect = "packets go on by the last known leases; new and changed nodes are not seen"
	cause := effect
	if s.Error != "" {
		cause = s.Error + "; " + effect
	}
	fix := fmt.Sprintf("look at the store at %s, and at the way there", s.Where)
	switch {
	case s.Contact.IsZero() && !s.Connected:
		return fail(text+": it never answered", cause, fix)
	case !s.Connected:
		return warn(text+": it does not answer", cause, fix)
	case s.Kind != "file" && age > quietStore && !s.Contact.IsZero():
		return warn(text, "nothing was heard from it for long; "+effect, fix)
	}
	return pass("%s", text)
}

func checkClock(v *visit) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	if v.Status.Store.ClockSkew == nil {
		return skip("the store does not tell its time")
	}
	skew := time.Duration(*v.Status.Store.ClockSkew * float64(time.Second))
	way := "behind"
	if skew < 0 {
		way = "ahead of"
	}
	text := fmt.Sprintf("this clock is %s %s the store's", span(skew), way)
	const (
		cause = "leases seem to end too early or too late; a WireGuard peer refuses handshakes of a clock that went back"
		fix   = "have the clock set by NTP: timedatectl set-ntp true, or chronyc makestep"
	)
	switch {
	case skew.Abs() >= skewFail:
		return fail(text, cause, fix)
	case skew.Abs() >= skewWarn:
		return warn(text, cause, fix)
	case skew.Abs() < 500*time.Millisecond:
		return pass("this clock and the store's agree")
	}
	return pass("%s", text)
}

func checkLease(v *visit) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	n, s := v.Status.Node, v.Status.Store
	if !n.Subnet.IsValid() && !n.Subnet6.IsValid() {
		return fail("the node holds no lease", joined(v.Status.Causes, "the store did not give one"), "see the check of the store, and `weft config check`")
	}
	text := prefixes(n.Subnet, n.Subnet6)
	if s.Expires.IsZero() {
		return pass("%s does not expire, or the store does not tell when", text)
	}
	left := s.Expires.Sub(v.Now())
	fix := fmt.Sprintf("let the node reach the store at %s", s.Where)
	switch {
	case left <= 0:
		return fail(fmt.Sprintf("%s expired %s ago", text, span(left)), "it could not be renewed; other nodes forget this one, and another may be given its subnet", fix)
	case left < shortLease && (!s.Connected || s.Error != ""):
		return warn(fmt.Sprintf("%s expires in %s", text, span(left)), "it is not being renewed: "+cmp.Or(s.Error, "the store does not answer"), fix)
	}
	return pass("%s expires in %s", text, span(left))
}

// A claim is a lease as the checks of duplicates see it.
type claim struct {
	name            string
	public, public6 netip.Addr
	own             bool
}

// claims lists all leases known: the own one first.
func (v *visit) claims() []claim {
	n := v.Status.Node
	list := []claim{{cmp.Or(n.Name, prefixes(n.Subnet, n.Subnet6)), n.Public, n.Public6, true}}
	for _, p := range v.Status.Peers {
		name := prefixes(p.Subnet, p.Subnet6)
		if p.Name != "" {
			name = p.Name + " " + name
		}
		list = append(list, claim{name, p.Public, p.Public6, false})
	}
	for _, r := range v.Status.Refused {
		list = append(list, claim{prefixes(r.Subnet, r.Subnet6), r.Public, r.Public6, false})
	}
	return list
}

func checkPublic(v *visit) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	holders := map[netip.Addr][]claim{}
	for _, c := range v.claims() {
		for _, a := range []netip.Addr{c.public, c.public6} {
			if a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() { // nodes of a lab share loopback
				holders[a] = append(holders[a], c)
			}
		}
	}
	var bad []control.Check
	if r := v.Status.Store.Rival; r != "" { // two nodes with one lease; the list of leases does not tell
		bad = fail(r, "both have one subnet, so their pods have the same addresses; what others send there goes to either",
			"if it is another node, start it with another --iface or --public-ip, and its pods anew; if it is this host, stop flanneld")
	}
	for _, a := range slices.SortedFunc(maps.Keys(holders), netip.Addr.Compare) {
		list := holders[a]
		if len(list) < 2 {
			continue
		}
		var names []string
		for _, c := range list {
			names = append(names, c.name)
		}
		bad = append(bad, fail(fmt.Sprintf("%s is named by %d leases: %s", a, len(list), some(names)),
			"two nodes have the same address, as behind one translator (Vagrant's 10.0.2.15), or a node left a lease behind when it changed its subnet",
			"start all but one of the nodes with another --iface or --public-ip; if it is one node, the lease that it does not hold ends by itself or has to be deleted from the store")...)
	}
	return found(bad, pass("each of %s names another address", plural(len(v.claims()), "lease")))
}

// overlap is what the lease package writes into a refusal for that reason.
const overlap = "overlaps"

func checkSubnets(v *visit) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	n := v.Status.Node
	var bad []control.Check
	for _, r := range v.Status.Refused {
		if !strings.Contains(r.Reason, overlap) {
			continue
		}
		text := fmt.Sprintf("%s, leased by %s: %s", prefixes(r.Subnet, r.Subnet6), addresses(r.Public, r.Public6), r.Reason)
		const cause = "the leases were written by hand, or by nodes of two stores or two configurations"
		if collides(n.Subnet, r.Subnet) || collides(n.Subnet6, r.Subnet6) {
			bad = append(bad, fail(text, cause+"; other nodes may send this node's packets there", "restart one of the two nodes without its subnet.env, and then its pods")...)
			continue
		}
		bad = append(bad, warn(text, cause+"; this lease is not used", "restart that node without its subnet.env, and then its pods")...)
	}
	return found(bad, pass("no two leases overlap"))
}

func collides(a, b netip.Prefix) bool { return a.IsValid() && b.IsValid() && a.Overlaps(b) }

func checkRefused(v *visit) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	var bad []control.Check
	for _, r := range v.Status.Refused {
		if strings.Contains(r.Reason, overlap) {
			continue // checkSubnets has it
		}
		bad = append(bad, warn(fmt.Sprintf("lease %s of %s (%s) is not used: %s", prefixes(r.Subnet, r.Subnet6), addresses(r.Public, r.Public6),
			cmp.Or(r.Backend, "udp"), r.Reason), "", "put that node's configuration right, or delete the lease")...)
	}
	return found(bad, pass("no lease was refused"))
}

func checkPeers(v *visit) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	states := map[control.PeerState]int{}
	for _, p := range v.Status.Peers {
		states[p.State]++
	}
	switch n := len(v.Status.Peers); {
	case n == 0 && v.Status.Store.Leases > 1:
		return warn("no peer, though the store holds "+plural(v.Status.Store.Leases, "lease"), "the other leases are refused, expired or of the same node", "see the checks above, and `weft status`")
	case n == 0:
		return info("no other node holds a lease in this network")
	default:
		var words []string
		for _, s := range []control.PeerState{control.PeerOK, control.PeerNew, control.PeerSilent, control.PeerDown, control.PeerUnusable} {
			if states[s] > 0 {
				words = append(words, fmt.Sprintf("%d %s", states[s], s))
			}
		}
		text := fmt.Sprintf("%s: %s", plural(n, "peer"), strings.Join(words, ", "))
		away := states[control.PeerDown] + states[control.PeerUnusable]
		if away == n {
			return fail(text, "when all are away at once, this node is at fault more often than they", "see iface, port-policy and routes above, and the peers below")
		}
		if away+states[control.PeerSilent] > 0 {
			return warn(text, "not all peers answer", "see them below")
		}
		return pass("%s", text)
	}
}

// checkOffloadPeers names the peers that frame VXLAN in their kernel: some of
// their network cards spoil the checksums of what is inside.
func checkOffloadPeers(v *visit) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	var names []string
	for _, p := range v.Status.Peers {
		if p.Via == "vxlan" && p.Weft == "" {
			names = append(names, PeerName(p))
		}
	}
	if len(names) == 0 {
		return pass("no peer is known to frame VXLAN in its kernel")
	}
	return []control.Check{{Verdict: control.Info, Text: fmt.Sprintf("VXLAN of the kernel, as far as is known, on %s", some(names)),
		Cause: "with some network cards such a peer sends wrong checksums (`bad udp cksum`, connections that take 63 s); this node cannot cause it",
		Fix:   "if it occurs, on the peer: ethtool -K flannel.1 tx-checksum-ip-generic off"}}
}
