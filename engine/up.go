package engine

import (
	"sync/atomic"

	"weft/encap"
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
	count  *counters

	t      *table // the snapshot of this batch
	batch  *tunnel.Batch
	cutter *encap.Cutter
	runs   runs
	segs   []encap.Segment
	out    *tunnel.Outbox
	again  []retry
}

func newUp(dev device, t *atomic.Pointer[table], a *answerer, learn func(*peer) int, count *counters) *up {
	return &up{dev: dev, table: t, answer: a, learn: learn, count: count,
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
	u.cutter.Reset()
	u.runs.reset(u.t)
	for i := range u.batch.Packets {
		u.packet(&u.batch.Packets[i])
	}
	return u.send()
}

// packet finds the way of one packet or superpacket and adds its segments to
// the runs.
func (u *up) packet(pk *tunnel.Packet) {
	h, drop := encap.Parse(pk.Data)
	if drop != encap.Delivered {
		u.count.drop(drop, 1)
		return
	}
	o := encap.Offload(pk.Offload)
	p := u.t.lookup(h.Dst(pk.Data))
	if p == nil || p.out.n == 0 {
		u.noRoute(p, pk.Data, &h, &o)
		return
	}
	if limit := int(p.path.inner.Load()); limit > 0 && encap.PacketSize(pk.Data, &h, &o) > limit {
		u.tooBig(p, pk.Data, &h, &o, limit)
		return
	}
	if p.framing.codec.Routes() && !encap.DecrementTTL(pk.Data) {
		u.expired(pk.Data, &h, &o)
		return
	}
	if u.segs, drop = u.cutter.Cut(u.segs[:0], pk.Data, &h, &o, p.prefix); drop != encap.Delivered {
		u.count.drop(drop, 1)
		return
	}
	l := u.lane(p, pk.Data, &h)
	for _, s := range u.segs {
		u.runs.add(&l, s)
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
			sent.packets += msgs[j].Count
			sent.bytes += msgs[j].Bytes - msgs[j].Count*u.runs.overhead(i, j)
		}
		sent.calls += len(msgs)
		if refused > 0 {
			u.refused(i, &sent)
		}
	}
	if len(u.again) > 0 {
		u.resend(&sent)
	}
	u.count.add(sent)
	return nil
}
