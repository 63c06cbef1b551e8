package engine

import (
	"sync/atomic"

	"weft/encap"
	"weft/engine/trace"
	"weft/tunnel"
)

// device is the near end: a TUN queue.
type device interface {
	Read(*tunnel.Batch) error
	Write(*tunnel.Gather, tunnel.Offload, [][]byte) error
	Features() tunnel.Feature
}

// port is the far end: a UDP socket.
type port interface {
	Send(*tunnel.Outbox, []tunnel.Message) (refused int, err error)
	Recv(*tunnel.Inbox) error
	MaxRun() int
}

// up carries packets from the device to the ports. One goroutine runs it.
type up struct {
	dev    device
	table  *atomic.Pointer[table]
	answer *answerer
	learn  func(*peer) int // asks for the limit of a path, remembers and returns it
	traced bool            // this batch is

	t      *table // the snapshot of this batch
	batch  *tunnel.Batch
	cutter *encap.Cutter
	runs   runs
	segs   []encap.Segment
	out    *tunnel.Outbox
	again  []retry
	tap    tap // beyond what the loop touches for each packet
}

func newUp(dev device, t *atomic.Pointer[table], a *answerer, learn func(*peer) int, tap tap) *up {
	return &up{dev: dev, table: t, answer: a, learn: learn, tap: tap,
		batch: tunnel.NewBatch(), cutter: encap.NewCutter(64 << 10), out: tunnel.NewOutbox()}
}

// run carries packets until the device fails or is stopped.
func (u *up) run() error {
	for {
		if err := u.dev.Read(u.batch); err != nil {
			return err
		}
		if err := u.carry(); err != nil {
			return err
		}
	}
}

// carry deals with one batch.
func (u *up) carry() error {
	u.t = u.table.Load()
	u.traced = u.tap.begin()
	u.cutter.Reset()
	u.runs.reset(u.t)
	for i := range u.batch.Packets {
		u.packet(&u.batch.Packets[i])
	}
	if err := u.send(); err != nil {
		return err // nobody knows what became of the batch
	}
	u.tap.end(trace.Sent)
	return nil
}

// packet finds the way of one packet or superpacket and adds its segments to
// the runs.
func (u *up) packet(pk *tunnel.Packet) {
	h, drop := encap.Parse(pk.Data)
	if drop != encap.Delivered {
		if u.tap.drop(drop, 1) {
			u.tap.tell(drop, 1, sight{prefix: pk.Data, way: trace.Read})
		}
		return
	}
	o := encap.Offload(pk.Offload)
	p := u.t.lookup(h.Dst(pk.Data))
	if p == nil || p.out.n == 0 {
		u.noRoute(p, pk.Data, &h, &o)
		return
	}
	if limit := int(p.path.inner.Load()); limit > 0 && encap.PacketSize(pk.Data, &h, &o) > limit && !u.answer.excepts(p.path, pk.Data, &h) {
		u.tooBig(p, pk.Data, &h, &o, limit)
		return
	}
	if p.framing.codec.Routes() && !encap.DecrementTTL(pk.Data) {
		u.expired(p, pk.Data, &h, &o)
		return
	}
	if u.segs, drop = u.cutter.Cut(u.segs[:0], pk.Data, &h, &o, p.prefix); drop != encap.Delivered {
		if u.tap.drop(drop, packetsIn(pk.Data, &h, &o)) {
			u.tap.tell(drop, packetsIn(pk.Data, &h, &o), u.sight(p, pk.Data, &h, &o))
		}
		return
	}
	l := u.lane(p, pk.Data, &h)
	for _, s := range u.segs {
		u.runs.add(&l, s)
	}
	if u.traced {
		u.sighted(p, &l, pk.Data, &h, &o)
	}
}

// lane finds what the datagrams of one packet have in common: flows are spread
// over the peer's outlets, and congestion bits go into the outer header.
func (u *up) lane(p *peer, b []byte, h *encap.Header) lane {
	l := lane{peer: p, outlet: p.out.first, slot: p.slot}
	if p.out.n > 1 {
		k := int(encap.FlowHash(b, h)) & (p.out.n - 1)
		l.outlet, l.slot = l.outlet+k, l.slot+k
	}
	if p.framing.codec.ECN() {
		l.ecn = encap.ECN(b)
	}
	l.limit = u.t.outlets[l.outlet].MaxRun()
	return l
}

// send hands the runs of the batch to their outlets.
func (u *up) send() error {
	u.runs.messages()
	var sent tally
	for _, i := range u.runs.used {
		msgs := u.runs.msgs[i]
		refused, err := u.t.outlets[i].Send(u.out, msgs)
		if err != nil {
			return err
		}
		for j := range msgs {
			n, to := msgs[j].Count, u.runs.peer(i, j)
			bytes := msgs[j].Bytes - n*len(to.prefix)
			to.path.sent.add(n, bytes)
			sent.packets += n
			sent.bytes += bytes
		}
		sent.calls += len(msgs)
		if refused > 0 {
			u.refused(i, &sent)
		}
	}
	if len(u.again) > 0 {
		u.resend(&sent)
	}
	u.tap.count.add(sent)
	return nil
}
