package engine

import (
	"errors"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/engine/trace"
)

// What becomes of packets that the kernel did not take.

// A retry is a segment that was too long for its path.
type retry struct {
	seg   encap.Segment
	lane  lane
	sight int
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
			bytes := (m.Bytes/m.Count - overhead) * m.Lost
			sent.lose(m.Lost, bytes)
			r.peer.path.sent.add(-m.Lost, -bytes)
			u.blame(r, sendDrop(m.Err), m.Lost)
			continue
		}
		u.learn(r.peer)
		for k := r.first; k >= 0; k = u.runs.segs[k].next {
			s := u.runs.segs[k].seg
			if m.Lost < m.Count && s.Len() < m.Size {
				continue // the shorter end of the run went through
			}
			sent.lose(1, s.Len()-overhead)
			r.peer.path.sent.add(-1, overhead-s.Len())
			u.again = append(u.again, retry{s, lane{peer: r.peer, outlet: r.outlet, slot: r.slot, limit: 1, ecn: r.ecn}, u.tap.owning(k)})
		}
	}
}

// resend gives packets that were too long for their path a second chance: in
// fragments, or with an answer to their sender.
func (u *up) resend(sent *tally) {
	u.runs.reset(u.t)
	u.tap.owner = u.tap.owner[:0]
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
			r := &u.runs.runs[u.runs.origin[i][j]]
			if msgs[j].Err != nil {
				u.blame(r, sendDrop(msgs[j].Err), msgs[j].Count)
				continue // not a third time
			}
			bytes := msgs[j].Bytes - msgs[j].Count*len(r.peer.prefix)
			r.peer.path.sent.add(msgs[j].Count, bytes)
			sent.packets += msgs[j].Count
			sent.bytes += bytes
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
	s := u.sight(to, p, &h, &encap.Offload{})
	s.limit = uint16(max(0, limit))
	if u.tap.live() {
		u.tap.sights[r.sight].way |= trace.Retried
		u.tap.sights[r.sight].limit = s.limit
	}
	switch {
	case drop != encap.Delivered:
		u.tap.lost(r.sight, drop, s)
	case limit <= 0 || len(p) <= limit: // the path has grown meanwhile
		u.runs.add(&r.lane, r.seg)
		if u.tap.live() {
			u.tap.claim(len(u.runs.segs), r.sight)
		}
	case h.DF(p):
		s.answered(u.answer.toPod(u.dev, p, &h, encap.PacketTooBig, limit))
		u.tap.lost(r.sight, encap.TooBig, s)
	default:
		u.fragment(&r.lane, p, limit, r.sight)
	}
}

// sendDrop names the reason behind an error of Send.
func sendDrop(err error) encap.Drop {
	if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) {
		return encap.SockFull
	}
	return encap.SockError
}
