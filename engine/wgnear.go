package engine

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"weft/encap"
	"weft/engine/probe"
	"weft/engine/trace"
	"weft/tunnel"
	"weft/tunnel/wg"
)

// wgNear is the side of the pods of a WireGuard interface. The device reads
// single packets from it, so superpackets are cut on the way in and joined on
// the way out; unlike the loops of the framings it copies what it cuts, since
// the device seals packets where they lie.
type wgNear struct {
	dev    device
	stop   *tunnel.Stopper
	table  *atomic.Pointer[wgTable]
	answer *answerer
	tap    tap           // up
	prober *probe.Prober // nil: nobody
	ours   chan []byte   // packets of our own

	// Of the device's one reader.
	t      *wgTable
	batch  *tunnel.Batch
	next   int // the packet of batch to go on with
	cutter *encap.Cutter
	segs   []encap.Segment // of the packet before it
	used   int             // how many of them were read
	head   wg.Outgoing     // what they have in common

	writers sync.Pool // of *writer
}

func newWGNear(dev device, stop *tunnel.Stopper, t *atomic.Pointer[wgTable], a *answerer, hub *trace.Hub, up, down *counters) *wgNear {
	n := &wgNear{dev: dev, stop: stop, table: t, answer: a, tap: newTap(hub, trace.Out, up), ours: make(chan []byte, 64),
		batch: tunnel.NewBatch(), cutter: encap.NewCutter(64 << 10)}
	n.writers.New = func() any { return newWriter(dev, 0, newTap(hub, trace.In, down)) }
	return n
}

// Stop ends all waiting.
func (n *wgNear) Stop() { n.stop.Stop() }

// Read gives the device packets for its peers.
func (n *wgNear) Read(bufs [][]byte, offset int, out []wg.Outgoing) (int, error) {
	for {
		if k := n.fill(bufs, offset, out); k > 0 {
			return k, nil
		}
		n.tap.end(trace.Sealed)
		if err := n.dev.Read(n.batch); err != nil {
			return 0, err
		}
		n.tap.begin()
		n.next, n.t = 0, n.table.Load()
		n.cutter.Reset()
	}
}

// fill copies what is left of the batch into bufs, as much as fits.
func (n *wgNear) fill(bufs [][]byte, offset int, out []wg.Outgoing) (k int) {
	for k < len(bufs) {
		if n.used == len(n.segs) {
			n.segs, n.used = n.segs[:0], 0
			if n.next == len(n.batch.Packets) {
				if !n.injected() {
					break
				}
				continue
			}
			n.packet(&n.batch.Packets[n.next])
			n.next++
			continue
		}
		s := &n.segs[n.used]
		b := bufs[k][offset:]
		h := copy(b, s.Head)
		out[k] = n.head
		out[k].Size = h + copy(b[h:], s.Body)
		n.used++
		k++
	}
	return k
}

// packet finds the way of one packet or superpacket and cuts it.
func (n *wgNear) packet(pk *tunnel.Packet) {
	h, drop := encap.Parse(pk.Data)
	if drop != encap.Delivered {
		if n.tap.drop(drop, 1) {
			n.tap.tell(drop, 1, sight{prefix: pk.Data, way: trace.Read})
		}
		return
	}
	o := encap.Offload(pk.Offload)
	p := n.t.lookup(h.Dst(pk.Data))
	if p == nil || p.lane == nil {
		n.noRoute(p, pk.Data, &h, &o)
		return
	}
	n.head = wg.Outgoing{Lane: p.lane, ECN: encap.ECN(pk.Data)}
	if limit := int(p.seen.inner.Load()); limit > 0 && encap.PacketSize(pk.Data, &h, &o) > limit && !n.answer.excepts(p.seen, pk.Data, &h) {
		n.tooBig(p, pk.Data, &h, &o, limit)
	} else if n.segs, drop = n.cutter.Cut(n.segs, pk.Data, &h, &o, nil); drop != encap.Delivered {
		if n.tap.drop(drop, packetsIn(pk.Data, &h, &o)) {
			n.tap.tell(drop, packetsIn(pk.Data, &h, &o), n.sight(p, pk.Data, &h, &o))
		}
	}
	if len(n.segs) == 0 {
		return
	}
	if !p.lane.Admit(len(n.segs)) {
		if n.tap.drop(encap.WGNoSession, len(n.segs)) {
			n.tap.tell(encap.WGNoSession, len(n.segs), n.sight(p, pk.Data, &h, &o))
		}
		n.segs = n.segs[:0]
	} else if n.tap.live() {
		n.sighted(p, pk.Data, &h, &o)
	}
}

// An inflow is what one peer sent in one go.
type inflow struct {
	w    *writer
	t    *wgTable
	from *wgPeer    // it; nil: not known
	last netip.Addr // the latest destination that needs no other look
	got  tally
}

// Write takes what one peer sent. That the inner source is the peer's own the
// device has checked.
func (n *wgNear) Write(bufs [][]byte, offset int, ecn []uint8) error {
	w := n.writers.Get().(*writer)
	defer n.writers.Put(w)
	w.begin()
	in := inflow{w: w, t: n.table.Load()}
	for i, b := range bufs {
		n.take(&in, b[offset:], ecn[i])
	}
	if in.from != nil {
		in.from.seen.got.add(in.got.packets, in.got.bytes)
	}
	return w.end()
}

// take deals with one packet.
func (n *wgNear) take(in *inflow, p []byte, ecn uint8) {
	tap := &in.w.tap
	h, drop := encap.Parse(p)
	if drop != encap.Delivered {
		if tap.drop(drop, 1) {
			tap.tell(drop, 1, sight{prefix: p, ecn: ecn, kind: trace.WireGuard, way: trace.Received | trace.Known | trace.Opened})
		}
		return
	}
	if dst := h.Dst(p); dst != in.last && !n.admit(in, p, &h, dst, ecn) {
		return
	}
	in.got.packets++
	in.got.bytes += h.Len
	if tap.live() {
		tap.see(opened(in.from, p[:h.Len], ecn))
	}
	if ecn != 0 {
		drop = encap.DecapECN(p, ecn)
	}
	if drop == encap.Delivered {
		drop = in.w.join.Add(p, &h, true) // sealed end to end
	}
	if drop == encap.Delivered {
		return
	}
	if tap.live() {
		tap.unsee()
	}
	if tap.drop(drop, 1) {
		tap.tell(drop, 1, opened(in.from, p, ecn))
	}
}

// admit judges a packet for another destination than the one before, and tells
// whether it goes on to the pods.
func (n *wgNear) admit(in *inflow, p []byte, h *encap.Header, dst netip.Addr, ecn uint8) bool {
	if in.from = in.t.lookup(h.Src(p)); in.from != nil && in.from.lane != nil {
		in.from.lane.Heard()
	}
	if !in.t.owns(dst) {
		if in.w.tap.drop(encap.InnerDstNotLocal, 1) {
			s := opened(in.from, p[:h.Len], ecn)
			s.way &^= trace.Checked
			in.w.tap.tell(encap.InnerDstNotLocal, 1, s)
		}
		return false
	}
	in.last = dst
	if dst == n.answer.self[0] || dst == n.answer.self[1] {
		in.last = netip.Addr{} // each is looked at
		return !n.consume(in.w, in.from, p[:h.Len], h, ecn)
	}
	return true
}
