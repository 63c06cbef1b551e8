package engine

import (
	"net/netip"
	"sync/atomic"

	"weft/encap"
	"weft/engine/probe"
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
	local   netip.AddrPort // the port's address, for the tap
	prober  *probe.Prober  // nil: nobody
	framing *framing
	table   *atomic.Pointer[table]
	check   SourceCheck
	answer  *answerer
	seen    *policies // nil: frames have none

	t      *table // the snapshot of this batch
	inbox  *tunnel.Inbox
	good   pair       // the latest pair of addresses that passed the check
	from   *peer      // whose packets got counts
	traced bool       // this batch is
	toSelf bool       // what goes from good's source to its destination is for the node, not for a pod
	noted  encap.Drop // what is wrong with the source of the packet at hand, which goes on
	got    tally
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
func newDown(dev device, mtu int, p port, f *framing, t *atomic.Pointer[table], check SourceCheck, a *answerer, tap tap) *down {
	return &down{port: p, framing: f, table: t, check: check, answer: a,
		inbox: tunnel.NewInbox(), writer: newWriter(dev, mtu, tap)}
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
	d.traced = d.begin()
	for i := range d.inbox.Messages {
		m := &d.inbox.Messages[i]
		if m.Truncated {
			if d.tap.drop(encap.Truncated, 1) {
				d.tap.tell(encap.Truncated, 1, d.unread(&arrival{from: m.From, ecn: m.ECN, run: 1}, m.Data))
			}
			continue
		}
		d.message(m)
	}
	d.credit(d.from)
	return d.end()
}

// message takes a run apart. What a stranger sends is not looked at: the
// outer source is one check for the whole run.
func (d *down) message(m *tunnel.Received) {
	from, data := m.From.Addr(), m.Data
	if (d.good.table != d.t || d.good.outer != from) && d.t.outers[from] == nil && !d.stranger(m) {
		return
	}
	a := arrival{from: m.From, ecn: m.ECN, sound: true, run: 1}
	if d.traced {
		a.run = max(1, (len(data)+m.Size-1)/max(1, m.Size))
	}
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
	from  netip.AddrPort
	ecn   uint8 // congestion bits of the outer header
	sound bool  // the outer checksum covers the inner packet, and is right
	size  int   // if not 0, the inner packet stands for packets of this payload
	run   int   // datagrams that came in one; for the tap
}

// datagram checks one datagram and hands its packet on.
func (d *down) datagram(a *arrival, b []byte) {
	p, drop := d.framing.codec.Open(b)
	if drop != encap.Delivered {
		d.unopened(a, b, drop)
		return
	}
	h, drop := encap.Parse(p)
	if drop != encap.Delivered {
		if d.consumeOuter(a, b) {
			return
		}
		if d.tap.drop(drop, 1) {
			d.tap.tell(drop, 1, d.unread(a, b))
		}
		return
	}
	at := pair{d.t, a.from.Addr(), h.Src(p), h.Dst(p)}
	if at != d.good && !d.admit(at, a, b, p, &h) {
		return
	}
	if d.toSelf && d.consume(a, b, p, &h) {
		return
	}
	if d.framing.codec.Routes() && !encap.DecrementTTL(p) {
		d.expired(a, b, p, &h)
		return
	}
	if a.ecn != 0 && d.framing.codec.ECN() {
		drop = encap.DecapECN(p, a.ecn)
	}
	if d.seen != nil {
		d.seen.note(d.framing.codec.(*encap.VXLAN), b)
	}
	d.got.packets++
	if d.framing.kernel {
		d.got.packets += d.standsFor(a, &h) - 1
	}
	d.got.bytes += h.Len
	if d.traced {
		d.sighted(a, b, p, &h)
	}
	switch {
	case drop != encap.Delivered:
	case a.size > 0:
		drop = d.join.AddSuper(p, &h, a.size)
	default:
		drop = d.join.Add(p, &h, a.sound)
	}
	if drop != encap.Delivered {
		d.spoilt(drop, a, b, p, &h)
	}
}

// admit judges a packet whose pair is not the latest good one. What is not for us
// is not relayed, whatever the source check.
func (d *down) admit(at pair, a *arrival, b, p []byte, h *encap.Header) bool {
	d.noted, d.toSelf = encap.Delivered, false
	d.good = pair{} // what d.from is owed is not his who comes next
	if !d.t.owns(at.dst) {
		return d.refuse(encap.InnerDstNotLocal, a, b, p, h)
	}
	owner := d.t.lookup(at.inner)
	if owner != nil && owner.sealed {
		return d.refuse(encap.ClearFromWireGuard, a, b, p, h)
	}
	switch {
	case owner != nil && owner.sends(at.outer):
		d.credit(owner)
		d.toSelf = at.dst == d.answer.self[0] || at.dst == d.answer.self[1]
		d.good = at
		return true
	case d.check == Off: // nothing is asked
	case d.t.outers[at.outer] == nil:
		d.refuse(encap.OuterSrcUnknown, a, b, p, h)
	default:
		d.refuse(encap.InnerSrcNotLeased, a, b, p, h)
	}
	d.credit(nil)
	return d.check != Strict
}

// credit gives the peer that sent them the packets that were counted since the
// last call, and says whose come next.
func (d *down) credit(next *peer) {
	if d.from != nil && d.got.packets > 0 {
		d.from.path.got.add(d.got.packets, d.got.bytes)
	}
	d.from, d.got = next, tally{}
}
