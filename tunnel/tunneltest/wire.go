package tunneltest

import (
	"bytes"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"weft/tunnel"
)

// A Wire is a network without distance.
type Wire struct {
	// Lose picks the datagrams that vanish on their way. It must be set
	// before the wire is in use. Nil loses nothing.
	Lose func(from, to netip.AddrPort, datagram []byte) bool

	mu    sync.Mutex
	ports map[netip.AddrPort]*Port
}

// NewWire makes a network without ports.
func NewWire() *Wire { return &Wire{ports: map[netip.AddrPort]*Port{}} }

// A Port is the far end in memory.
type Port struct {
	// Refuse is asked about each message; an error becomes its Err. It must
	// be set before the port is in use. Nil refuses nothing.
	Refuse func(m *tunnel.Message) error
	// Limit is the longest datagram that the port sends, in bytes; 0: any.
	// Of a run that is too long the shorter tail may still go, and the
	// message gets EMSGSIZE, as with a real port.
	Limit int

	wire     *Wire
	local    netip.AddrPort
	features tunnel.Feature
	maxRun   int
	in       *queue[tunnel.Received]
}

// Port adds a port at the address local. Of the features it knows GSO and GRO:
// without GSO, MaxRun is 1, without GRO, runs arrive as single datagrams.
func (w *Wire) Port(local netip.AddrPort, f tunnel.Feature) *Port {
	p := &Port{wire: w, local: local, features: f, maxRun: 1, in: newQueue[tunnel.Received]()}
	if f.Has(tunnel.GSO) {
		p.maxRun = 64 // UDP_MAX_SEGMENTS before Linux 6.9
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ports[local] != nil {
		panic(fmt.Sprintf("tunneltest: two ports at %v", local))
	}
	w.ports[local] = p
	return p
}

// Wire returns the network that the port is on.
func (p *Port) Wire() *Wire { return p.wire }

// Local returns the port's address.
func (p *Port) Local() netip.AddrPort { return p.local }

// MaxRun returns how many datagrams one message may hold.
func (p *Port) MaxRun() int { return p.maxRun }

// Send hands messages to the wire. A message that contradicts itself is a bug
// in whoever made it, so it panics: a kernel would send something else.
func (p *Port) Send(_ *tunnel.Outbox, msgs []tunnel.Message) (refused int, err error) {
	for i := range msgs {
		m := &msgs[i]
		p.check(m)
		if m.Err, m.Lost = nil, 0; p.Refuse != nil {
			if m.Err = p.Refuse(m); m.Err != nil {
				m.Lost = m.Count
			}
		}
		if p.Limit > 0 && m.Size > p.Limit && m.Err == nil {
			m.Err, m.Lost = unix.EMSGSIZE, m.Count
			p.tail(m)
		}
		if m.Err != nil {
			refused++
			continue
		}
		p.wire.deliver(p.local, m, bytes.Join(m.Pieces, nil), m.Size)
	}
	return refused, nil
}

// tail sends the last datagram of m if it fits.
func (p *Port) tail(m *tunnel.Message) {
	data := bytes.Join(m.Pieces, nil)[(m.Count-1)*m.Size:]
	if len(data) <= p.Limit {
		m.Lost--
		p.wire.deliver(p.local, m, data, len(data))
	}
}

// check holds m to the rules of tunnel.Message.
func (p *Port) check(m *tunnel.Message) {
	bytes := 0
	for _, b := range m.Pieces {
		bytes += len(b)
	}
	switch {
	case m.To == nil:
		panic("tunneltest: message without a destination")
	case bytes != m.Bytes, m.Count < 1, m.Bytes > tunnel.MaxDatagram:
		panic(fmt.Sprintf("tunneltest: message of %d bytes says it has %d in %d datagrams", bytes, m.Bytes, m.Count))
	case m.ECN > 3:
		panic(fmt.Sprintf("tunneltest: congestion bits %#x", m.ECN))
	case m.Count > p.maxRun:
		panic(fmt.Sprintf("tunneltest: a run of %d datagrams; %d are allowed", m.Count, p.maxRun))
	case bytes <= (m.Count-1)*m.Size, bytes > m.Count*m.Size:
		panic(fmt.Sprintf("tunneltest: %d bytes are not %d datagrams of %d", bytes, m.Count, m.Size))
	}
}

// deliver puts what of data, which is m or its tail, is not lost into the
// receiver's queue.
func (w *Wire) deliver(from netip.AddrPort, m *tunnel.Message, data []byte, size int) {
	w.mu.Lock()
	to := w.ports[m.To.AddrPort()]
	w.mu.Unlock()
	if to == nil {
		return // nobody is there; UDP does not tell
	}
	if to.features.Has(tunnel.GRO) && w.Lose == nil {
		to.in.put(tunnel.Received{Data: data, Size: size, From: from, ECN: m.ECN})
		return
	}
	for len(data) > 0 {
		n := min(size, len(data))
		if w.Lose == nil || !w.Lose(from, to.local, data[:n]) {
			to.in.put(tunnel.Received{Data: data[:n:n], Size: n, From: from, ECN: m.ECN})
		}
		data = data[n:]
	}
}

// Inject makes m the next message that the port receives, whoever sent it.
func (p *Port) Inject(m tunnel.Received) {
	m.Data = bytes.Clone(m.Data)
	p.in.put(m)
}

// Recv waits for messages and takes as many as a real port would give.
func (p *Port) Recv(b *tunnel.Inbox) error {
	const most = 64
	msgs, ok := p.in.take(most)
	if !ok {
		return tunnel.ErrClosed
	}
	b.Messages = append(b.Messages[:0], msgs...)
	return nil
}

// Close ends all waiting. It may be called more than once.
func (p *Port) Close() error {
	p.in.close()
	return nil
}

// Take returns what has arrived since the last call or Recv, without waiting.
func (p *Port) Take() []tunnel.Received { return p.in.drain() }

// Pending returns how many messages wait to be received.
func (p *Port) Pending() int { return p.in.len() }
