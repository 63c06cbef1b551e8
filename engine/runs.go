package engine

import (
	"weft/encap"
	"weft/tunnel"
)

// runs gathers the segments of one batch into runs: datagrams of equal length
// to one peer, which travel through the kernel as one message. Segments of
// several peers may come interleaved; only the latest run of each peer is
// open, so the order towards each peer is kept.
type runs struct {
	segs []link
	runs []run
	open []int32 // peer id → index of its open run; valid if that run names the peer

	pieces [][]byte
	msgs   [2][]tunnel.Message // by port
	origin [2][]int32          // the run that each message was made of
}

// A link is a segment and the index of the next one of its run.
type link struct {
	seg  encap.Segment
	next int32
}

type run struct {
	peer        *peer
	first, last int32 // links
	size        int   // bytes of each datagram but the last
	count       int
	bytes       int
	closed      bool
}

// reset empties r for a table of n peers.
func (r *runs) reset(n int) {
	r.segs, r.runs = r.segs[:0], r.runs[:0]
	if len(r.open) < n {
		r.open = make([]int32, n)
	}
}

// add appends a segment for p. limit is the number of datagrams a run may have.
func (r *runs) add(p *peer, s encap.Segment, limit int) {
	n, at := s.Len(), int32(len(r.segs))
	r.segs = append(r.segs, link{seg: s, next: -1})
	if i := int(r.open[p.id]); i < len(r.runs) {
		if u := &r.runs[i]; u.peer == p && !u.closed && n <= u.size && u.count < limit && u.bytes+n <= tunnel.MaxDatagram {
			r.segs[u.last].next = at
			u.last = at
			u.count++
			u.bytes += n
			u.closed = n < u.size
			return
		}
	}
	r.open[p.id] = int32(len(r.runs))
	r.runs = append(r.runs, run{peer: p, first: at, last: at, size: n, count: 1, bytes: n})
}

// messages lays the runs out for the ports.
func (r *runs) messages() {
	r.pieces = r.pieces[:0]
	for i := range r.msgs {
		r.msgs[i], r.origin[i] = r.msgs[i][:0], r.origin[i][:0]
	}
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
		port := u.peer.port
		r.origin[port] = append(r.origin[port], int32(i))
		r.msgs[port] = append(r.msgs[port], tunnel.Message{To: u.peer.addr,
			Pieces: r.pieces[start:len(r.pieces):len(r.pieces)], Size: u.size, Count: u.count, Bytes: u.bytes})
	}
}
