package metrics

import (
	"cmp"
	"slices"
	"time"

	"weft/engine/control"
)

// storeMetrics are about the leases.
var storeMetrics = []metric{
	{"weft_leases", gauge, nil, "Leases in the store, the node's own included.",
		one(func(s *snapshot) float64 { return float64(s.Store.Leases) })},
	{"weft_leases_refused", gauge, nil, "Leases that are not believed or cannot be used; `weft status` says why.",
		one(func(s *snapshot) float64 { return float64(len(s.Refused)) })},
	{"weft_lease_expiry_timestamp_seconds", gauge, nil, "When the node's own lease expires unless it is renewed; no sample if it never does.",
		func(s *snapshot, out sink) { moment(out, s.Store.Expires) }},
	{"weft_lease_store_connected", gauge, []string{"kind"}, "1 if the latest exchange with the lease store succeeded.",
		func(s *snapshot, out sink) { out(is(s.Store.Connected), s.Store.Kind) }},
	{"weft_lease_store_last_contact_timestamp_seconds", gauge, nil, "When an exchange with the lease store last succeeded.",
		func(s *snapshot, out sink) { moment(out, s.Store.Contact) }},
	{"weft_lease_store_last_change_timestamp_seconds", gauge, nil, "When the set of leases last changed.",
		func(s *snapshot, out sink) { moment(out, s.Store.Changed) }},
	{"weft_lease_store_clock_skew_seconds", gauge, nil, "How far the lease store's clock is ahead of the node's, if it can be told.",
		func(s *snapshot, out sink) { known(out, s.Store.ClockSkew) }},
}

// peerLabels name a peer: its public address and its subnet, IPv4 where it has
// both.
var peerLabels = []string{"peer", "subnet"}

// peerMetrics are about the other nodes.
var peerMetrics = []metric{
	{"weft_peers", gauge, []string{"state"}, "Peers by state: ok, new (not enough is known yet), silent (it sends but does not answer echoes), down, unusable (nothing can be sent to it).",
		peersByState},
	{"weft_peer_series_omitted", gauge, nil, "Peers that have no series of their own, because there are more than the bound.",
		one(func(s *snapshot) float64 { return float64(s.omitted) })},
	{"weft_peer_info", gauge, append(slices.Clone(peerLabels), "backend", "via", "endpoint", "weft"),
		"Always 1; the labels say what is known of the peer: how its lease asks to be reached, how it is, where, and its version if it is a weft node.",
		func(s *snapshot, out sink) {
			for _, p := range s.shown {
				endpoint := ""
				if p.Endpoint.IsValid() {
					endpoint = p.Endpoint.String()
				}
				out(1, p.peer, p.subnet, p.Backend, p.Via, endpoint, p.Weft)
			}
		}},
	{"weft_peer_up", gauge, peerLabels, "1 if the peer answers or sends, 0 if it does not or cannot be sent to; no sample while too little is known.",
		ofPeer(func(p *control.Peer, out func(float64)) {
			if p.State != control.PeerNew {
				out(is(p.State == control.PeerOK || p.State == control.PeerSilent))
			}
		})},
	{"weft_peer_rtt_seconds", gauge, peerLabels, "Round-trip time of the latest echo that was answered.",
		ofPeer(func(p *control.Peer, out func(float64)) { knownTo(out, p.RTT) })},
	{"weft_peer_probe_loss_ratio", gauge, peerLabels, "Part of the latest echoes that was not answered, 0 to 1.",
		ofPeer(func(p *control.Peer, out func(float64)) { knownTo(out, p.Loss) })},
	{"weft_peer_probes_total", counter, peerLabels, "Echoes sent to the peer.",
		ofPeer(func(p *control.Peer, out func(float64)) { out(float64(p.Echoes)) })},
	{"weft_peer_probe_answers_total", counter, peerLabels, "Echoes that the peer answered.",
		ofPeer(func(p *control.Peer, out func(float64)) { out(float64(p.Echoed)) })},
	{"weft_peer_mtu_bytes", gauge, peerLabels, "Longest inner packet that is sent to the peer.",
		ofPeer(func(p *control.Peer, out func(float64)) { size(out, p.MTU) })},
	{"weft_peer_path_mtu_bytes", gauge, peerLabels, "Longest outer packet that was seen to pass to the peer; no sample if that is not known.",
		ofPeer(func(p *control.Peer, out func(float64)) { size(out, p.PathMTU) })},
	{"weft_peer_sent_packets_total", counter, peerLabels, "Inner packets sent to the peer.",
		ofPeer(func(p *control.Peer, out func(float64)) { out(float64(p.Sent.Packets)) })},
	{"weft_peer_sent_bytes_total", counter, peerLabels, "Bytes of the inner packets sent to the peer.",
		ofPeer(func(p *control.Peer, out func(float64)) { out(float64(p.Sent.Bytes)) })},
	{"weft_peer_received_packets_total", counter, peerLabels, "Inner packets received from the peer.",
		ofPeer(func(p *control.Peer, out func(float64)) { out(float64(p.Received.Packets)) })},
	{"weft_peer_received_bytes_total", counter, peerLabels, "Bytes of the inner packets received from the peer.",
		ofPeer(func(p *control.Peer, out func(float64)) { out(float64(p.Received.Bytes)) })},
	{"weft_peer_heard_timestamp_seconds", gauge, peerLabels, "When something last came from the peer; no sample if nothing ever did.",
		ofPeer(func(p *control.Peer, out func(float64)) { momentTo(out, p.Heard) })},
	{"weft_peer_handshake_timestamp_seconds", gauge, peerLabels, "When the WireGuard session with the peer was agreed on; no sample without one.",
		ofPeer(func(p *control.Peer, out func(float64)) { momentTo(out, p.Handshake) })},
	{"weft_peer_lease_expiry_timestamp_seconds", gauge, peerLabels, "When the peer's lease expires unless it is renewed; no sample if it never does.",
		ofPeer(func(p *control.Peer, out func(float64)) { momentTo(out, p.Expires) })},
}

// A shownPeer is a peer with series of its own.
type shownPeer struct {
	*control.Peer
	peer, subnet string // the values of its labels
}

// choose takes at most limit peers, always the same ones of the same peers: the
// first by subnet. Two of the same labels would spoil the scrape, so the second
// counts as omitted.
func choose(peers []control.Peer, limit int) (shown []shownPeer, omitted int) {
	sorted := make([]*control.Peer, len(peers))
	for i := range peers {
		sorted[i] = &peers[i]
	}
	slices.SortStableFunc(sorted, func(a, b *control.Peer) int {
		return cmp.Or(a.Subnet.Addr().Compare(b.Subnet.Addr()), a.Subnet6.Addr().Compare(b.Subnet6.Addr()), a.Public.Compare(b.Public))
	})
	type labels struct{ peer, subnet string }
	seen := map[labels]bool{}
	for _, p := range sorted {
		l := labels{cmp.Or(addr(p.Public), addr(p.Public6)), cmp.Or(text(p.Subnet), text(p.Subnet6))}
		if len(shown) >= limit || seen[l] {
			omitted++
			continue
		}
		seen[l] = true
		shown = append(shown, shownPeer{p, l.peer, l.subnet})
	}
	return shown, omitted
}

// ofPeer makes a reader of a metric that each peer has at most once.
func ofPeer(read func(*control.Peer, func(float64))) func(*snapshot, sink) {
	return func(s *snapshot, out sink) {
		for _, p := range s.shown {
			read(p.Peer, func(v float64) { out(v, p.peer, p.subnet) })
		}
	}
}

func peersByState(s *snapshot, out sink) {
	n := map[control.PeerState]int{}
	for _, p := range s.Peers {
		n[p.State]++
	}
	for _, st := range [...]control.PeerState{control.PeerOK, control.PeerNew, control.PeerSilent, control.PeerDown, control.PeerUnusable} {
		out(float64(n[st]), string(st))
	}
}

// What is not known has no sample.

func momentTo(out func(float64), t time.Time) {
	if !t.IsZero() {
		out(float64(t.UnixNano()) / 1e9)
	}
}

func moment(out sink, t time.Time) { momentTo(func(v float64) { out(v) }, t) }

func knownTo(out func(float64), v *float64) {
	if v != nil {
		out(*v)
	}
}

func known(out sink, v *float64) { knownTo(func(x float64) { out(x) }, v) }

func size(out func(float64), bytes int) {
	if bytes > 0 {
		out(float64(bytes))
	}
}
