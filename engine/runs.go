package engine

import (
	"weft/encap"
	"weft/tunnel"
)

// runs gathers the segments of one batch into runs: datagrams of equal length
// to one peer through one outlet, which travel through the kernel as one
// message. Segments of several peers may come interleaved; only the latest run
// of each slot, which is a peer and an outlet, is open, so the order within
// each flow is kept.
type runs struct {
	segs []link
	runs []run
	open []int32 // slot → index of its open run; valid if that run names the slot

	pieces [][]byte
	used   []int32            // outlets that have messages
	msgs   [][]tunnel.Message // by outlet
	origin [][]int32          // the run that each message was made of
}

// A lane is what the datagrams of one packet have in common.
type lane struct {
	peer   *peer
	outlet int
	slot   int
	limit  int   // datagrams in a run
	ecn    uint8 // congestion bits of the outer header
}

// A link is a segment and the index of the next one of its run.
type link struct {
	seg  encap.Segment
	next int32
}

type run struct {
	peer        *peer
	slot        int
	outlet      int
	first, last int32 // links
	size        int   // bytes of each datagram but the last
	count       int
	bytes       int
	ecn         uint8
	closed      bool
}

// reset empties r for the table t.
func (r *runs) reset(t *table) {
	r.segs, r.runs = r.segs[:0], r.runs[:0]
	if len(r.open) < t.slots {
		r.open = make([]int32, t.slots)
	}
	for len(r.msgs) < len(t.outlets) {
		r.msgs, r.origin = append(r.msgs, nil), append(r.origin, nil)
	}
}

// add appends a segment to the open run of its lane, or to a new one.
func (r *runs) add(l *lane, s encap.Segment) {
	n, at := s.Len(), int32(len(r.segs))
	r.segs = append(r.segs, link{seg: s, next: -1})
	if i := int(r.open[l.slot]); i < len(r.runs) {
		if u := &r.runs[i]; u.slot == l.slot && !u.closed && n <= u.size && u.count < l.limit && u.bytes+n <= tunnel.MaxDatagram && u.ecn == l.ecn {
			r.segs[u.last].next = at
			u.last = at
			u.count++
			u.bytes += n
			u.closed = n < u.size
			return
		}
	}
	r.open[l.slot] = int32(len(r.runs))
	r.runs = append(r.runs, run{peer: l.peer, slot: l.slot, outlet: l.outlet, ecn: l.ecn,
		first: at, last: at, size: n, count: 1, bytes: n})
}

// messages lays the runs out for the outlets.
func (r *runs) messages() {
	for _, i := range r.used {
		r.msgs[i], r.origin[i] = r.msgs[i][:0], r.origin[i][:0]
	}
	r.used, r.pieces = r.used[:0], r.pieces[:0]
	for i := range r.runs {
		u := &r.runs[i]
		start := len(r.pieces)
		for j := u.first; j >= 0; j = r.segs[j].next {
			s := &r.segs[j].seg
			if len(s.Head) > 0 {
				r.pieces = append(r.pieces, s.Head)
			}
			r.pieces = append(r.pieces, s.Body)
		}
		if len(r.msgs[u.outlet]) == 0 {
			r.used = append(r.used, int32(u.outlet))
		}
		r.origin[u.outlet] = append(r.origin[u.outlet], int32(i))
		r.msgs[u.outlet] = append(r.msgs[u.outlet], tunnel.Message{To: u.peer.addr, ECN: u.ecn,
			Pieces: r.pieces[start:len(r.pieces):len(r.pieces)], Size: u.size, Count: u.count, Bytes: u.bytes})
	}
}

// peer is whom a message is for.
func (r *runs) peer(outlet int32, msg int) *peer { return r.runs[r.origin[outlet][msg]].peer }
