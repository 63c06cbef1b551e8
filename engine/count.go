package engine

import (
	"sync/atomic"

	"weft/encap"
)

// counters is what one loop has done. The loop adds to it once per batch;
// anyone may read it at any time.
type counters struct {
	packets atomic.Uint64 // inner packets carried
	bytes   atomic.Uint64 // their bytes
	calls   atomic.Uint64 // superpackets or runs they were carried in
	batches atomic.Uint64
	drops   [encap.NumDrops]atomic.Uint64
	_       [64]byte // the next loop's counters are in another cache line
}

// A tally is what a loop adds up during one batch.
type tally struct{ packets, bytes, calls int }

// lose takes back packets that were counted too early.
func (t *tally) lose(packets, bytes int) {
	t.packets -= packets
	t.bytes -= bytes
}

// A flow is what was carried one way.
type flow struct{ packets, bytes atomic.Uint64 }

// add counts packets of inner bytes; less than none takes them back.
func (f *flow) add(packets, bytes int) {
	f.packets.Add(uint64(packets))
	f.bytes.Add(uint64(bytes))
}

// add counts one batch.
func (c *counters) add(t tally) {
	c.packets.Add(uint64(t.packets))
	c.bytes.Add(uint64(t.bytes))
	c.calls.Add(uint64(t.calls))
	c.batches.Add(1)
}

// drop counts n packets lost for a reason.
func (c *counters) drop(reason encap.Drop, n int) { c.drops[reason].Add(uint64(n)) }

// Traffic is what a direction has carried since the start.
type Traffic struct {
	Packets uint64 // inner packets
	Bytes   uint64 // bytes of inner packets
	Calls   uint64 // messages (up) or device writes (down) they needed
	Batches uint64 // times the loop ran
}

func (t Traffic) plus(u Traffic) Traffic {
	return Traffic{t.Packets + u.Packets, t.Bytes + u.Bytes, t.Calls + u.Calls, t.Batches + u.Batches}
}

func (c *counters) traffic() Traffic {
	return Traffic{c.packets.Load(), c.bytes.Load(), c.calls.Load(), c.batches.Load()}
}

// addDrops adds the reasons that occurred to m, by name.
func (c *counters) addDrops(m map[string]uint64) {
	for i := range c.drops {
		if n := c.drops[i].Load(); n > 0 {
			m[encap.Drop(i).String()] += n
		}
	}
}
