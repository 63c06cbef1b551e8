package status

import (
	"cmp"
	"fmt"
	"time"

	"weft/engine/control"
)

// detail is the page of one peer, in the order that `wg show` has.
func (v view) detail(p *control.Peer) []line {
	now := v.now.Time
	title := line{{"peer", bold}}
	title.add(peerName(p), normal)
	title.add(cmp.Or(join(p.Subnet, p.Subnet6), none), normal)
	var t table
	put := func(name, text string, c color) {
		if text != "" {
			t.row(cell("  "+name, bold), cell(text, c))
		}
	}
	state := string(p.State)
	if p.Reason != "" {
		state += ": " + p.Reason
	}
	put("state", state, stateColor(p.State))
	put("endpoint", endpointText(p), normal)
	put("via", viaText(p), normal)
	put("public", join(p.Public, p.Public6), normal)
	put("public key", p.Key, normal)
	put("handshake", handshakeText(now, p), normal)
	if !p.Expires.IsZero() {
		put("lease", until(now, p.Expires), normal)
	}
	put("round trip", tripText(p), normal)
	put("mtu", pathText(now, p), normal)
	put("received", trafficText(p.Received)+", last "+ago(now, p.Heard), normal)
	put("sent", trafficText(p.Sent), normal)
	if v.since() > 0 {
		put("bit/s", "rx/tx "+v.peerRates(p), normal)
	}
	if p.Weft != "" {
		put("runs", "weft "+p.Weft, normal)
	}
	if p.Observed.IsValid() {
		put("sees us as", p.Observed.String(), normal)
	}
	return append([]line{title}, t.lines()...)
}

func viaText(p *control.Peer) string {
	if p.Backend != "" && p.Backend != p.Via {
		return fmt.Sprintf("%s (its lease asks for %s)", p.Via, p.Backend)
	}
	return p.Via
}

func handshakeText(now time.Time, p *control.Peer) string {
	switch {
	case p.Answers != nil && !*p.Answers:
		return "not answered; the latest one that was: " + ago(now, p.Handshake)
	case p.Handshake.IsZero():
		return ""
	}
	return ago(now, p.Handshake)
}

func tripText(p *control.Peer) string {
	return fmt.Sprintf("%s, loss %s lately; %d of %s answered", rttText(p.RTT), lossText(p.Loss), p.Echoed, plural(p.Echoes, "echo request"))
}

func pathText(now time.Time, p *control.Peer) string {
	s := mtuText(p.MTU)
	if p.PathMTU > 0 {
		s += fmt.Sprintf(", of a path of %d", p.PathMTU)
		if !p.Probed.IsZero() {
			s += ", probed " + ago(now, p.Probed)
		}
	}
	return s
}

func trafficText(t control.Traffic) string {
	if t.Packets == 1 {
		return exactBytes(t.Bytes) + " in 1 packet"
	}
	return exactBytes(t.Bytes) + " in " + scaled(float64(t.Packets), 1000, "") + " packets"
}
