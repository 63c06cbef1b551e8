package engine

import (
	"net/netip"

	"weft/encap"
	"weft/engine/trace"
	"weft/tunnel"
)

// What the loops know of a packet when it is told of: of each one while somebody
// traces, and at all times of those that are lost.

// vniOf reads the VNI out of the bytes in front of a packet.
func vniOf(k trace.Kind, prefix []byte) uint32 {
	if k != trace.VXLAN || len(prefix) < 8 {
		return 0
	}
	return uint32(prefix[4])<<16 | uint32(prefix[5])<<8 | uint32(prefix[6])
}

// answered notes whether the sender was told.
func (s *sight) answered(told bool) {
	if told {
		s.way |= trace.Answered
	}
}

// sight is what is known of a packet or superpacket from the device. to may be
// nil.
func (u *up) sight(to *peer, p []byte, h *encap.Header, o *encap.Offload) sight {
	s := sight{inner: p[:min(len(p), h.Len)], way: trace.Read}
	if h.Version != 0 {
		s.way |= trace.Parsed
	}
	if o.Super() {
		s.size = o.GSOSize
	}
	if to == nil {
		return s
	}
	s.lease, s.remote = &to.lease, netip.AddrPortFrom(to.outer, 0)
	if to.framing == nil {
		return s // sealed
	}
	s.way |= trace.Routed
	s.kind, s.prefix, s.vni = to.framing.trace, to.prefix, vniOf(to.framing.trace, to.prefix)
	if to.addr != nil {
		s.remote = to.addr.AddrPort()
	}
	if to.out.n > 0 {
		s.local = u.t.local(to.out.first)
	}
	return s
}

// sighted notes a packet that has become segments, the latest of the runs.
func (u *up) sighted(to *peer, l *lane, p []byte, h *encap.Header, o *encap.Offload) {
	s := u.sight(to, p, h, o)
	s.packets, s.local, s.ecn, s.run = packetsIn(p, h, o), u.t.local(l.outlet), l.ecn, uint16(len(u.segs))
	s.way |= trace.Wrapped
	if to.framing.codec.Routes() {
		s.way |= trace.Hopped
	}
	if len(u.segs) > 1 {
		s.way |= trace.Segmented
	}
	u.tap.see(s)
	u.tap.claim(len(u.runs.segs), len(u.tap.sights)-1)
}

// blame counts n packets of a run, its last ones, as lost.
func (u *up) blame(r *run, reason encap.Drop, n int) {
	if !u.tap.drop(reason, n) {
		return
	}
	k := r.first
	for range r.count - n {
		k = u.runs.segs[k].next
	}
	p := flatten(&u.runs.segs[k].seg, len(r.peer.prefix))
	h, _ := encap.Parse(p)
	s := u.sight(r.peer, p, &h, &encap.Offload{})
	s.packets, s.drop = n, reason
	u.tap.keep(&s)
	for ; k >= 0 && u.tap.live(); k = u.runs.segs[k].next {
		u.tap.sights[u.tap.owning(k)].lose(reason, 1)
	}
}

// sight is what is known of a datagram b and the packet p in it, whose header is h.
func (d *down) sight(a *arrival, b, p []byte, h *encap.Header) sight {
	s := d.unread(a, b)
	s.prefix, s.inner, s.size = b[:len(b)-len(p)], p[:h.Len], uint16(a.size)
	s.way |= trace.Opened | trace.Parsed
	return s
}

// unread is what is known of a datagram in which there is no packet, or none was
// looked for.
func (d *down) unread(a *arrival, b []byte) sight {
	s := sight{prefix: b, kind: d.framing.trace, local: d.local, remote: a.from, ecn: a.ecn, run: uint16(min(a.run, 1<<16-1)), way: trace.Received}
	s.vni = vniOf(s.kind, b)
	if from := d.t.outers[a.from.Addr()]; from != nil {
		s.lease = &from.lease
		s.way |= trace.Known
	}
	return s
}

// peek is what is known of a datagram that nobody has looked into: the packet in
// it, if there is one.
func (d *down) peek(a *arrival, b []byte) sight {
	s := d.unread(a, b)
	p, drop := d.framing.codec.Open(b)
	if drop != encap.Delivered {
		return s
	}
	if h, drop := encap.Parse(p); drop == encap.Delivered {
		s.prefix, s.inner = b[:len(b)-len(p)], p[:h.Len]
	}
	return s
}

// sighted notes a packet that may go on.
func (d *down) sighted(a *arrival, b, p []byte, h *encap.Header) {
	s := d.tap.fresh()
	s.prefix, s.inner = b[:len(b)-len(p)], p[:h.Len]
	s.kind, s.local, s.remote, s.ecn = d.framing.trace, d.local, a.from, a.ecn
	s.vni = vniOf(s.kind, b)
	s.run, s.size, s.packets, s.noted = uint16(min(a.run, 1<<16-1)), uint16(a.size), d.standsFor(a, h), d.noted
	s.way = trace.Received | trace.Opened | trace.Parsed | trace.Checked
	if d.framing.codec.Routes() {
		s.way |= trace.Hopped
	}
	from := d.from
	if from == nil { // not believed, and let in all the same
		from = d.t.outers[a.from.Addr()]
	}
	if from != nil {
		s.lease = &from.lease
		s.way |= trace.Known
	}
}

// spoilt deals with a packet that had passed all checks, and was noted, but
// cannot be joined or marked.
func (d *down) spoilt(reason encap.Drop, a *arrival, b, p []byte, h *encap.Header) {
	if d.tap.live() {
		d.tap.unsee()
	}
	s := d.sight(a, b, p, h)
	s.way |= trace.Checked
	if d.tap.drop(reason, d.standsFor(a, h)) {
		d.tap.tell(reason, d.standsFor(a, h), s)
	}
}

// refuse counts a packet that is not for us, or not from where it should be, and
// tells whether it goes on nevertheless.
func (d *down) refuse(reason encap.Drop, a *arrival, b, p []byte, h *encap.Header) bool {
	n := d.standsFor(a, h)
	goesOn := d.check == Report && (reason == encap.OuterSrcUnknown || reason == encap.InnerSrcNotLeased)
	more := d.tap.drop(reason, n)
	switch {
	case goesOn && more:
		s := d.sight(a, b, p, h)
		s.packets, s.drop = n, reason
		d.tap.keep(&s)
	case more:
		d.tap.tell(reason, n, d.sight(a, b, p, h))
	}
	if goesOn {
		d.noted = reason
	}
	return goesOn
}

// local returns where the datagrams of an outlet come from, if it tells.
func (t *table) local(outlet int) netip.AddrPort { return localOf(t.outlets[outlet]) }

func localOf(p port) netip.AddrPort {
	if p, ok := p.(*tunnel.Port); ok {
		return p.Local()
	}
	return netip.AddrPort{}
}
