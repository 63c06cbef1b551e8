package engine

import (
	"net/netip"
	"sync/atomic"

	"weft/encap"
	"weft/tunnel"
)

// SourceCheck says what is done about packets whose outer source holds no
// lease, or whose inner source is not in the lease of the node that sent them.
// What is in the clear and bears an address of a sealed peer is dropped by all.
type SourceCheck uint8

// The source checks.
const (
	Strict SourceCheck = iota // drop and count
	Report                    // deliver and count
	Off                       // deliver
)

// down carries packets from one port to the device. One goroutine runs it.
type down struct {
	port    port
	framing *framing
	table   *atomic.Pointer[table]
	check   SourceCheck
	answer  *answerer
	seen    *policies // nil: frames have none

	t     *table // the snapshot of this batch
	inbox *tunnel.Inbox
	good  pair // the latest pair of addresses that passed the check
	*writer
}

// A pair is who sent a packet, whose address it bears and whom it is for.
type pair struct {
	table *table
	outer netip.Addr
	inner netip.Addr
	dst   netip.Addr
}

// newDown makes the loop between p, whose datagrams have the framing f, and the
// device, which has an MTU of mtu bytes.
func newDown(dev device, mtu int, p port, f *framing, t *atomic.Pointer[table], check SourceCheck, a *answerer, count *counters) *down {
	return &down{port: p, framing: f, table: t, check: check, answer: a,
		inbox: tunnel.NewInbox(), writer: newWriter(dev, mtu, count)}
}

// run carries packets until the port or the device fails or is stopped.
func (d *down) run() error {
	for {
		if err := d.port.Recv(d.inbox); err != nil {
			return err
		}
		if err := d.carry(); err != nil {
			return err
		}
	}
}

// carry deals with one batch. Its error says that the device is gone.
func (d *down) carry() error {
	d.t = d.table.Load()
	d.begin()
	for i := range d.inbox.Messages {
		m := &d.inbox.Messages[i]
		if m.Truncated {
			d.count.drop(encap.Truncated, 1)
			continue
		}
		d.message(m)
	}
	return d.end()
}

// message takes a run apart. What a stranger sends is not looked at: the
// outer source is one check for the whole run.
func (d *down) message(m *tunnel.Received) {
	from, data := m.From.Addr(), m.Data
	if (d.good.table != d.t || d.good.outer != from) && !d.t.outers[from] &&
		!d.stranger(from, max(1, (len(data)+m.Size-1)/max(1, m.Size))) {
		return
	}
	a := arrival{from: from, ecn: m.ECN, sound: true}
	if d.framing.kernel {
		// The kernel joins only datagrams that have a checksum, and it has
		// checked that. Of a single one over IPv4 nobody knows whether it had one.
		a.sound = len(data) > m.Size || from.Is6()
		if encap.Whole(d.framing.codec, data, m.Size) {
			a.size = m.Size
			d.datagram(&a, data)
			return
		}
	}
	for len(data) > m.Size {
		d.datagram(&a, data[:m.Size:m.Size])
		data = data[m.Size:]
	}
	d.datagram(&a, data)
}

// An arrival is what the kernel tells of the datagrams of one message.
type arrival struct {
	from  netip.Addr
	ecn   uint8 // congestion bits of the outer header
	sound bool  // the outer checksum covers the inner packet, and is right
	size  int   // if not 0, the inner packet stands for packets of this payload
}

// datagram checks one datagram and hands its packet on.
func (d *down) datagram(a *arrival, b []byte) {
	p, drop := d.framing.codec.Open(b)
	if drop != encap.Delivered {
		d.unopened(a.from, b, drop)
		return
	}
	h, drop := encap.Parse(p)
	if drop != encap.Delivered {
		d.count.drop(drop, 1)
		return
	}
	at := pair{d.t, a.from, h.Src(p), h.Dst(p)}
	if at != d.good && !d.admit(at, d.standsFor(a, &h)) {
		return
	}
	if d.framing.codec.Routes() && !encap.DecrementTTL(p) {
		d.expired(p, &h)
		return
	}
	if a.ecn != 0 && d.framing.codec.ECN() {
		drop = encap.DecapECN(p, a.ecn)
	}
	if d.seen != nil {
		d.seen.note(d.framing.codec.(*encap.VXLAN), b)
	}
	switch {
	case drop != encap.Delivered:
	case a.size > 0:
		drop = d.join.AddSuper(p, &h, a.size)
	default:
		drop = d.join.Add(p, &h, a.sound)
	}
	if drop != encap.Delivered {
		d.count.drop(drop, d.standsFor(a, &h))
	}
}

// admit judges a pair that is not the latest good one, of n packets. What is
// not for us is not relayed, whatever the source check.
func (d *down) admit(at pair, n int) bool {
	if !d.t.owns(at.dst) {
		d.count.drop(encap.InnerDstNotLocal, n)
		return false
	}
	owner := d.t.lookup(at.inner)
	if owner != nil && owner.sealed {
		d.count.drop(encap.ClearFromWireGuard, n)
		return false
	}
	if d.check == Off {
		return true
	}
	drop := encap.Delivered
	switch {
	case !d.t.outers[at.outer]:
		drop = encap.OuterSrcUnknown
	case owner == nil || !owner.sends(at.outer):
		drop = encap.InnerSrcNotLeased
	default:
		d.good = at
		return true
	}
	d.count.drop(drop, n)
	return d.check == Report
}
