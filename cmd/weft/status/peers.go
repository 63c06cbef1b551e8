package status

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"

	"weft/engine/control"
)

// peerName is how a peer is called: where it is.
func peerName(p *control.Peer) string { return cmp.Or(p.Label(), none) }

// stateColor is how a peer's state looks.
func stateColor(s control.PeerState) color {
	switch s {
	case control.PeerOK:
		return green
	case control.PeerNew, control.PeerSilent:
		return yellow
	}
	return red
}

// peers is a row for each peer. A second subnet has a row of its own, so that the
// columns stay as narrow as they can.
func (v view) peers() table {
	rates := v.since() > 0
	t := table{{}}
	for _, h := range []string{"PEER", "SUBNET", "ENDPOINT", "VIA", "STATE", "RTT", "LOSS", "MTU", "RX/TX"} {
		t[0] = append(t[0], cell(h, bold))
	}
	if rates {
		t[0] = append(t[0], cell("BIT/S", bold))
	}
	t[0] = append(t[0], cell("LAST RX", bold), span{})
	for i := range v.now.Peers {
		p := &v.now.Peers[i]
		first, second := p.Subnet, p.Subnet6
		if !first.IsValid() {
			first, second = second, netip.Prefix{}
		}
		row := []span{cell(peerName(p), normal), cell(prefixText(first), normal), cell(endpointText(p), normal), cell(p.Via, normal),
			cell(string(p.State), stateColor(p.State)), cell(rttText(p.RTT), normal), cell(lossText(p.Loss), lossColor(p.Loss)),
			cell(mtuText(p.MTU), normal), cell(bytesText(p.Received.Bytes)+"/"+bytesText(p.Sent.Bytes), normal)}
		if rates {
			row = append(row, cell(v.peerRates(p), normal))
		}
		t.row(append(row, cell(age(v.now.Time, p.Heard), normal), cell(p.Reason, stateColor(p.State)))...)
		if second.IsValid() {
			t.row(span{}, cell(second.String(), normal), span{})
		}
	}
	return t
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return none
	}
	return p.String()
}

// endpointText is where a peer's datagrams go; with direct routing there are
// none, and the node itself is the next hop.
func endpointText(p *control.Peer) string {
	switch {
	case p.Endpoint.IsValid():
		return p.Endpoint.String()
	case p.Public.IsValid():
		return p.Public.String()
	case p.Public6.IsValid():
		return p.Public6.String()
	}
	return none
}

func mtuText(mtu int) string {
	if mtu == 0 {
		return none
	}
	return strconv.Itoa(mtu)
}

func lossColor(f *float64) color {
	if f != nil && *f > 0 {
		return yellow
	}
	return normal
}

// peerRates is what came from and went to p a second since the answer before.
func (v view) peerRates(p *control.Peer) string {
	for i := range v.before.Peers {
		b := &v.before.Peers[i]
		if b.Subnet == p.Subnet && b.Subnet6 == p.Subnet6 {
			bits := func(before, now control.Traffic) string {
				return scaled(rise(before.Bytes, now.Bytes)*8/v.since(), 1000, "")
			}
			return bits(b.Received, p.Received) + "/" + bits(b.Sent, p.Sent)
		}
	}
	return none
}

// refused is a row for each lease that is no peer.
func (v view) refused() table {
	t := table{{cell("REFUSED LEASE", bold), cell("NODE", bold), cell("BACKEND", bold), cell("REASON", bold)}}
	for _, r := range v.now.Refused {
		t.row(cell(cmp.Or(join(r.Subnet, r.Subnet6), none), normal), cell(cmp.Or(join(r.Public, r.Public6), none), normal),
			cell(r.Backend, normal), cell(r.Reason, red))
	}
	return t
}

// findPeer returns the peer that text names. The error of a node whose lease is
// refused says why that is.
func findPeer(s *control.Status, text string) (*control.Peer, error) {
	p, err := control.FindPeer(s.Peers, text)
	if err == nil {
		return &p, nil
	}
	prefix, prefixErr := netip.ParsePrefix(text)
	addr, addrErr := netip.ParseAddr(text)
	for _, r := range s.Refused {
		if prefixErr == nil && (r.Subnet == prefix.Masked() || r.Subnet6 == prefix.Masked()) || addrErr == nil && (r.Public == addr || r.Public6 == addr) {
			return nil, &control.Error{Message: fmt.Sprintf("peer: the lease of %s is refused: %s", text, r.Reason), Field: "peer"}
		}
	}
	return nil, err
}
