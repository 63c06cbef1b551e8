package engine

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/engine/probe"
	"weft/engine/trace"
	"weft/tunnel"
	"weft/tunnel/wg"
)

// How the prober's packets get into the tunnel and out of it, past the device:
// the loops offer it what is for the node itself, and it sends by their ends.

var (
	errNoPeer = errors.New("no such peer, or no way to it")
	errClosed = errors.New("the data plane is down")
)

// forProber tells whether a packet for our tunnel address may be the prober's: an
// ICMP message, or of the port that questions go to.
func forProber(p []byte, h *encap.Header) bool {
	switch h.Proto {
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		return true
	case unix.IPPROTO_UDP:
		return h.L4+4 <= h.Len && binary.BigEndian.Uint16(p[h.L4+2:]) == probe.Port
	}
	return false
}

// consume offers a believed packet for our tunnel address to the prober. Such
// packets are not rare: a host's own traffic bears that address.
func (d *down) consume(a *arrival, b, p []byte, h *encap.Header) bool {
	from := d.from
	if from == nil || d.prober == nil || !forProber(p, h) || !d.prober.Input(p[:h.Len], a.from, from.key) {
		return false
	}
	if d.traced {
		s := d.sight(a, b, p, h)
		s.packets, s.lease, s.way = 1, &from.lease, s.way|trace.Checked|trace.Consumed
		d.tap.see(s)
	}
	return true
}

// consumeOuter offers a datagram from a known node, which holds no packet that
// could go on, to the prober.
func (d *down) consumeOuter(a *arrival, b []byte) bool {
	from := d.t.outers[a.from.Addr()]
	if d.prober == nil || from == nil || !d.prober.InputOuter(b, a.from, from.key) {
		return false
	}
	if d.tap.live() {
		s := d.unread(a, b)
		s.packets, s.way = 1, s.way|trace.Consumed
		d.tap.see(s)
	}
	return true
}

// consume offers a packet for our tunnel address to the prober.
func (n *wgNear) consume(w *writer, from *wgPeer, p []byte, h *encap.Header, ecn uint8) bool {
	if n.prober == nil || from == nil || !forProber(p, h) || !n.prober.Input(p, netip.AddrPort{}, from.name) {
		return false
	}
	if w.tap.live() {
		s := opened(from, p, ecn)
		s.way |= trace.Consumed
		w.tap.see(s)
	}
	return true
}

// inject sends a packet of our own to the peer whose subnet its destination is in,
// whatever is known of the path.
func (p *plane) inject(packet []byte) error {
	h, drop := encap.Parse(packet)
	if drop != encap.Delivered {
		return errors.New(drop.String())
	}
	p.sending.Lock()
	defer p.sending.Unlock()
	if p.live == nil {
		return errClosed
	}
	t := p.table.Load()
	to := t.lookup(h.Dst(packet))
	if to == nil || to.out.n == 0 {
		return errNoPeer
	}
	by := t.outlets[to.out.first]
	s := sight{prefix: to.prefix, inner: packet, lease: &to.lease, kind: to.framing.trace, vni: vniOf(to.framing.trace, to.prefix),
		way: trace.Parsed | trace.Routed | trace.Wrapped}
	return p.sendOwn(by, to.addr, s)
}

// injectOuter sends a datagram of our own to the tunnel port of a peer, from where
// its answer can come in.
func (p *plane) injectOuter(key string, datagram []byte) error {
	to := p.table.Load().peerOf(key)
	if to == nil || to.out.n == 0 {
		return errNoPeer
	}
	p.mu.Lock()
	e := p.ends
	var from *tunnel.Port
	if e != nil {
		from = e.ports[to.framing.id][to.family]
	}
	p.mu.Unlock()
	p.sending.Lock()
	defer p.sending.Unlock()
	switch {
	case e == nil || p.live != e:
		return errClosed
	case from == nil:
		return errNoPort
	}
	return p.sendOwn(from, to.addr, sight{prefix: datagram, lease: &to.lease, kind: to.framing.trace})
}

// sendOwn sends the one datagram of s, and tells of it. The caller holds sending.
func (p *plane) sendOwn(by port, to *tunnel.Addr, s sight) error {
	n := len(s.prefix) + len(s.inner)
	m := []tunnel.Message{{To: to, Pieces: [][]byte{s.prefix, s.inner}, Size: n, Count: 1, Bytes: n}}
	refused, err := by.Send(p.out, m)
	if err == nil && refused > 0 {
		err = m[0].Err
	}
	if err == nil && p.told.begin() {
		s.packets, s.run, s.local, s.remote = 1, 1, localOf(by), to.AddrPort()
		p.told.see(s)
		p.told.end(trace.Sent)
	}
	return err
}

// peerOf returns the peer for the lease with a key, or nil.
func (t *table) peerOf(key string) *peer {
	for _, p := range t.peers {
		if p.key == key {
			return p
		}
	}
	return nil
}

// inject sends a packet of our own to the peer whose subnet its destination is in.
func (p *wgPlane) inject(packet []byte) error {
	h, drop := encap.Parse(packet)
	if drop != encap.Delivered {
		return errors.New(drop.String())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links {
		to := l.table.Load().lookup(h.Dst(packet))
		if to == nil || to.lane == nil || l.near == nil {
			continue
		}
		if limit := to.seen.told(); limit > 0 && len(packet) > limit {
			return unix.EMSGSIZE // the kernel would say so when nobody listens any more
		}
		return l.near.inject(l.dev.Nudge, packet)
	}
	return errNoPeer
}

// injectOuter cannot be: nothing but WireGuard goes to a WireGuard port.
func (p *wgPlane) injectOuter(string, []byte) error { return probe.ErrNoUnderlay }

// inject queues a copy of a packet of our own for the device's reader, which
// nudge wakes.
func (n *wgNear) inject(nudge func(), packet []byte) error {
	select {
	case n.ours <- append([]byte(nil), packet...):
		nudge()
		return nil
	default:
		return errors.New("too many packets of our own wait")
	}
}

// injected makes a packet of our own that waits the next one to read, and tells
// whether there was one.
func (n *wgNear) injected() bool {
	select {
	case b := <-n.ours:
		h, drop := encap.Parse(b)
		p := n.table.Load().lookup(h.Dst(b))
		if drop != encap.Delivered || p == nil || p.lane == nil || !p.lane.Admit(1) {
			return true // the prober will find that it is not answered
		}
		n.head = wg.Outgoing{Lane: p.lane, ECN: encap.ECN(b)}
		n.segs = append(n.segs, encap.Segment{Body: b})
		if n.tap.live() {
			n.sighted(p, b, &h, &encap.Offload{})
		}
		return true
	default:
		return false
	}
}
