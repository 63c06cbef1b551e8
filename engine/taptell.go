package engine

import (
	"encoding/binary"
	"net/netip"
	"time"

	"weft/encap"
	"weft/engine/trace"
	"weft/engine/trace/filter"
)

// What a tap tells at the end of a batch: each session's filter looks at each
// sight, and those that match become records.

// end tells the sessions of the batch. done is the last stage of those that
// were not lost.
func (t *tap) end(done trace.Way) {
	if !t.live() || len(t.sights) == 0 {
		return
	}
	took := time.Since(t.began)
	first := t.hub.IDs(len(t.sights))
	for _, s := range t.on {
		n := 0
		t.frames = t.frames[:0]
		for i := range t.sights {
			x := &t.sights[i]
			if x.parts > 0 {
				x.packets = x.parts
			}
			t.rec.ID, t.rec.Time, t.rec.Took = first+uint64(i), t.began.UnixNano(), uint32(min(took, 1<<32-1))
			if x.lost < x.packets {
				n += t.offer(s, x, x.packets-x.lost, x.noted, done)
			}
			if x.lost > 0 {
				n += t.offer(s, x, x.lost, x.drop, 0)
			}
		}
		if n > 0 {
			s.Deliver(t.frames, n)
		}
	}
}

// offer encodes a record of n packets if the session wants it, and returns how
// many it encoded.
func (t *tap) offer(s *trace.Session, x *sight, n int, drop encap.Drop, done trace.Way) int {
	t.describe(x, drop, s.Filter)
	if !s.Filter.Match(&t.as) || !s.Wants() {
		return 0
	}
	t.record(x, n, drop, done, s.Snaplen)
	at := len(t.frames)
	t.frames = append(t.frames, 0, 0, 0, 0, trace.FrameRecord)
	t.frames = t.rec.Append(t.frames)
	binary.BigEndian.PutUint32(t.frames[at:], uint32(len(t.frames)-at-4))
	return 1
}

// filtered is how many bytes of an outer packet a filter can look at: those of
// its headers and of the inner ones.
const filtered = 512

// describe makes t.as what a filter is shown of x.
func (t *tap) describe(x *sight, drop encap.Drop, f *filter.Filter) {
	as := &t.as
	as.Inner, as.InnerLen, as.In, as.Drop = x.inner, len(x.inner), t.dir == trace.In, drop
	as.Outer, as.OuterLen = nil, 0
	as.VNI, as.HasVNI = x.vni, x.kind == trace.VXLAN
	if f.Nodes() {
		t.name(x)
	}
	if !f.Outer() || !x.remote.IsValid() {
		return
	}
	n := len(x.prefix) + len(x.inner)
	t.outer = trace.AppendOuter(t.outer[:0], t.dir, x.local, x.remote, x.ecn, n)
	t.as.OuterLen = len(t.outer) + n
	t.outer = append(t.outer, x.prefix...)
	t.outer = append(t.outer, x.inner[:min(len(x.inner), filtered)]...)
	t.as.Outer = t.outer
}

// name tells the filter of the other node.
func (t *tap) name(x *sight) {
	as := &t.as
	as.Remote, as.Other, as.Subnets = x.remote.Addr(), netip.Addr{}, [2]netip.Prefix{}
	if x.lease == nil {
		return
	}
	as.Subnets = [2]netip.Prefix{x.lease.Subnet, x.lease.Subnet6}
	for _, a := range outers(x.lease.Attrs) {
		switch {
		case !as.Remote.IsValid():
			as.Remote = a
		case a != as.Remote:
			as.Other = a
		}
	}
}

// record makes t.rec the record of n packets of x, but for its ID and times.
func (t *tap) record(x *sight, n int, drop encap.Drop, done trace.Way, snaplen int) {
	r := &t.rec
	r.Dir, r.Kind, r.Drop, r.ECN, r.Way = t.dir, x.kind, drop, x.ecn, x.way|done
	r.Packets, r.Len, r.VNI = uint32(n), uint32(len(x.inner)), x.vni
	r.Size, r.Limit, r.Run, r.Joined = x.size, x.limit, x.run, x.joined
	r.Local, r.Remote, r.Prefix = x.local, x.remote, uint16(min(len(x.prefix), snaplen))
	t.snap = append(t.snap[:0], x.prefix[:r.Prefix]...)
	t.snap = append(t.snap, x.inner[:min(len(x.inner), snaplen)]...)
	r.Snap = t.snap
	if x.inner == nil {
		r.Len = uint32(len(x.prefix))
	}
}
