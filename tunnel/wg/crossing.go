package wg

import (
	"bytes"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

// Two nodes that want to talk to each other at the same moment both send an
// initiation. Each takes the other's, which ends its own handshake, and answers;
// both answers come too late, and nothing goes for five seconds, until the
// first of them tries again (whitepaper, Rekey-Timeout). A cluster that starts
// does just that.
//
//	A ── initiation a ──╲ ╱── initiation b ── B
//	                     ╳
//	A ◄─ initiation b ──╱ ╲── initiation a ─► B
//
// So of two that crossed the one with the lower ephemeral key counts, which both
// ends can see. Who sent it holds the other one back until its own is answered;
// if it is not, because it was lost or came before its peer knew our key, the
// other one is read after all.
type crossings struct {
	mu   sync.Mutex
	sent map[netip.AddrPort]*sentInitiation
}

// A sentInitiation is what is remembered of one of ours.
type sentInitiation struct {
	at        time.Time
	ephemeral [32]byte
	held      *heldBack // what it holds back; nil: nothing
}

// A heldBack is an initiation that waits for the answer to one of ours.
type heldBack struct {
	message [initiationBytes]byte
	from    *endpoint
}

// crossingTime is how long an initiation of ours is taken to be on its way: those
// that cross do so within the time of one way. For twice as long another one is
// held back for its sake.
const (
	crossingTime = 200 * time.Millisecond
	holdTime     = 2 * crossingTime
)

// ephemeralOf returns the key in an initiation (whitepaper, section 5.4.2).
func ephemeralOf(message []byte) [32]byte { return [32]byte(message[8:40]) }

// initiated notes an initiation of ours.
func (c *crossings) initiated(to netip.AddrPort, message []byte, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent == nil {
		c.sent = map[netip.AddrPort]*sentInitiation{}
	}
	for other, i := range c.sent {
		if now.Sub(i.at) > crossingTime+holdTime { // what it held back has come
			delete(c.sent, other)
		}
	}
	c.sent[to] = &sentInitiation{at: now, ephemeral: ephemeralOf(message)}
}

// answered notes that a peer answered: nothing is held back any more.
func (c *crossings) answered(from netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sent, from)
}

// prevails tells whether an initiation from a peer crossed one of ours that
// counts in its place.
func (c *crossings) prevails(from netip.AddrPort, message []byte, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ours := c.sent[from]
	theirs := ephemeralOf(message)
	return ours != nil && now.Sub(ours.at) < crossingTime && bytes.Compare(ours.ephemeral[:], theirs[:]) < 0
}

// hold holds a peer's initiation back, the latest if there are more, and tells
// whether it is the first, for which release is to be called in holdTime.
func (c *crossings) hold(from *endpoint, message []byte) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ours := c.sent[from.dst]
	if ours == nil {
		return false // answered a moment ago
	}
	first = ours.held == nil
	ours.held = &heldBack{[initiationBytes]byte(message), from}
	return first
}

// release hands what is held back from an address to the device, by way of to.
// There is no harm in forgetting it when too many come: its sender tries again.
func (c *crossings) release(from netip.AddrPort, to chan<- *heldBack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ours := c.sent[from]
	if ours == nil || ours.held == nil {
		return
	}
	select {
	case to <- ours.held:
	default:
	}
	ours.held = nil
}

// receiveHeldBack is a conn.ReceiveFunc for those that come after all.
func (o *opening) receiveHeldBack(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
	select {
	case h := <-o.held:
		sizes[0], eps[0] = copy(packets[0], h.message[:]), h.from
		return 1, nil
	case <-o.done:
		return 0, net.ErrClosed
	}
}
