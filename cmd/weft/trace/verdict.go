package trace

import (
	"fmt"
	"strings"

	"weft/encap"
	engine "weft/engine/trace"
)

// A verdict is what became of a packet, in a word. The words are part of the
// JSON schema.
type verdict string

const (
	sent      verdict = "sent"      // the port took it
	sealed    verdict = "sealed"    // handed to WireGuard
	delivered verdict = "delivered" // the device took it
	consumed  verdict = "consumed"  // it was for weft itself
	reported  verdict = "reported"  // delivered although a check failed: --source-check=report
	tooBig    verdict = "too_big"   // dropped for its length
	dropped   verdict = "drop"
	unknown   verdict = "unknown" // a way that this version does not know
)

// shown is how screens spell the verdicts.
var shown = map[verdict]string{sent: "sent", sealed: "sealed", delivered: "deliv", consumed: "own", reported: "REPORT",
	tooBig: "TOOBIG", dropped: "DROP", unknown: "?"}

// judge returns the verdict on a packet.
func judge(r *engine.Record) verdict {
	switch {
	case r.Drop == encap.TooBig:
		return tooBig
	case r.Drop != encap.Delivered && r.Dir == engine.In && r.Way&engine.Written != 0:
		return reported
	case r.Drop != encap.Delivered:
		return dropped
	case r.Way&engine.Consumed != 0:
		return consumed
	case r.Way&engine.Written != 0:
		return delivered
	case r.Way&engine.Sealed != 0:
		return sealed
	case r.Way&engine.Sent != 0:
		return sent
	}
	return unknown
}

// lostPacket tells whether the packet did not get to where it was going.
func lostPacket(r *engine.Record) bool {
	v := judge(r)
	return v == dropped || v == tooBig
}

// failedAt tells which stage a packet did not pass when it was dropped for a
// reason; what is not listed fails at no stage of its own.
var failedAt = map[encap.Drop]engine.Way{
	encap.OuterSrcUnknown: engine.Known, encap.Truncated: engine.Known, encap.QueueDelay: engine.Known,
	encap.VXLANHeader: engine.Opened, encap.VXLANVNI: engine.Opened, encap.VXLANMAC: engine.Opened,
	encap.VXLANEtherType: engine.Opened, encap.VXLANPolicy: engine.Opened, encap.Neighbour: engine.Opened,
	encap.WGUnknownSession: engine.Opened, encap.WGReplay: engine.Opened, encap.WGForged: engine.Opened,
	encap.WGHandshake: engine.Opened, encap.WGMessage: engine.Opened,
	encap.Runt: engine.Parsed, encap.NotIP: engine.Parsed, encap.BadIPHeader: engine.Parsed, encap.IPLenMismatch: engine.Parsed,
	encap.BadOffload: engine.Parsed,
	encap.NoRoute:    engine.Routed, encap.OwnSubnet: engine.Routed, encap.Multicast: engine.Routed, encap.LinkLocal: engine.Routed,
	encap.InnerSrcNotLeased: engine.Checked, encap.InnerDstNotLocal: engine.Checked, encap.ClearFromWireGuard: engine.Checked,
	encap.TTLExceeded: engine.Hopped, encap.TooBig: engine.Fragmented,
	encap.NoFamily: engine.Wrapped, encap.WantsWireGuard: engine.Wrapped, encap.NotWireGuard: engine.Wrapped,
	encap.WGNoSession: engine.Sent, encap.SockFull: engine.Sent, encap.SockError: engine.Sent,
	encap.SegmentUnknown: engine.Joined, encap.TunFull: engine.Written, encap.TunError: engine.Written,
}

// reason tells why r was dropped, with the addresses that decided it.
func (n *names) reason(r *engine.Record) string {
	p, _ := decode(r.Inner())
	switch r.Drop {
	case encap.OuterSrcUnknown:
		return fmt.Sprintf("%v holds no lease", r.Remote)
	case encap.InnerSrcNotLeased:
		return fmt.Sprintf("%s, came from %s", n.whose(p.src), n.sender(r))
	case encap.InnerDstNotLocal:
		return n.whose(p.dst)
	case encap.NoRoute:
		return fmt.Sprintf("no lease covers %v", p.dst)
	case encap.VXLANVNI:
		return fmt.Sprintf("vni %d is another network's", r.VNI)
	case encap.TooBig:
		if r.Limit != 0 {
			return fmt.Sprintf("%d bytes, the path takes %d", packetLen(r, &p), r.Limit)
		}
	}
	meaning, _ := engine.Hint(r.Drop)
	if meaning == "" {
		return fmt.Sprintf("reason %d, which this weft does not know", r.Drop)
	}
	return meaning
}

// packetLen returns the bytes of one packet: of a superpacket, of one of those
// that it stands for.
func packetLen(r *engine.Record, p *packet) int {
	if r.Packets > 1 && r.Size != 0 && p.headers != 0 {
		return p.headers + int(r.Size)
	}
	return int(r.Len)
}

// sender names the node that r came from.
func (n *names) sender(r *engine.Record) string {
	if p := n.at(r.Remote.Addr()); p != nil {
		return lease(p)
	}
	return r.Remote.String()
}

// answer tells which ICMP error the packet's sender was owed; empty if none.
func answer(r *engine.Record) string {
	p, ok := decode(r.Inner())
	if r.Way&engine.Answered == 0 || !ok {
		return ""
	}
	word := "error"
	switch {
	case r.Drop == encap.TooBig && p.version == 4:
		word = fmt.Sprintf("frag-needed %d", r.Limit)
	case r.Drop == encap.TooBig:
		word = fmt.Sprintf("too big %d", r.Limit)
	case r.Drop == encap.TTLExceeded:
		word = "time exceeded"
	case r.Drop == encap.NoRoute:
		word = "unreachable"
	}
	name := "icmp"
	if p.version == 6 {
		name = "icmp6"
	}
	return fmt.Sprintf("→ %s %s to %v", name, word, p.src)
}

// what is the last column: the packet, how it is carried and what was special
// about it; of a dropped one first why.
func (n *names) what(r *engine.Record) string {
	s := inner(r)
	if r.Drop != encap.Delivered {
		s = r.Drop.String() + ": " + n.reason(r) + "; " + s
	}
	if o := outer(r); o != "" {
		s += "  " + o
	}
	if x := extras(r); len(x) > 0 {
		s += ", " + strings.Join(x, ", ")
	}
	if a := answer(r); a != "" {
		s += " " + a
	}
	return s
}

// extras are the things that do not happen to every packet.
func extras(r *engine.Record) (words []string) {
	if r.Way&engine.Fragmented != 0 && !lostPacket(r) {
		words = append(words, fmt.Sprintf("in %d fragments", r.Run))
	}
	if r.Joined > 1 {
		words = append(words, fmt.Sprintf("joined with %d more", r.Joined-1))
	}
	if r.Way&engine.Retried != 0 {
		words = append(words, "sent again")
	}
	if r.ECN == 3 {
		words = append(words, "congestion marked")
	}
	return words
}
