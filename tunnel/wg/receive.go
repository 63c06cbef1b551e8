package wg

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"weft/tunnel"
)

// A receiver hands the datagrams of one port to the device. One goroutine of
// the device runs it.
type receiver struct {
	t       *Tunnel
	open    *opening
	port    *tunnel.Port
	entered bool // it is one of open's users
	inbox   *tunnel.Inbox
	from    directory
	next    int    // the message to go on with
	rest    []byte // what is left of it
	timer   *time.Timer
	queue   codel

	id   uint32   // of the session that the latest datagram was for
	sess *session // nil: not looked for since the last receive

	stray bool // the latest datagram was for no session of ours
}

func newReceiver(t *Tunnel, o *opening, p *tunnel.Port) *receiver {
	r := &receiver{t: t, open: o, port: p, inbox: tunnel.NewInbox(), timer: time.NewTimer(time.Hour)}
	r.timer.Stop()
	return r
}

// receive fills packets with datagrams. It is the device's conn.ReceiveFunc.
func (r *receiver) receive(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
	for {
		if r.next >= len(r.inbox.Messages) {
			if err := r.refill(); err != nil {
				return 0, err
			}
		}
		r.t.inward.wait(r.timer, r.open.stop.Done())
		n, transport, now := 0, 0, time.Now()
		for n < len(packets) && r.next < len(r.inbox.Messages) {
			m := &r.inbox.Messages[r.next]
			first := r.rest == nil
			b := r.datagram(m)
			packet, ok := r.vet(b)
			if !ok && r.stray {
				r.stray = false
				r.t.callOn(m.From, now)
			}
			if !ok || !packet && r.crossed(m.From, b, now) {
				continue
			}
			tn := note{ecn: m.ECN}
			if packet {
				if first && r.overdue(m, now) && !tn.mark() {
					r.drop(Overdue)
					continue
				}
				tn.ord = r.sess.handed.Add(1)
				transport++
			}
			sizes[n] = copy(packets[n], b)
			tn.put(packets[n], r.t.noteAt, sizes[n])
			eps[n] = r.from.endpoint(m.From)
			n++
		}
		if n > 0 {
			r.t.inward.take(transport)
			return n, nil
		}
	}
}

// refill waits for messages.
func (r *receiver) refill() error {
	if !r.entered && !r.open.enter() {
		return net.ErrClosed
	}
	r.entered, r.next, r.rest, r.sess = true, 0, nil, nil
	err := r.port.Recv(r.inbox)
	if err == nil {
		if r.inbox.Idle {
			r.queue.empty()
		}
		return nil
	}
	r.entered, r.inbox.Messages = false, r.inbox.Messages[:0]
	if !errors.Is(err, tunnel.ErrClosed) {
		r.t.fail(err) // the device would give up and tell nobody
	}
	return errors.Join(net.ErrClosed, r.open.leave())
}

// datagram cuts the next datagram off the message m.
func (r *receiver) datagram(m *tunnel.Received) []byte {
	b := r.rest
	if b == nil {
		b = m.Data
	}
	if m.Size > 0 && len(b) > m.Size {
		r.rest = b[m.Size:]
		return b[:m.Size]
	}
	r.rest = nil
	r.next++
	if m.Truncated {
		return nil // longer than any datagram: no message at all
	}
	return b
}

// vet looks at what can be read of a message without a key, and counts it if
// it is of no use. It tells whether it may hold a packet, for r.sess.
func (r *receiver) vet(b []byte) (packet, ok bool) {
	if len(b) < keepaliveBytes || len(b) > maxMessage {
		return false, r.drop(NotMessage)
	}
	switch kind := binary.LittleEndian.Uint32(b); {
	case kind == typeTransport:
		return r.transport(b)
	case kind == typeInitiation && len(b) == initiationBytes, kind == typeResponse && len(b) == responseBytes:
		if !r.t.mac1.valid(b) {
			return false, r.drop(BadHandshake)
		}
		return false, true
	case kind == typeCookie && len(b) == cookieBytes:
		if r.t.sessions.find(binary.LittleEndian.Uint32(b[4:])) == nil {
			return false, r.drop(BadHandshake) // for no handshake of ours
		}
		return false, true
	}
	return false, r.drop(NotMessage)
}

// transport vets a transport message.
func (r *receiver) transport(b []byte) (packet, ok bool) {
	if id := binary.LittleEndian.Uint32(b[4:]); r.sess == nil || id != r.id {
		r.id, r.sess = id, r.t.sessions.find(id)
	}
	if r.sess == nil {
		r.stray = true
		return false, r.drop(UnknownSession)
	}
	if r.sess.replayed(binary.LittleEndian.Uint64(b[8:])) {
		return false, r.drop(Replayed)
	}
	if len(b) == keepaliveBytes {
		r.t.lost.keepalives.Add(1)
		return false, true
	}
	return true, true
}

// crossed looks at handshake messages, and tells whether b is an initiation that
// crossed one of ours, which counts in its place: it is held back.
func (r *receiver) crossed(from netip.AddrPort, b []byte, now time.Time) bool {
	switch c := &r.t.crossings; binary.LittleEndian.Uint32(b) {
	case typeResponse:
		c.answered(from)
	case typeInitiation:
		if !c.prevails(from, b, now) {
			return false
		}
		if c.hold(r.from.endpoint(from), b) {
			time.AfterFunc(holdTime, func() { c.release(from, r.open.held) })
		}
		return true
	}
	return false
}

// overdue tells whether a message has waited so long that its sender should be
// told to send less. A clock that was set says nothing.
func (r *receiver) overdue(m *tunnel.Received, now time.Time) bool {
	if m.At.IsZero() {
		return false
	}
	waited := now.Sub(m.At)
	return waited >= 0 && waited < time.Second && r.queue.judge(waited, now)
}

func (r *receiver) drop(why Loss) bool {
	r.t.lost.add(why, 1)
	return false
}
