package engine

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/engine/trace"
	"weft/tunnel/wg"
)

// sent counts packets that went to the wire.
func (p *wgPlane) sent(l *wg.Lane, packets, bytes, messages int) {
	inner := bytes - packets*wg.Overhead
	p.up.add(tally{packets: packets, bytes: inner, calls: messages})
	if to := p.peerOf(l); to != nil {
		to.seen.sent.add(packets, inner)
	}
}

// lostUnseen counts packets whose headers nobody has any more: WireGuard sealed them, or
// never opened them. The flight recorder is told how many, and of whom.
func (p *wgPlane) lostUnseen(c *counters, dir trace.Dir, reason encap.Drop, n int, l *wg.Lane) {
	now := time.Now()
	if c.drop(reason, n); n <= 0 || !p.node.hub.Flight.Wants(reason, now) {
		return
	}
	r := trace.Record{ID: p.node.hub.IDs(1), Time: now.UnixNano(), Dir: dir, Kind: trace.WireGuard, Drop: reason, Packets: uint32(n), Way: trace.Received}
	if dir == trace.Out {
		r.Way = trace.Read | trace.Sealed
	}
	if l != nil {
		if to := p.peerOf(l); to != nil {
			r.Remote = to.endpoint
		}
	}
	p.node.hub.Flight.Keep(&r)
}

// refused counts datagrams that the kernel did not take, and learns from it how
// long they may be.
func (p *wgPlane) refused(l *wg.Lane, err error, n int) {
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT):
		p.lostUnseen(&p.up, trace.Out, encap.NoFamily, n, l)
	case errors.Is(err, unix.EMSGSIZE):
		p.lostUnseen(&p.up, trace.Out, encap.TooBig, n, l)
		if to := p.peerOf(l); to != nil {
			select {
			case p.tooLong <- to: // asking takes locks that the sender holds
			default: // the next one will be too long as well
			}
		}
	default:
		p.lostUnseen(&p.up, trace.Out, sendDrop(err), n, l)
	}
}

// lossReasons names the drop behind each loss of a tunnel.
var lossReasons = [wg.NumLosses]encap.Drop{
	wg.NotMessage: encap.WGMessage, wg.BadHandshake: encap.WGHandshake, wg.UnknownSession: encap.WGUnknownSession,
	wg.Replayed: encap.WGReplay, wg.Forged: encap.WGForged, wg.BadSource: encap.InnerSrcNotLeased,
	wg.NotIP: encap.NotIP, wg.Overdue: encap.QueueDelay, wg.NoSession: encap.WGNoSession,
}

// sample adds to the counters what was lost in and around the tunnels since the
// last sample.
func (p *wgPlane) sample() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links {
		p.sampleLink(l)
	}
}

// sampleLink samples one interface. The caller holds mu.
func (p *wgPlane) sampleLink(l *wgEnds) {
	if l.tunnel == nil {
		return
	}
	for why, n := range l.tunnel.Losses() {
		c, dir := &p.down, trace.In
		if wg.Loss(why) == wg.NoSession {
			c, dir = &p.up, trace.Out
		}
		p.lostUnseen(c, dir, lossReasons[why], int(n-l.counted[why]), nil)
		l.counted[why] = n
	}
	lost := l.tunnel.PortDrops()
	p.down.drop(encap.SockRecvFull, int(lost-l.sockLost))
	l.sockLost = lost
	p.up.drop(encap.TunQueueFull, l.queue.news(l.name))
}

// Up returns what went from the pods to the wire.
func (p *wgPlane) Up() Traffic { return p.up.traffic() }

// Down returns what went from the wire to the pods.
func (p *wgPlane) Down() Traffic { return p.down.traffic() }

// Drops returns the packets lost, by reason.
func (p *wgPlane) Drops() map[string]uint64 {
	m := map[string]uint64{}
	p.up.addDrops(m)
	p.down.addDrops(m)
	return m
}
