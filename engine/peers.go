package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"weft/encap"
	"weft/engine/control"
	"weft/engine/probe"
)

// peers tells of every peer, in the order of their leases.
func (n *Node) peers(p dataPlane, set leaseState, now time.Time) []control.Peer {
	all := []control.Peer{}
	fars, users, at := p.fars(true), map[*path]int{}, map[string]int{}
	for _, to := range fars {
		users[to.path]++
	}
	for _, to := range fars {
		to.shared = users[to.path] > 1
		one := n.peer(&to, set, now)
		if i, known := at[to.lease.Key()]; known {
			join(&all[i], &one)
			continue
		}
		at[to.lease.Key()] = len(all)
		all = append(all, one)
	}
	slices.SortStableFunc(all, func(a, b control.Peer) int { return a.Subnet.Compare(b.Subnet) })
	return all
}

// gravity orders the states of a peer.
var gravity = map[control.PeerState]int{control.PeerOK: 0, control.PeerNew: 1, control.PeerSilent: 2, control.PeerDown: 3, control.PeerUnusable: 4}

// join makes p the one line for a node that is reached in a second way, q, which
// is for its IPv6 subnet alone: the sums, and the graver of the two states.
func join(p, q *control.Peer) {
	p.Sent.Packets, p.Sent.Bytes = p.Sent.Packets+q.Sent.Packets, p.Sent.Bytes+q.Sent.Bytes
	p.Received.Packets, p.Received.Bytes = p.Received.Packets+q.Received.Packets, p.Received.Bytes+q.Received.Bytes
	p.Echoes, p.Echoed = p.Echoes+q.Echoes, p.Echoed+q.Echoed
	if q.Heard.After(p.Heard) {
		p.Heard = q.Heard
	}
	if q.Reason == "" || gravity[q.State] < gravity[p.State] || q.State == p.State && p.Reason != "" {
		return
	}
	p.State, p.Reason = q.State, "IPv6: "+q.Reason
	if q.State == control.PeerOK { // its path is narrower than it should be
		p.MTU, p.PathMTU, p.Probed = q.MTU, q.PathMTU, q.Probed
	}
}

// direct is the Via of a peer to which the kernel routes packets past the tunnel.
const direct = "direct"

// peer tells of one.
func (n *Node) peer(to *far, set leaseState, now time.Time) control.Peer {
	l, key := to.lease, to.key
	p := control.Peer{Subnet: l.Subnet, Subnet6: l.Subnet6, Public: shown(l.Attrs.PublicIP), Public6: shown(l.Attrs.PublicIPv6),
		Backend: kindOf(l), Via: to.via, Endpoint: to.endpoint, Expires: set.expires[l.Key()].UTC(), VNI: to.vni, MTU: to.mtu}
	if to.direct {
		p.Via = direct
	}
	if to.path != nil {
		p.Sent, p.Received = to.path.sent.traffic(), to.path.got.traffic()
		if at := to.path.heard.Load(); at > 0 {
			p.Heard = time.Unix(0, at).UTC()
		}
	}
	if w := to.wg; w != nil {
		p.Key, p.Answers = w.Key.String(), &w.Answers
		if !w.Handshake.IsZero() {
			p.Handshake = w.Handshake.UTC()
		}
	}
	s, known := probe.State{}, false
	if n.prober != nil {
		s, known = n.prober.State(key)
	}
	if known {
		p.Echoes, p.Echoed, p.Weft, p.Observed, p.Probed = s.Sent, s.Answered, s.Weft, s.Observed, s.Probed.UTC()
		if s.PathMTU > 0 {
			p.PathMTU = s.PathMTU + to.overhead
		}
		p.RTT, p.Loss = seconds(s.RTT, s.Answered > 0), ratio(s.Loss, s.Window >= lossWindow || s.Window > 0 && s.Answered == 0)
		if s.LastAnswer.After(p.Heard) {
			p.Heard = s.LastAnswer.UTC()
		}
	}
	p.State, p.Reason = judgePeer(to, &p, &s, now)
	return p
}

// lossWindow is how many echoes make a loss ratio: before that one echo that came
// too early, while the peer was starting, would look like a bad path.
const lossWindow = 5

// recent is how long after its last packet a peer counts as one that sends.
const recent = 30 * time.Second

// sends tells whether a peer sends although it does not answer: something came
// later than its latest answer, by more than echoes take. What comes from an
// address that several leases name is not known to be its own.
func (f *far) sends(s *probe.State, now time.Time) bool {
	if f.path == nil || f.shared && s.Answered == 0 {
		return false
	}
	at := time.Unix(0, f.path.heard.Load())
	return now.Sub(at) < recent && at.Sub(s.LastAnswer) > 3*time.Second
}

const unanswered = "it does not answer handshakes: it is down, its key or PSK is another, or UDP is dropped on the way"

// judgePeer gives a peer its state, and says why it is not ok.
func judgePeer(to *far, p *control.Peer, s *probe.State, now time.Time) (control.PeerState, string) {
	sends := to.sends(s, now)
	switch {
	case to.drop != encap.Delivered:
		return control.PeerUnusable, to.drop.String() + ": " + to.why
	case s.Alive && s.Limit > 0 && s.PathMTU > 0 && int(to.path.probed.Load()) > 0:
		return control.PeerOK, fmt.Sprintf("the path carries %d bytes only, and nobody says so: packets are held to %d inside", p.PathMTU, to.mtu)
	case s.Alive:
		return control.PeerOK, ""
	case s.FirstTried.IsZero() && to.sends(s, now):
		return control.PeerOK, ""
	case s.FirstTried.IsZero() && p.Answers != nil && !*p.Answers && to.path.sent.packets.Load() > 0:
		return control.PeerDown, unanswered
	case s.FirstTried.IsZero() || s.Window == 0 && now.Sub(s.FirstTried) < recent:
		return control.PeerNew, ""
	case s.SendErr != nil && !sends:
		return control.PeerDown, "echoes cannot be sent: " + s.SendErr.Error()
	case sends:
		return control.PeerSilent, "it sends packets but does not answer echoes: its kernel or a firewall drops ICMP, or nothing of ours reaches it"
	case p.Answers != nil && !*p.Answers:
		return control.PeerDown, unanswered
	case s.LastAnswer.IsZero():
		return control.PeerDown, "it has never answered"
	}
	return control.PeerDown, "no answer for " + now.Sub(s.LastAnswer).Round(time.Second).String()
}

// traffic is what was counted.
func (f *flow) traffic() control.Traffic {
	return control.Traffic{Packets: f.packets.Load(), Bytes: f.bytes.Load()}
}

// seconds and ratio are null in JSON where nothing is known.
func seconds(d time.Duration, known bool) *float64 { return ratio(d.Seconds(), known) }

func ratio(x float64, known bool) *float64 {
	if !known {
		return nil
	}
	return &x
}

// plural counts things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// parseUint reads a decimal number; 0 if it is none.
func parseUint(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// ownAddrs are our tunnel addresses, IPv4 and IPv6, as far as there are any.
func (r *running) ownAddrs() [2]netip.Addr {
	return [2]netip.Addr{tunnelAddr(r.own.Subnet), tunnelAddr(r.own.Subnet6)}
}
