package engine

import (
	"weft/encap"
	"weft/engine/trace"
	"weft/tunnel/wg"
)

// noRoute deals with a packet for which there is no way: to is nil, or a peer
// whose lease asks for another backend. See up.noRoute.
func (n *wgNear) noRoute(to *wgPeer, p []byte, h *encap.Header, o *encap.Offload) {
	reason := unrouted(p, h, n.t.owns)
	switch {
	case reason != encap.NoRoute: // whatever a lease may claim
	case to != nil && to.key == (wg.PublicKey{}):
		reason = encap.NotWireGuard
	case to != nil: // the tunnel is not open
		reason = encap.WGNoSession
	}
	s := n.sight(to, p, h, o)
	if n.t.known && reason != encap.Multicast && reason != encap.LinkLocal {
		s.answered(n.answer.toPod(n.dev, p, h, encap.NetUnreachable, 0))
	}
	if n.tap.drop(reason, packetsIn(p, h, o)) {
		n.tap.tell(reason, packetsIn(p, h, o), s)
	}
}

// tooBig deals with a packet that is longer than the limit of its path: it is
// fragmented if it may be, and its sender is told otherwise.
func (n *wgNear) tooBig(to *wgPeer, p []byte, h *encap.Header, o *encap.Offload, limit int) {
	s := n.sight(to, p, h, o)
	if s.limit = uint16(limit); h.DF(p) {
		s.answered(n.answer.toPod(n.dev, p, h, encap.PacketTooBig, limit))
		if n.tap.drop(encap.TooBig, packetsIn(p, h, o)) {
			n.tap.tell(encap.TooBig, packetsIn(p, h, o), s)
		}
		return
	}
	whole, drop := n.cutter.Cut(nil, p, h, o, nil)
	if drop != encap.Delivered {
		if n.tap.drop(drop, packetsIn(p, h, o)) {
			n.tap.tell(drop, packetsIn(p, h, o), s)
		}
		return
	}
	for i := range whole {
		b := flatten(&whole[i], 0)
		h, drop := encap.Parse(b)
		if drop == encap.Delivered {
			n.segs, drop = n.cutter.Fragment(n.segs, b, &h, limit, nil)
		}
		if drop != encap.Delivered {
			if n.tap.drop(drop, 1) {
				n.tap.tell(drop, 1, n.sight(to, b, &h, &encap.Offload{}))
			}
		}
	}
}

// sight is what is known of a packet or superpacket from the device. to may be
// nil. The datagrams themselves are made and sent by WireGuard.
func (n *wgNear) sight(to *wgPeer, p []byte, h *encap.Header, o *encap.Offload) sight {
	s := sight{inner: p[:min(len(p), h.Len)], way: trace.Read, kind: trace.WireGuard}
	if h.Version != 0 {
		s.way |= trace.Parsed
	}
	if o.Super() {
		s.size = o.GSOSize
	}
	if to != nil {
		s.way |= trace.Routed
		s.lease, s.remote = &to.lease, to.endpoint
	}
	return s
}

// sighted notes a packet that has become segments.
func (n *wgNear) sighted(to *wgPeer, p []byte, h *encap.Header, o *encap.Offload) {
	s := n.sight(to, p, h, o)
	s.packets, s.run, s.ecn = packetsIn(p, h, o), uint16(len(n.segs)), n.head.ECN
	if limit := int(to.seen.inner.Load()); limit > 0 && encap.PacketSize(p, h, o) > limit {
		s.way |= trace.Fragmented
		s.limit = uint16(limit)
	} else if len(n.segs) > 1 {
		s.way |= trace.Segmented
	}
	n.tap.see(s)
}

// opened is what is known of a packet that WireGuard has opened and
// authenticated. from may be nil.
func opened(from *wgPeer, p []byte, ecn uint8) sight {
	s := sight{inner: p, packets: 1, ecn: ecn, kind: trace.WireGuard,
		way: trace.Received | trace.Known | trace.Opened | trace.Parsed | trace.Checked}
	if from != nil {
		s.lease, s.remote = &from.lease, from.endpoint
	}
	return s
}
