package engine

import (
	"net/netip"
	"sync/atomic"

	"weft/encap"
	"weft/tunnel"
)

// SourceCheck says what is done about packets whose outer source holds no
// lease, or whose inner source is not in the lease of the node that sent them.
type SourceCheck uint8

// The source checks.
const (
	Strict SourceCheck = iota // drop and count
	Report                    // deliver and count
	Off                       // deliver
)

// down carries packets from one port to the device. One goroutine runs it.
type down struct {
	dev    device
	port   port
	codec  encap.Encapsulator
	table  *atomic.Pointer[table]
	check  SourceCheck
	answer *answerer
	count  *counters

	t      *table // the snapshot of this batch
	inbox  *tunnel.Inbox
	join   *encap.Coalescer
	gather *tunnel.Gather
	vnet   bool
	good   pair  // the latest pair of addresses that passed the check
	failed error // why the device failed for good
	done   tally // of this batch
}

// A pair is who sent a packet, whose address it bears and whom it is for.
type pair struct {
	table *table
	outer netip.Addr
	inner netip.Addr
	dst   netip.Addr
}

func newDown(dev device, p port, codec encap.Encapsulator, t *atomic.Pointer[table], check SourceCheck, a *answerer, count *counters) *down {
	d := &down{dev: dev, port: p, codec: codec, table: t, check: check, answer: a, count: count,
		inbox: tunnel.NewInbox(), gather: tunnel.NewGather()}
	d.join = encap.NewCoalescer(d.write)
	return d
}

// run carries packets until the port or the device fails or is stopped.
func (d *down) run() error {
	for {
		if err := d.port.Recv(d.inbox); err != nil {
			return err
		}
		if d.carry(); d.failed != nil {
			return d.failed
		}
	}
}

// carry deals with one batch.
func (d *down) carry() {
	d.t = d.table.Load()
	f := d.dev.Features()
	d.vnet, d.join.TCP, d.join.UDP = f.Has(tunnel.Vnet), f.Has(tunnel.TSO), f.Has(tunnel.USO)
	for i := range d.inbox.Messages {
		m := &d.inbox.Messages[i]
		if m.Truncated {
			d.count.drop(encap.Truncated, 1)
			continue
		}
		d.message(m)
	}
	d.join.Flush()
	d.count.add(d.done)
	d.done = tally{}
}

// message takes a run apart. What a stranger sends is not looked at: the
// outer source is one check for the whole run.
func (d *down) message(m *tunnel.Received) {
	from, data := m.From.Addr(), m.Data
	if d.check == Strict && (d.good.table != d.t || d.good.outer != from) && !d.t.outers[from] {
		d.count.drop(encap.OuterSrcUnknown, max(1, (len(data)+m.Size-1)/max(1, m.Size)))
		return
	}
	for len(data) > m.Size {
		d.datagram(from, data[:m.Size:m.Size])
		data = data[m.Size:]
	}
	d.datagram(from, data)
}

// datagram checks one datagram and hands its packet on.
func (d *down) datagram(from netip.Addr, b []byte) {
	p, drop := d.codec.Open(b)
	if drop != encap.Delivered {
		d.count.drop(drop, 1)
		return
	}
	h, drop := encap.Parse(p)
	if drop != encap.Delivered {
		d.count.drop(drop, 1)
		return
	}
	at := pair{d.t, from, h.Src(p), h.Dst(p)}
	if at != d.good && !d.admit(at) {
		return
	}
	if d.codec.Routes() && !encap.DecrementTTL(p) {
		d.expired(p, &h)
		return
	}
	d.join.Add(p, &h, true)
}

// admit judges a pair that is not the latest good one. A packet that is not
// for us is not relayed, whatever the source check.
func (d *down) admit(at pair) bool {
	if !d.t.owns(at.dst) {
		d.count.drop(encap.InnerDstNotLocal, 1)
		return false
	}
	if d.check == Off {
		return true
	}
	drop := encap.Delivered
	switch owner := d.t.lookup(at.inner); {
	case !d.t.outers[at.outer]:
		drop = encap.OuterSrcUnknown
	case owner == nil || owner.outer != at.outer:
		drop = encap.InnerSrcNotLeased
	default:
		d.good = at
		return true
	}
	d.count.drop(drop, 1)
	return d.check == Report
}

// write hands one packet or superpacket to the device.
func (d *down) write(s *encap.Super) {
	if d.failed != nil {
		return
	}
	if !d.vnet && s.Offload.Flags != 0 {
		d.plain(s)
		return
	}
	if err := d.dev.Write(d.gather, tunnel.Offload(s.Offload), s.Pieces); err != nil {
		d.refused(s, err)
		return
	}
	d.done.packets += len(s.Packets)
	d.done.bytes += s.Bytes + (len(s.Packets)-1)*len(s.Pieces[0]) // each had its own headers
	d.done.calls++
}
