package probe

import (
	"errors"
	"net/netip"
	"time"
)

// An event is a message for us.
type event struct {
	at      time.Time
	from    netip.AddrPort // outer source
	key     string         // the peer it came from
	message any
}

// The messages that have no type of their own; the others are *query and *Datagram.
type (
	echoed  uint64 // the token of an echo that was answered
	refused struct {
		token uint64
		Refusal
	}
)

// Input takes an inner packet for our tunnel address that the data plane
// believed: from is its outer source, key the peer it came from. It reports
// whether the packet was the prober's; then nobody else may have it. It neither
// blocks nor keeps the packet, and may be called by many at once.
func (p *Prober) Input(packet []byte, from netip.AddrPort, key string) (consumed bool) {
	ip, ok := parseIP(packet, false)
	if !ok {
		return false
	}
	switch ip.proto {
	case protoICMP, protoICMPv6:
		if e, ok := ip.echo(); ok {
			return p.ownEcho(&e, true, e.Dst, e.Src) && ip.sum() == 0 && p.post(p.replies, from, key, echoed(e.Token))
		}
		r, quoted, ok := ip.refusal()
		if !ok {
			return false
		}
		token, ok := p.quotes(&quoted)
		return ok && p.post(p.replies, from, key, &refused{token, r})
	case protoUDP:
		q, ok := parseQuery(&ip)
		return ok && p.inputQuery(&q, from, key)
	}
	return false
}

// inputQuery takes a question of a peer itself, or an answer. What a pod sends in
// this form is as any other packet of its.
func (p *Prober) inputQuery(q *query, from netip.AddrPort, key string) (consumed bool) {
	to := p.replies
	switch {
	case q.tell && !p.seal.made(q.mark, forQuery, q.dst, q.src, querySize):
		return true // of a process before us; the kernel would send an error
	case q.tell:
	case p.opt.Answer == nil || p.gate.foreign(key, q.src):
		return false
	case !p.gate.admit(key):
		return true // it asks again; an error would say that this is no weft node
	default:
		to = p.asks
	}
	mine := *q // only what is kept is allocated
	return p.post(to, from, key, &mine)
}

// ownEcho tells whether e is an echo of ours from src to dst, or the reply if
// that is wanted.
func (p *Prober) ownEcho(e *Echo, reply bool, src, dst netip.Addr) bool {
	return e.Reply == reply && p.seal.made(mark{e.Token, e.Seal}, forEcho, src, dst, e.Size)
}

// quotes returns the token of the packet of ours that an ICMP error quotes.
func (p *Prober) quotes(quoted *ipPacket) (token uint64, ok bool) {
	if e, ok := quoted.echo(); ok {
		return e.Token, p.ownEcho(&e, false, e.Src, e.Dst)
	}
	q, ok := quoted.query()
	return q.mark.token, ok && !q.tell && p.seal.made(q.mark, forQuery, q.src, q.dst, querySize)
}

// InputOuter takes a datagram that came to the tunnel's port and was nothing
// that the tunnel carries: it could not be opened, or the TTL of its packet ends
// here. It is for the caller to see that from is the outer address of the peer
// with that key; nothing else may be passed. It is as quick as Input.
func (p *Prober) InputOuter(datagram []byte, from netip.AddrPort, key string) (consumed bool) {
	d, ok := Recognise(datagram)
	if !ok || p.opt.SendOuter == nil {
		return false
	}
	to := p.replies
	switch {
	case d.Tell && !p.seal.made(d.mark, forUnderlay+uint8(d.Form), netip.Addr{}, netip.Addr{}, underlaySize):
		return true // of a process before us
	case d.Tell:
	case !p.gate.admit(key):
		return true
	default:
		to = p.asks
	}
	mine := d // only what is kept is allocated
	return p.post(to, from, key, &mine)
}

// post hands a message to Run. What finds no room is let go, as the network
// does, but it was ours.
func (p *Prober) post(to chan<- event, from netip.AddrPort, key string, message any) bool {
	select {
	case to <- event{time.Now(), netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), key, message}:
	default:
		p.missed.Add(1)
	}
	return true
}

// handle deals with one message.
func (p *Prober) handle(e *event) {
	switch m := e.message.(type) {
	case echoed:
		p.landed(uint64(m), e, reply{})
	case *refused:
		p.landed(m.token, e, reply{err: &m.Refusal})
	case *query:
		if m.tell {
			p.landed(m.mark.token, e, reply{answer: m.answer})
		} else {
			p.answerQuery(e, m)
		}
	case *Datagram:
		if m.Tell {
			p.landed(m.mark.token, e, reply{observed: m.Observed})
		} else {
			p.answerDatagram(e, m)
		}
	}
}

// landed deals with what came back for the message with that token.
func (p *Prober) landed(token uint64, e *event, r reply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.flights.of[token]
	if !ok || f.outer && !p.sameWay(f.key, e.key) {
		return // too late; or not from the node it was sent to, which inside the tunnel the seal tells
	}
	p.flights.land(token)
	r.rtt, r.from = e.at.Sub(f.sent), e.from.Addr()
	if f.done != nil {
		f.done <- r
		return
	}
	if !f.peer.gone {
		f.peer.landed(&f, &r, e.at, p.opt.Interval)
		p.arrange(f.peer)
	}
}

// sameWay tells whether two keys are of one node on the outside, as those of two
// leases with one address are. The caller holds mu.
func (p *Prober) sameWay(a, b string) bool {
	x, y := p.peers[a], p.peers[b]
	return a == b || x != nil && y != nil && x.Path == y.Path
}

// landed deals with what came back for a message of the background.
func (q *peer) landed(f *flight, r *reply, now time.Time, interval time.Duration) {
	var refusal *Refusal
	switch errors.As(r.err, &refusal); {
	case f.task == taskAsk && refusal == nil:
		q.spoke(r.answer, now)
	case f.task == taskAsk && refusal.noPort():
		q.spoke(Answer{}, now)
	case f.task == taskEcho && refusal == nil && f.window == q.window:
		q.echoed(f.echo, now, r.rtt, interval)
	case f.trial == nil || f.trial != q.trial:
		// A trial that is over, or an error about an echo: it is not answered.
	case refusal != nil && f.large && refusal.tooBig():
		q.conclude(fails, now)
	case refusal != nil:
	case f.large:
		q.lastAnswer = now
		q.conclude(passes, now)
	default:
		q.trial.answered++
		q.heard(now, r.rtt)
	}
}

func (p *Prober) answerQuery(e *event, ask *query) {
	a := query{src: ask.dst, dst: ask.src, tell: true, mark: ask.mark, about: ask.about,
		answer: Answer{View: p.opt.Answer(ask.about), Observed: e.from}}
	p.buf = a.append(p.buf[:0])
	if err := p.opt.Send(e.key, p.buf); err != nil {
		p.opt.Log.Debug("answer not sent", "peer", e.key, "err", err)
	}
}
