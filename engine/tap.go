package engine

import (
	"net/netip"
	"time"
	"unsafe"

	"weft/encap"
	"weft/engine/trace"
	"weft/engine/trace/filter"
	"weft/lease"
)

// A tap is what one loop tells of its packets: how many were lost and why, the
// headers of some of these, and, while somebody traces, each packet. One
// goroutine at a time uses it.
//
// While nobody traces it costs one atomic load per batch. While somebody does,
// the loop notes a sight of each packet, and end looks at them all once the
// batch is done and every verdict known; the packets still lie where they were.
type tap struct {
	hub   *trace.Hub
	count *counters
	dir   trace.Dir

	now    time.Time        // of this batch, once it was asked for
	muted  uint64           // reasons that the flight recorder has enough of in this batch, a bit each
	kept   bool             // it wants what was counted last
	on     []*trace.Session // of this batch; nil: nobody traces
	began  time.Time
	sights []sight
	owner  []int32 // up: the sight of each segment of the runs
	hint   int     // down: where to look for the next packet
	as     filter.Packet
	rec    trace.Record
	outer  []byte
	snap   []byte
	frames []byte
	_      [64]byte // see counters
}

// A sight is one packet or superpacket as its loop saw it. What it points at is
// borrowed for the length of the batch.
type sight struct {
	prefix  []byte // what stands in front of the inner packet, or all there is of a datagram without one
	inner   []byte // the inner packet; nil: it could not be read
	lease   *lease.Lease
	local   netip.AddrPort // our outer address
	remote  netip.AddrPort // the other node's
	vni     uint32
	packets int // that it stands for
	lost    int // of these
	parts   int // that it was cut into on its way to the device; if not 0, packets was a guess
	way     trace.Way
	size    uint16 // payload of each packet of a superpacket
	limit   uint16 // of its path, if that mattered
	run     uint16 // datagrams
	joined  uint16 // packets of the superpacket it was written in
	kind    trace.Kind
	drop    encap.Drop // why some were lost
	noted   encap.Drop // why strict source checks would have dropped it
	ecn     uint8
}

func newTap(hub *trace.Hub, dir trace.Dir, count *counters) tap {
	return tap{hub: hub, dir: dir, count: count}
}

// begin begins a batch, and tells whether somebody traces.
func (t *tap) begin() (traced bool) {
	t.now = time.Time{}
	if !tapped {
		return false
	}
	if t.on = t.hub.Active(); t.on == nil {
		return false
	}
	t.began = time.Now()
	t.sights, t.owner, t.hint = t.sights[:0], t.owner[:0], 0
	return true
}

// live tells whether somebody traces.
func (t *tap) live() bool { return tapped && t.on != nil }

// see notes a packet. Only a live tap may be shown one.
func (t *tap) see(s sight) { t.sights = append(t.sights, s) }

// fresh notes a packet that the caller describes: it returns a sight that says
// nothing yet, until the next one is noted.
func (t *tap) fresh() *sight {
	if n := len(t.sights); n < cap(t.sights) {
		t.sights = t.sights[:n+1]
		t.sights[n] = sight{}
	} else {
		t.sights = append(t.sights, sight{})
	}
	return &t.sights[len(t.sights)-1]
}

// unsee takes the latest sight back.
func (t *tap) unsee() { t.sights = t.sights[:len(t.sights)-1] }

// drop counts n packets that were lost for a reason, and tells whether somebody
// wants to know more: then tell is to be called. What floods a port is not looked
// at any further.
func (t *tap) drop(reason encap.Drop, n int) bool {
	t.count.drop(reason, n)
	if t.kept = t.wants(reason); t.kept {
		return true
	}
	return t.live()
}

// wants asks the flight recorder, at most once more in a batch after it said no.
func (t *tap) wants(reason encap.Drop) bool {
	if t.now.IsZero() {
		t.now, t.muted = time.Now(), 0
	}
	if t.muted&(1<<reason) != 0 {
		return false
	}
	if t.hub.Flight.Wants(reason, t.now) {
		return true
	}
	t.muted |= 1 << reason
	return false
}

// tell tells of what drop has just counted.
func (t *tap) tell(reason encap.Drop, n int, s sight) {
	s.packets, s.drop = n, reason
	t.keep(&s)
	if t.live() {
		s.lost = n
		t.see(s)
	}
}

// keep gives the flight recorder what was dropped, if it wants it.
func (t *tap) keep(s *sight) {
	if !t.kept {
		return
	}
	t.record(s, s.packets, s.drop, 0, trace.DefaultSnaplen)
	t.rec.ID, t.rec.Time, t.rec.Took = t.hub.IDs(1), t.now.UnixNano(), 0
	t.hub.Flight.Keep(&t.rec)
}

// claim says that the segments up to n are of the sight i.
func (t *tap) claim(n, i int) {
	for len(t.owner) < n {
		t.owner = append(t.owner, int32(i))
	}
}

// owning returns the sight that a segment of the runs is of; 0 if nobody traces.
func (t *tap) owning(seg int32) int {
	if !t.live() || int(seg) >= len(t.owner) {
		return 0
	}
	return int(t.owner[seg])
}

// lost counts a packet of the sight i as lost for a reason. s is what is known of
// that one packet.
func (t *tap) lost(i int, reason encap.Drop, s sight) {
	if t.drop(reason, 1) {
		s.packets, s.drop = 1, reason
		t.keep(&s)
	}
	if t.live() && i < len(t.sights) {
		t.sights[i].lose(reason, 1)
		t.sights[i].way |= s.way & trace.Answered
	}
}

// lose says that n of the packets were lost for a reason.
func (s *sight) lose(reason encap.Drop, n int) { s.drop, s.lost = reason, min(s.lost+n, s.packets) }

// Every reason has a bit.
var _ = [64 - encap.NumDrops]struct{}{}

// fragments notes that one of the packets became n of them.
func (s *sight) fragments(n int) {
	if s.way&trace.Fragmented == 0 {
		s.run = 0
	}
	s.way |= trace.Fragmented
	s.packets += n - 1
	s.run += uint16(n)
}

// find returns the sight of the inner packet p, or nil. Packets are mostly
// asked for in the order in which they were seen.
func (t *tap) find(p []byte) *sight {
	for range t.sights {
		s := &t.sights[t.hint%len(t.sights)]
		t.hint++
		if len(s.inner) > 0 && unsafe.SliceData(s.inner) == unsafe.SliceData(p) {
			return s
		}
	}
	return nil
}

// wrote notes that the device took s. What was cut came in last.
func (t *tap) wrote(s *encap.Super) {
	if len(s.Packets) == 0 && len(t.sights) > 0 {
		x := &t.sights[len(t.sights)-1]
		x.way |= trace.Written | trace.Segmented
		x.parts += s.Count
	}
	for _, p := range s.Packets {
		if x := t.find(p); x != nil {
			x.way |= trace.Written
			switch {
			case len(s.Packets) < s.Count: // it came as a superpacket
				x.parts, x.size = s.Count, s.Offload.GSOSize
			case s.Count > 1:
				x.way |= trace.Joined
				x.joined = uint16(min(s.Count, 1<<16-1))
			}
		}
	}
}

// unwritten counts a superpacket that the device did not take.
func (t *tap) unwritten(reason encap.Drop, s *encap.Super) {
	t.drop(reason, s.Count)
	lost := sight{inner: s.Pieces[0], packets: s.Count, lost: s.Count, drop: reason, way: trace.Received | trace.Parsed}
	if len(s.Packets) > 0 {
		lost.inner = s.Packets[0]
	}
	t.keep(&lost)
	if !t.live() {
		return
	}
	if len(s.Packets) == 0 && len(t.sights) > 0 {
		x := &t.sights[len(t.sights)-1]
		x.parts += s.Count
		x.lost += s.Count
		x.drop = reason
		return
	}
	found := false
	for _, p := range s.Packets {
		if x := t.find(p); x != nil {
			x.lose(reason, x.packets)
			found = true
		}
	}
	if !found {
		t.see(lost)
	}
}
