package engine

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"weft/encap"
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
	up     *counters
	down   *counters

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

func newWGNear(dev device, stop *tunnel.Stopper, t *atomic.Pointer[wgTable], a *answerer, up, down *counters) *wgNear {
	n := &wgNear{dev: dev, stop: stop, table: t, answer: a, up: up, down: down,
		batch: tunnel.NewBatch(), cutter: encap.NewCutter(64 << 10)}
	n.writers.New = func() any { return newWriter(dev, 0, down) }
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
		if err := n.dev.Read(n.batch); err != nil {
			return 0, err
		}
		n.next, n.t = 0, n.table.Load()
		n.cutter.Reset()
	}
}

// fill copies what is left of the batch into bufs, as much as fits.
func (n *wgNear) fill(bufs [][]byte, offset int, out []wg.Outgoing) (k int) {
	for k < len(bufs) {
		if n.used == len(n.segs) {
			if n.next == len(n.batch.Packets) {
				break
			}
			n.segs, n.used = n.segs[:0], 0
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
		n.up.drop(drop, 1)
		return
	}
	o := encap.Offload(pk.Offload)
	p := n.t.lookup(h.Dst(pk.Data))
	if p == nil || p.lane == nil {
		n.noRoute(p, pk.Data, &h, &o)
		return
	}
	n.head = wg.Outgoing{Lane: p.lane, ECN: encap.ECN(pk.Data)}
	if limit := int(p.limit.Load()); limit > 0 && encap.PacketSize(pk.Data, &h, &o) > limit {
		n.tooBig(pk.Data, &h, &o, limit)
	} else if n.segs, drop = n.cutter.Cut(n.segs, pk.Data, &h, &o, nil); drop != encap.Delivered {
		n.up.drop(drop, packetsIn(pk.Data, &h, &o))
	}
	if len(n.segs) > 0 && !p.lane.Admit(len(n.segs)) {
		n.up.drop(encap.WGNoSession, len(n.segs))
		n.segs = n.segs[:0]
	}
}

// Write takes what one peer sent. That the inner source is the peer's own the
// device has checked.
func (n *wgNear) Write(bufs [][]byte, offset int, ecn []uint8) error {
	w := n.writers.Get().(*writer)
	defer n.writers.Put(w)
	w.begin()
	t, last := n.table.Load(), netip.Addr{}
	for i, b := range bufs {
		p := b[offset:]
		h, drop := encap.Parse(p)
		if drop != encap.Delivered {
			n.down.drop(drop, 1)
			continue
		}
		if dst := h.Dst(p); dst != last {
			if !t.owns(dst) {
				n.down.drop(encap.InnerDstNotLocal, 1)
				continue
			}
			last = dst
			if from := t.lookup(h.Src(p)); from != nil && from.lane != nil {
				from.lane.Heard()
			}
		}
		if ecn[i] != 0 {
			drop = encap.DecapECN(p, ecn[i])
		}
		if drop == encap.Delivered {
			drop = w.join.Add(p, &h, true) // sealed end to end
		}
		if drop != encap.Delivered {
			n.down.drop(drop, 1)
		}
	}
	return w.end()
}
