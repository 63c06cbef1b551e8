package engine

import (
	"errors"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/tunnel/wg"
)

// sent counts packets that went to the wire.
func (p *wgPlane) sent(_ *wg.Lane, packets, bytes, messages int) {
	p.up.add(tally{packets: packets, bytes: bytes - packets*wg.Overhead, calls: messages})
}

// refused counts datagrams that the kernel did not take, and learns from it how
// long they may be.
func (p *wgPlane) refused(l *wg.Lane, err error, n int) {
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT):
		p.up.drop(encap.NoFamily, n)
	case errors.Is(err, unix.EMSGSIZE):
		p.up.drop(encap.TooBig, n)
		if to := p.peerOf(l); to != nil {
			select {
			case p.tooLong <- to: // asking takes locks that the sender holds
			default: // the next one will be too long as well
			}
		}
	default:
		p.up.drop(sendDrop(err), n)
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
		c := &p.down
		if wg.Loss(why) == wg.NoSession {
			c = &p.up
		}
		c.drop(lossReasons[why], int(n-l.counted[why]))
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
