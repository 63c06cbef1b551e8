package engine

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"weft/encap"
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
	u.count.drop(reason, packetsIn(p, h, o))
	if u.t.known && reason != encap.Multicast && reason != encap.LinkLocal {
		u.answer.toPod(u.dev, p, h, encap.NetUnreachable, 0)
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
func (u *up) expired(p []byte, h *encap.Header, o *encap.Offload) {
	u.count.drop(encap.TTLExceeded, packetsIn(p, h, o))
	u.answer.toPod(u.dev, p, h, encap.TimeExceeded, 0)
}

// tooBig deals with a packet that is longer than the limit of its path: it is
// fragmented if it may be, and its sender is told otherwise.
func (u *up) tooBig(to *peer, p []byte, h *encap.Header, o *encap.Offload, limit int) {
	if h.DF(p) {
		u.count.drop(encap.TooBig, packetsIn(p, h, o))
		u.answer.toPod(u.dev, p, h, encap.PacketTooBig, limit)
		return
	}
	if to.framing.codec.Routes() && !encap.DecrementTTL(p) {
		u.expired(p, h, o)
		return
	}
	l := u.lane(to, p, h)
	segs, drop := u.cutter.Cut(nil, p, h, o, nil)
	if drop != encap.Delivered {
		u.count.drop(drop, 1)
		return
	}
	for i := range segs {
		u.fragment(&l, flatten(&segs[i], 0), limit)
	}
}

// fragment adds the fragments of the finished packet p to the runs.
func (u *up) fragment(l *lane, p []byte, limit int) {
	h, drop := encap.Parse(p)
	if drop == encap.Delivered {
		u.segs, drop = u.cutter.Fragment(u.segs[:0], p, &h, limit, l.peer.prefix)
	}
	if drop != encap.Delivered {
		u.count.drop(drop, 1)
		return
	}
	for _, s := range u.segs {
		u.runs.add(l, s)
	}
}

// flatten copies a segment without its first skip bytes into one slice.
func flatten(s *encap.Segment, skip int) []byte {
	b := make([]byte, 0, s.Len())
	return append(append(b, s.Head...), s.Body...)[skip:]
}

// A retry is a segment that was too long for its path.
type retry struct {
	seg  encap.Segment
	lane lane
}

// refused takes the messages that outlet i did not take out of sent. A message
// too long for its path teaches us the path's limit; its packets are kept for
// resend.
func (u *up) refused(i int32, sent *tally) {
	msgs, origin := u.runs.msgs[i], u.runs.origin[i]
	for j := range msgs {
		m := &msgs[j]
		if m.Err == nil {
			continue
		}
		r := &u.runs.runs[origin[j]]
		overhead := len(r.peer.prefix)
		if !errors.Is(m.Err, unix.EMSGSIZE) {
			sent.lose(m.Lost, (m.Bytes/m.Count-overhead)*m.Lost)
			u.count.drop(sendDrop(m.Err), m.Lost)
			continue
		}
		u.learn(r.peer)
		for k := r.first; k >= 0; k = u.runs.segs[k].next {
			s := u.runs.segs[k].seg
			if m.Lost < m.Count && s.Len() < m.Size {
				continue // the shorter end of the run went through
			}
			sent.lose(1, s.Len()-overhead)
			u.again = append(u.again, retry{s, lane{peer: r.peer, outlet: r.outlet, slot: r.slot, limit: 1, ecn: r.ecn}})
		}
	}
}

// resend gives packets that were too long for their path a second chance: in
// fragments, or with an answer to their sender.
func (u *up) resend(sent *tally) {
	u.runs.reset(u.t)
	for i := range u.again {
		u.reconsider(&u.again[i])
	}
	u.again = u.again[:0]
	u.runs.messages()
	for _, i := range u.runs.used {
		msgs := u.runs.msgs[i]
		if _, err := u.t.outlets[i].Send(u.out, msgs); err != nil {
			return // stopped; the next Read says so
		}
		for j := range msgs {
			if msgs[j].Err != nil {
				u.count.drop(sendDrop(msgs[j].Err), msgs[j].Count)
				continue // not a third time
			}
			sent.packets += msgs[j].Count
			sent.bytes += msgs[j].Bytes - msgs[j].Count*u.runs.overhead(i, j)
			sent.calls++
		}
	}
}

// reconsider decides about one packet now that the limit of its path is known.
func (u *up) reconsider(r *retry) {
	to := r.lane.peer
	p := flatten(&r.seg, len(to.prefix))
	h, drop := encap.Parse(p)
	limit := int(to.path.inner.Load())
	switch {
	case drop != encap.Delivered:
		u.count.drop(drop, 1)
	case limit <= 0 || len(p) <= limit: // the path has grown meanwhile
		u.runs.add(&r.lane, r.seg)
	case h.DF(p):
		u.count.drop(encap.TooBig, 1)
		u.answer.toPod(u.dev, p, &h, encap.PacketTooBig, limit)
	default:
		u.fragment(&r.lane, p, limit)
	}
}

// sendDrop names the reason behind an error of Send.
func sendDrop(err error) encap.Drop {
	if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) {
		return encap.SockFull
	}
	return encap.SockError
}

// expired deals with a packet whose TTL ends here on its way down. Its sender
// is behind the peer it came from, so the answer goes back through the tunnel.
func (d *down) expired(p []byte, h *encap.Header) {
	d.count.drop(encap.TTLExceeded, 1)
	if to := d.t.lookup(h.Src(p)); to != nil && to.out.n > 0 {
		d.answer.toPeer(d.t.outlets[to.out.first], to, p, h, encap.TimeExceeded)
	}
}

// stranger deals with a message of n datagrams from an address that no peer speaks
// from in the clear, and tells whether to look into it nevertheless. What comes
// from a sealed peer is dropped whatever the source check says: it was forged, or
// is what its node has promised not to send.
func (d *down) stranger(from netip.Addr, n int) bool {
	switch {
	case d.t.sealed[from]:
		d.count.drop(encap.ClearFromWireGuard, n)
	case d.check == Strict:
		d.count.drop(encap.OuterSrcUnknown, n)
	default:
		return true
	}
	return false
}

// unopened deals with a datagram that holds no packet for us.
func (d *down) unopened(from netip.Addr, b []byte, drop encap.Drop) {
	if drop == encap.Neighbour {
		d.asked(from, b)
		return
	}
	if drop == encap.VXLANPolicy && d.seen != nil {
		d.seen.refuse(d.framing.codec.(*encap.VXLAN), b)
	}
	d.count.drop(drop, 1)
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

// asked deals with a frame that asks for our link-layer address, as a foreign
// VTEP does that has no permanent entry for us. The answer goes to where the
// question came from, at the port where such nodes listen.
func (d *down) asked(from netip.Addr, b []byte) {
	codec, ok := d.framing.codec.(*encap.VXLAN)
	if !ok || !d.answer.neighbour(d.port, codec, netip.AddrPortFrom(from, d.framing.port), b) {
		d.count.drop(encap.Neighbour, 1)
	}
}
