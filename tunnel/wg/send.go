package wg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"

	"weft/tunnel"
)

// An outgoing is the scratch memory of one Send.
type outgoing struct {
	box  *tunnel.Outbox
	msgs []tunnel.Message
}

// Send sends the datagrams in bufs, all to one peer, in runs of equal length.
// What the kernel refuses is counted and told to the tunnel's owner; to the
// device it is sent, as a datagram that the network loses would be.
func (b *bind) Send(bufs [][]byte, to conn.Endpoint) error {
	ep, ok := to.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	lane, n := b.note(bufs, ep.dst)
	if b.now == nil { // a port could not be opened again
		b.t.opt.Refused(lane, tunnel.ErrClosed, n)
		return tunnel.ErrClosed
	}
	port := b.now.ports[ep.family()]
	if port == nil {
		b.t.opt.Refused(lane, errNoFamily, n)
		return nil
	}
	o := b.out.Get().(*outgoing)
	defer b.out.Put(o)
	o.runs(bufs, ep.addr, b.t.noteAt, port.MaxRun())
	refused, err := port.Send(o.box, o.msgs)
	if refused > 0 {
		for i := range o.msgs {
			if m := &o.msgs[i]; m.Err != nil {
				b.t.opt.Refused(lane, m.Err, m.Lost)
			}
		}
	}
	if errors.Is(err, tunnel.ErrClosed) {
		return err
	}
	if err != nil {
		return fmt.Errorf("sending to %v: %w", ep.dst, err)
	}
	if n > 0 {
		b.t.opt.Sent(o.sent(lane))
	}
	return nil
}

// sent is what Sent is to be told.
func (o *outgoing) sent(l *Lane) (lane *Lane, packets, bytes, messages int) {
	for i := range o.msgs {
		if m := &o.msgs[i]; m.Lost < m.Count {
			packets += m.Count - m.Lost
			bytes += m.Bytes - m.Lost*m.Size
			messages++
		}
	}
	return l, packets, bytes, messages
}

var errNoFamily = error(unix.EAFNOSUPPORT)

// note takes what leaves the device into account: packets give back their
// places, handshake messages announce a session. It returns whose they are,
// nil if unknown, and how many are packets.
func (b *bind) note(bufs [][]byte, to netip.AddrPort) (l *Lane, packets int) {
	for _, m := range bufs {
		switch {
		case len(m) < keepaliveBytes:
		case binary.LittleEndian.Uint32(m) != typeTransport:
			b.handshake(m, to)
		case len(m) > keepaliveBytes:
			packets++
			if l == nil {
				l = b.t.lanes.lane(noteOf(m, b.t.noteAt, len(m)).lane)
			}
		}
	}
	if packets > 0 {
		b.t.outward.give(packets)
		if l != nil {
			l.left(packets)
		}
	}
	return l, packets
}

// handshake notes what a handshake message of ours announces.
func (b *bind) handshake(m []byte, to netip.AddrPort) {
	switch binary.LittleEndian.Uint32(m) {
	case typeInitiation:
		b.t.crossings.initiated(to, m, time.Now())
		b.t.sessions.offer(m, time.Now())
	case typeResponse:
		b.t.sessions.offer(m, time.Now())
	}
}

// runs makes messages of bufs: datagrams of one length and with one set of
// congestion bits, of which the last may be shorter.
func (o *outgoing) runs(bufs [][]byte, to *tunnel.Addr, noteAt, most int) {
	o.msgs = o.msgs[:0]
	for i := 0; i < len(bufs); {
		size, bytes, ecn := len(bufs[i]), len(bufs[i]), ecnOf(bufs[i], noteAt)
		j := i + 1
		for j < len(bufs) && j-i < most && len(bufs[j]) <= size && bytes+len(bufs[j]) <= tunnel.MaxDatagram &&
			ecnOf(bufs[j], noteAt) == ecn {
			bytes += len(bufs[j])
			j++
			if len(bufs[j-1]) < size {
				break
			}
		}
		o.msgs = append(o.msgs, tunnel.Message{To: to, Pieces: bufs[i:j], Size: size, Count: j - i, Bytes: bytes, ECN: ecn})
		i = j
	}
}

// ecnOf returns the congestion bits of a message's packet; other messages have
// none.
func ecnOf(b []byte, noteAt int) uint8 {
	if len(b) <= keepaliveBytes || binary.LittleEndian.Uint32(b) != typeTransport {
		return 0
	}
	return noteOf(b, noteAt, len(b)).ecn
}
