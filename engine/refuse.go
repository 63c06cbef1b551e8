package engine

import (
	"net/netip"

	"weft/encap"
	"weft/engine/trace"
	"weft/tunnel"
)

// What happens to packets that cannot simply go on: they are counted under a
// reason, and where a router would tell their sender, so does weft. All of it
// is off the hot path and may allocate.

// packetsIn is the number of packets that p stands for.
func packetsIn(p []byte, h *encap.Header, o *encap.Offload) int {
	if !o.Super() || o.GSOSize == 0 {
		return 1
	}
	headers := encap.PacketSize(p, h, o) - int(o.GSOSize)
	return max(1, (h.Len-headers+int(o.GSOSize)-1)/int(o.GSOSize))
}

// noRoute deals with a packet that no lease covers, or whose peer is sealed or
// cannot be reached by any port of ours. Multicast and link-local packets are
// what a kernel emits by itself on any device; nobody waits for an answer to
// them. Nor is there one before the leases were listed for the first time: the
// peer may well exist.
func (u *up) noRoute(to *peer, p []byte, h *encap.Header, o *encap.Offload) {
	reason := unrouted(p, h, u.t.owns)
	switch {
	case to != nil && to.sealed:
		reason = encap.WantsWireGuard
	case to != nil:
		reason = encap.NoFamily
	}
	s := u.sight(to, p, h, o)
	if u.t.known && reason != encap.Multicast && reason != encap.LinkLocal {
		s.answered(u.answer.toPod(u.dev, p, h, encap.NetUnreachable, 0))
	}
	if u.tap.drop(reason, packetsIn(p, h, o)) {
		u.tap.tell(reason, packetsIn(p, h, o), s)
	}
}

// unrouted says why there is no way for a packet: multicast and link-local ones
// are what a kernel emits by itself on any device, and nobody waits for an
// answer to them.
func unrouted(p []byte, h *encap.Header, owns func(netip.Addr) bool) encap.Drop {
	dst := h.Dst(p)
	switch {
	case dst.IsMulticast(), dst == broadcast:
		return encap.Multicast
	case dst.IsLinkLocalUnicast(), h.Src(p).IsLinkLocalUnicast():
		return encap.LinkLocal
	case owns(dst):
		return encap.OwnSubnet
	}
	return encap.NoRoute
}

// expired deals with a packet whose TTL ends here on its way up.
func (u *up) expired(to *peer, p []byte, h *encap.Header, o *encap.Offload) {
	s := u.sight(to, p, h, o)
	s.answered(u.answer.toPod(u.dev, p, h, encap.TimeExceeded, 0))
	if u.tap.drop(encap.TTLExceeded, packetsIn(p, h, o)) {
		u.tap.tell(encap.TTLExceeded, packetsIn(p, h, o), s)
	}
}

// tooBig deals with a packet that is longer than the limit of its path: it is
// fragmented if it may be, and its sender is told otherwise.
func (u *up) tooBig(to *peer, p []byte, h *encap.Header, o *encap.Offload, limit int) {
	s := u.sight(to, p, h, o)
	if s.limit = uint16(limit); h.DF(p) {
		s.answered(u.answer.toPod(u.dev, p, h, encap.PacketTooBig, limit))
		if u.tap.drop(encap.TooBig, packetsIn(p, h, o)) {
			u.tap.tell(encap.TooBig, packetsIn(p, h, o), s)
		}
		return
	}
	if to.framing.codec.Routes() && !encap.DecrementTTL(p) {
		u.expired(to, p, h, o)
		return
	}
	if to.framing.codec.Routes() {
		s.way |= trace.Hopped
	}
	l := u.lane(to, p, h)
	segs, drop := u.cutter.Cut(nil, p, h, o, nil)
	if drop != encap.Delivered {
		if u.tap.drop(drop, packetsIn(p, h, o)) {
			u.tap.tell(drop, packetsIn(p, h, o), s)
		}
		return
	}
	if u.tap.live() {
		s.packets = packetsIn(p, h, o)
		s.way |= trace.Wrapped
		u.tap.see(s)
	}
	for i := range segs {
		u.fragment(&l, flatten(&segs[i], 0), limit, len(u.tap.sights)-1)
	}
}

// fragment adds the fragments of the finished packet p, which is one of the
// sight i, to the runs.
func (u *up) fragment(l *lane, p []byte, limit, i int) {
	h, drop := encap.Parse(p)
	if drop == encap.Delivered {
		u.segs, drop = u.cutter.Fragment(u.segs[:0], p, &h, limit, l.peer.prefix)
	}
	if drop != encap.Delivered {
		u.tap.lost(i, drop, u.sight(l.peer, p, &h, &encap.Offload{}))
		return
	}
	for _, s := range u.segs {
		u.runs.add(l, s)
	}
	if u.tap.live() {
		u.tap.claim(len(u.runs.segs), i)
		u.tap.sights[i].fragments(len(u.segs))
	}
}

// flatten copies a segment without its first skip bytes into one slice.
func flatten(s *encap.Segment, skip int) []byte {
	b := make([]byte, 0, s.Len())
	return append(append(b, s.Head...), s.Body...)[skip:]
}

// expired deals with a packet whose TTL ends here on its way down. Its sender
// is behind the peer it came from, so the answer goes back through the tunnel.
func (d *down) expired(a *arrival, b, p []byte, h *encap.Header) {
	if d.consumeOuter(a, b) {
		return
	}
	s := d.sight(a, b, p, h)
	if to := d.t.lookup(h.Src(p)); to != nil && to.out.n > 0 {
		s.answered(d.answer.toPeer(d.t.outlets[to.out.first], to, p, h, encap.TimeExceeded))
	}
	if d.tap.drop(encap.TTLExceeded, 1) {
		d.tap.tell(encap.TTLExceeded, 1, s)
	}
}

// stranger deals with a message from an address that no peer speaks from in the
// clear, and tells whether to look into it nevertheless. What comes from a sealed
// peer is dropped whatever the source check says: it was forged, or is what its
// node has promised not to send.
func (d *down) stranger(m *tunnel.Received) bool {
	n := max(1, (len(m.Data)+m.Size-1)/max(1, m.Size))
	a := arrival{from: m.From, ecn: m.ECN, run: n}
	switch {
	case d.t.sealed[a.from.Addr()]:
		if d.tap.drop(encap.ClearFromWireGuard, n) {
			d.tap.tell(encap.ClearFromWireGuard, n, d.unread(&a, m.Data))
		}
	case d.check == Strict:
		if d.tap.drop(encap.OuterSrcUnknown, n) {
			d.tap.tell(encap.OuterSrcUnknown, n, d.peek(&a, m.Data[:min(len(m.Data), m.Size)]))
		}
	default:
		return true
	}
	return false
}

// unopened deals with a datagram that holds no packet for us.
func (d *down) unopened(a *arrival, b []byte, drop encap.Drop) {
	if drop == encap.Neighbour && d.asked(a, b) || d.consumeOuter(a, b) {
		return
	}
	if drop == encap.VXLANPolicy && d.seen != nil {
		d.seen.refuse(d.framing.codec.(*encap.VXLAN), b)
	}
	if d.tap.drop(drop, 1) {
		d.tap.tell(drop, 1, d.unread(a, b))
	}
}

// standsFor is the number of packets behind one from a kernel peer, which may
// not have been cut: that of its segments if they are known, else as many as
// our device would make of it.
func (d *down) standsFor(a *arrival, h *encap.Header) int {
	payload, size := h.Len-h.L4, a.size
	if size == 0 {
		size = d.join.MTU - h.L4
	}
	if payload <= size || size <= 0 {
		return 1
	}
	return (payload + size - 1) / size
}

// asked answers a frame that asks for our link-layer address, as a foreign VTEP
// does that has no permanent entry for us, and tells whether it did. The answer
// goes to where the question came from, at the port where such nodes listen.
func (d *down) asked(a *arrival, b []byte) bool {
	codec, ok := d.framing.codec.(*encap.VXLAN)
	return ok && d.answer.neighbour(d.port, codec, netip.AddrPortFrom(a.from.Addr(), d.framing.port), b)
}
