package probe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

// The errors of what is asked on demand.
var (
	// ErrNotWeft says that the peer's kernel refused a question: nothing took it
	// out of the stream of packets.
	ErrNotWeft = errors.New("the peer is no weft node, or one that tells nothing")
	// ErrNoUnderlay says that this data plane sends nothing beside the tunnel.
	ErrNoUnderlay = errors.New("there is no probe beside this kind of tunnel")
	// ErrBusy says that too many callers wait for answers.
	ErrBusy = errors.New("too many probes at once")
)

// Ping sends one echo of size bytes, the inner IP header included (0: 84 or
// 104), and waits for the reply until ctx ends; the error is then ctx's. The
// peer with the key need not be a target. from is the outer address that the
// reply came from. Refused echoes give a *[Refusal], those that could not be
// sent the error of Send. Callers pace themselves; Run must be running.
func (p *Prober) Ping(ctx context.Context, key string, src, dst netip.Addr, size int) (rtt time.Duration, from netip.Addr, err error) {
	if size == 0 {
		size = smallEcho(dst)
	}
	m := p.seal.mark(forEcho, src, dst, size)
	e := Echo{Src: src, Dst: dst, ID: p.id, Seq: uint16(rand.Uint32()), Size: size, Token: m.token, Seal: m.seal}
	packet, err := e.Append(nil)
	if err != nil {
		return 0, netip.Addr{}, err
	}
	r, err := p.call(ctx, m.token, flight{key: key}, func() error { return p.opt.Send(key, packet) })
	return r.rtt, r.from, err
}

// Ask asks a peer how it would treat a packet to the inner address about, and
// waits for the answer until ctx ends. See Ping for the rest.
func (p *Prober) Ask(ctx context.Context, key string, src, dst, about netip.Addr) (Answer, error) {
	if !src.IsValid() || !dst.IsValid() || src.Is4() != dst.Is4() {
		return Answer{}, fmt.Errorf("question from %s to %s: not two addresses of one family", src, dst)
	}
	m := p.seal.mark(forQuery, src, dst, querySize)
	q := query{src: src, dst: dst, mark: m, about: about}
	packet := q.append(nil)
	r, err := p.call(ctx, m.token, flight{key: key}, func() error { return p.opt.Send(key, packet) })
	var refusal *Refusal
	if errors.As(err, &refusal) && refusal.noPort() {
		return Answer{}, ErrNotWeft
	}
	return r.answer, err
}

// Underlay sends one probe beside the tunnel to the peer's tunnel port and
// waits for its answer until ctx ends; observed is where the peer saw it come
// from. Only weft nodes answer, and of them those that take this one for a peer.
func (p *Prober) Underlay(ctx context.Context, key string, s Shape) (rtt time.Duration, observed netip.AddrPort, err error) {
	if p.opt.SendOuter == nil {
		return 0, netip.AddrPort{}, ErrNoUnderlay
	}
	d := Datagram{Shape: s, mark: p.seal.mark(forUnderlay+uint8(s.Form), netip.Addr{}, netip.Addr{}, underlaySize)}
	b, err := d.Append(nil, rand.Uint64())
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	r, err := p.call(ctx, d.mark.token, flight{key: key, outer: true}, func() error { return p.opt.SendOuter(key, b) })
	return r.rtt, r.observed, err
}

// call sends a message and waits for what comes back.
func (p *Prober) call(ctx context.Context, token uint64, f flight, send func() error) (reply, error) {
	done := make(chan reply, 1)
	p.mu.Lock()
	if p.flights.calls >= maxCalls {
		p.mu.Unlock()
		return reply{}, ErrBusy
	}
	f.sent, f.done = time.Now(), done
	p.flights.add(token, f)
	p.mu.Unlock()
	err := send()
	if err == nil {
		select {
		case r := <-done:
			return r, r.err
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	p.mu.Lock()
	p.flights.land(token)
	p.mu.Unlock()
	return reply{}, err
}

func (p *Prober) answerDatagram(e *event, ask *Datagram) {
	a := ask.answer(e.from)
	b, err := a.Append(p.buf[:0], rand.Uint64())
	if err == nil {
		p.buf = b
		err = p.opt.SendOuter(e.key, b)
	}
	if err != nil {
		p.opt.Log.Debug("answer not sent", "peer", e.key, "err", err)
	}
}
