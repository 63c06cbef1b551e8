package doctor

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weft/engine/control"
)

// An Answer is what became of a probe.
type Answer uint8

// The answers.
const (
	NotTried Answer = iota // it was not possible, or made no sense
	Answered
	Silent
)

// String returns the answer as a mark in a line.
func (a Answer) String() string { return [...]string{"–", "✓", "✗"}[a] }

// A PeerProbe is what a peer answered.
type PeerProbe struct {
	Small     Answer // a short echo through the tunnel
	Large     Answer // one of LargeSize, which may not be fragmented
	LargeSize int    // bytes of that inner packet
	Underlay  Answer // an ICMP echo from node to node, outside the tunnel
	// Random and VXLAN are datagrams to the peer's port that it can answer:
	// one whose bytes look like nothing, one that looks like VXLAN.
	Random   Answer
	VXLAN    Answer
	Observed netip.AddrPort // our own address as the peer sees it, if it told
	Note     string         // why probes were not tried, or what went wrong with them
}

const (
	peerID  = "peer"
	stateID = "peer-state"
)

// peerRows are the checks of a peer.
var peerRows = []peerRow{
	{peerID, "what is known of a peer, in a line", checkPeer},
	{stateID, "it answers, and if not how far packets get", checkPeerState},
	{"peer-vxlan", "nothing on the path eats datagrams that look like VXLAN", checkPeerVXLAN},
	{"peer-mtu", "long packets reach it", checkPeerMTU},
	{"peer-handshake", "its WireGuard session is fresh", checkPeerHandshake},
	{"peer-source", "it sends from the address that its lease names", checkPeerSource},
	{"peer-lease", "its lease has not expired", checkPeerLease},
	{"peer-route", "the underlay interface is the way to it", checkPeerRoute},
}

// handshakeOld is longer than a WireGuard session may be used: REJECT_AFTER_TIME
// is 180 s (WireGuard whitepaper, 6.1).
const handshakeOld = 180 * time.Second

// checkPeer makes the row of facts. The verdict is that of the peer's state.
func checkPeer(v *visit, p control.Peer, r PeerProbe) []control.Check {
	c := control.Check{Verdict: control.Pass}
	switch p.State {
	case control.PeerDown, control.PeerUnusable:
		c.Verdict = control.Fail
	case control.PeerSilent:
		c.Verdict = control.Warn
	case control.PeerNew:
		c.Verdict = control.Info
	}
	words := []string{string(p.State), "via " + cmp.Or(p.Via, "nothing")}
	if p.RTT != nil {
		words = append(words, fmt.Sprintf("rtt %.1f ms", *p.RTT*1e3))
	}
	if r.Small != NotTried || r.Large != NotTried || r.Underlay != NotTried {
		words = append(words, fmt.Sprintf("echo %s", r.Small), fmt.Sprintf("large %s", r.Large), fmt.Sprintf("underlay %s", r.Underlay))
	}
	if r.Random != NotTried || r.VXLAN != NotTried {
		words = append(words, fmt.Sprintf("random %s  vxlan-shaped %s", r.Random, r.VXLAN))
	}
	pmtu := "–"
	if p.PathMTU > 0 {
		pmtu = fmt.Sprint(p.PathMTU)
	}
	words = append(words, "pmtu "+pmtu)
	if r.Note != "" {
		words = append(words, "("+r.Note+")")
	}
	c.Text = strings.Join(words, "  ")
	return []control.Check{c}
}

// checkPeerState names the first layer at which packets do not arrive.
func checkPeerState(v *visit, p control.Peer, r PeerProbe) []control.Check {
	reason := func(text string) string {
		if p.Reason != "" {
			text += " (" + p.Reason + ")"
		}
		return text
	}
	switch {
	case r.VXLAN == Silent && r.Random == Answered:
		return nil // checkPeerVXLAN knows better
	case v.holder(p.Public) != "" && p.State != control.PeerOK:
		return nil // checkPeerRoute knows better: who answered is this host
	case p.State == control.PeerUnusable:
		return fail("nothing can be sent to it", cmp.Or(p.Reason, "its lease cannot be used"), "put its lease or its backend right; see `weft status --peer "+v.name(p)+"`")
	case p.State == control.PeerDown && r.Small == Answered:
		return info("it was down, and answers now")
	case p.State != control.PeerOK && r.Small == Silent && v.heir(p) != "":
		return fail(fmt.Sprintf("nobody answers for it, though %s answers for another lease, %s", addresses(p.Public, p.Public6), v.heir(p)),
			"the host got another subnet and left this lease behind, or two hosts have one address; what is sent there is lost",
			"if it is one host, delete the lease "+prefixes(p.Subnet, p.Subnet6)+" from the store, or wait for its end")
	case p.State != control.PeerOK && r.Small == Silent && v.refused(p) != "":
		return fail("it sends, and what it sends is dropped here: "+v.refused(p), "the two nodes do not agree on how packets are framed, or on who has which address",
			"see the checks of what is dropped above, and `weft drops`")
	case p.State == control.PeerDown && r.Underlay == Silent:
		return fail("the host does not answer, inside or outside the tunnel", reason("it is off, or the network between is broken"), "ping "+addresses(p.Public, p.Public6)+"; if the host is gone for good, delete its lease from the store")
	case p.State == control.PeerDown && r.Underlay == Answered:
		return fail("the host answers, the tunnel does not", reason("its daemon does not run, or a firewall on the way drops "+endpoint(p)),
			"on the peer: is its flanneld running, and does its firewall let "+port(p)+" in?")
	case p.State == control.PeerDown:
		return fail("it neither answers nor sends", reason("it is off, its daemon does not run, or a firewall drops"), "weft ping "+v.name(p))
	case p.State == control.PeerSilent && r.Small == Silent && r.Random == Silent:
		return fail("it sends, but nothing that is sent to it is answered", "a firewall there, on the way or here drops "+port(p)+", or its daemon died half a minute ago or less",
			"on the peer: is its daemon running, and does its firewall let "+port(p)+" in? weft doctor on the two hosts names the rule, as port-policy")
	case p.State == control.PeerSilent && r.Small == NotTried:
		return warn("it sends, but did not answer the node's latest echoes", "its kernel or a firewall drops ICMP, or our packets do not reach it", "weft ping "+v.name(p))
	case p.State == control.PeerSilent && r.Small == Silent:
		return warn("it sends, but does not answer echoes", "its kernel or a firewall drops ICMP, or our packets do not reach it", "weft ping "+v.name(p))
	case p.State == control.PeerOK && r.Small == Silent:
		return warn("it does not answer echoes now", "it has just gone, or drops some of them", "weft ping "+v.name(p))
	}
	return nil
}

// endpoint says where the peer's datagrams go.
func endpoint(p control.Peer) string {
	if p.Endpoint.IsValid() {
		return "datagrams to " + p.Endpoint.String()
	}
	return "its datagrams"
}

func port(p control.Peer) string {
	if p.Endpoint.IsValid() {
		return fmt.Sprintf("udp port %d", p.Endpoint.Port())
	}
	return "its port"
}

func checkPeerVXLAN(v *visit, p control.Peer, r PeerProbe) []control.Check {
	if r.VXLAN != Silent || r.Random != Answered {
		return nil
	}
	return fail("other datagrams arrive, those that look like VXLAN do not",
		"a device on the path takes VXLAN for its own and drops it (VMware NSX and some network cards do so on port 8472)",
		"choose another Backend.Port in net-conf.json, as 8473, or the udp or wireguard backend")
}

func checkPeerMTU(v *visit, p control.Peer, r PeerProbe) []control.Check {
	n := v.Status.Node
	const hole = "a link on the path is narrower, and its `fragmentation needed` messages are filtered out: a black hole"
	switch {
	case r.Small == Answered && r.Large == Silent && p.MTU > 0 && p.MTU < r.LargeSize:
		return warn(fmt.Sprintf("short packets arrive, those of %d bytes do not; packets to it are held to %d, and senders are told", r.LargeSize, p.MTU),
			hole, "let ICMP type 3 code 4 pass on the path, or widen it; senders that ignore `too big` need a lower Backend.MTU in net-conf.json")
	case r.Small == Answered && r.Large == Silent:
		return fail(fmt.Sprintf("short packets arrive, those of %d bytes do not", r.LargeSize),
			hole, fmt.Sprintf("let ICMP type 3 code 4 pass on the path, or lower Backend.MTU in net-conf.json; weft ping %s --sweep finds the size", v.name(p)))
	case p.MTU > 0 && p.MTU < n.MTU:
		return info("packets to it may have %d bytes, the device's MTU is %d: longer ones are answered with `too big`", p.MTU, n.MTU)
	}
	return nil
}

func checkPeerHandshake(v *visit, p control.Peer, _ PeerProbe) []control.Check {
	if p.Via != "wireguard" {
		return nil
	}
	refused := p.Answers != nil && !*p.Answers
	old := v.Now().Sub(p.Handshake)
	const fix = "compare its public key in the lease with `wg show` there, and the PSK of both; udp to its port must pass both ways"
	switch {
	case refused && p.Handshake.IsZero():
		return fail("it never answered a handshake", "its key is not the lease's, the PSK differs, its clock went back, or datagrams do not arrive", fix)
	case refused:
		return fail(fmt.Sprintf("it does not answer handshakes; the last is %s old", span(old)), "its key changed, or datagrams do not arrive any more", fix)
	case !p.Handshake.IsZero() && old > handshakeOld && p.Sent.Packets > 0 && v.Now().Sub(p.Heard) > handshakeOld:
		return info("the last handshake is %s old: nothing was to be sent since", span(old))
	}
	return nil
}

func checkPeerSource(v *visit, p control.Peer, _ PeerProbe) []control.Check {
	from := v.sentFrom(p)
	registered := ofFamily(from, p.Public, p.Public6)
	if !from.IsValid() || from == registered {
		return nil
	}
	return fail(fmt.Sprintf("its packets come from %s, its lease says %s", from, addresses(registered)),
		"it has several interfaces and sends by another one, or an address translator lies between; the packets are dropped",
		fmt.Sprintf("start it with --iface or --public-ip for %s; or this node with --source-check=report", from))
}

func checkPeerLease(v *visit, p control.Peer, _ PeerProbe) []control.Check {
	if p.Expires.IsZero() || p.Expires.After(v.Now()) {
		return nil
	}
	return warn(fmt.Sprintf("its lease expired %s ago and is still there", span(v.Now().Sub(p.Expires))),
		"the node is gone or cannot reach the store, and the store has not removed the lease; clocks may differ",
		"look at that node; if it is gone for good, delete its lease from the store")
}

func checkPeerRoute(v *visit, p control.Peer, _ PeerProbe) []control.Check {
	for _, a := range []netip.Addr{p.Public, p.Public6} {
		if !a.IsValid() || p.State == control.PeerUnusable {
			continue
		}
		if link := v.holder(a); link != "" {
			return fail(fmt.Sprintf("%s is this host's own, on %s: what is for the peer stays here", a, link),
				"its lease names an address that every such machine has, as that of Vagrant's first interface (10.0.2.15), or one that was given twice",
				"start that node with --iface or --public-ip for an address of its own that others reach")
		}
		r, err := v.System.RouteTo(a)
		switch {
		case err != nil:
			return fail(fmt.Sprintf("this host has no route to %s: %v", a, err), "the underlay is down, or a route is missing", "ip route get "+a.String())
		case slices.Contains(v.devices(), r.Link):
			return fail(fmt.Sprintf("%s is reached through %s, the tunnel itself", a, r.Link), "its address lies inside the overlay network", "start that node with another --public-ip, or choose another Network")
		case r.Link != v.Status.Node.Iface && r.Link != "lo" && v.Status.Node.Iface != "":
			return warn(fmt.Sprintf("the kernel reaches %s by %s, the node's interface is %s", a, r.Link, v.Status.Node.Iface),
				"the node chose another interface than the one that leads to its peers", "start it with --iface="+r.Link+", or --iface-can-reach="+a.String())
		}
	}
	return nil
}

// holder names the link of this host that has a peer's address; empty: none
// has, or it is loopback's, where the nodes of a test live together.
func (v *visit) holder(a netip.Addr) string {
	links, err := v.links()
	if err != nil || a.IsLoopback() {
		return ""
	}
	if list := holders(links, a); len(list) > 0 {
		return list[0].Name
	}
	return ""
}
