package engine

import (
	"weft/encap"
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
	n.up.drop(reason, packetsIn(p, h, o))
	if n.t.known && reason != encap.Multicast && reason != encap.LinkLocal {
		n.answer.toPod(n.dev, p, h, encap.NetUnreachable, 0)
	}
}

// tooBig deals with a packet that is longer than the limit of its path: it is
// fragmented if it may be, and its sender is told otherwise.
func (n *wgNear) tooBig(p []byte, h *encap.Header, o *encap.Offload, limit int) {
	if h.DF(p) {
		n.up.drop(encap.TooBig, packetsIn(p, h, o))
		n.answer.toPod(n.dev, p, h, encap.PacketTooBig, limit)
		return
	}
	whole, drop := n.cutter.Cut(nil, p, h, o, nil)
	if drop != encap.Delivered {
		n.up.drop(drop, packetsIn(p, h, o))
		return
	}
	for i := range whole {
		b := flatten(&whole[i], 0)
		h, drop := encap.Parse(b)
		if drop == encap.Delivered {
			n.segs, drop = n.cutter.Fragment(n.segs, b, &h, limit, nil)
		}
		if drop != encap.Delivered {
			n.up.drop(drop, 1)
		}
	}
}
