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
	sent map[netip.AddrPort]sentInitiation
}

// A sentInitiation is what is remembered of one of ours.
type sentInitiation struct {
	at        time.Time
	ephemeral [32]byte
}

// crossingTime is how long an initiation of ours is taken to be on its way, and
// for how long another one is held back for its sake: those that cross do so
// within the time of one way.
const crossingTime = 100 * time.Millisecond

// ephemeralOf returns the key in an initiation (whitepaper, section 5.4.2).
func ephemeralOf(message []byte) [32]byte { return [32]byte(message[8:40]) }

// left notes an initiation of ours.
func (c *crossings) left(to netip.AddrPort, message []byte, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent == nil {
		c.sent = map[netip.AddrPort]sentInitiation{}
	}
	for other, i := range c.sent {
		if now.Sub(i.at) > 2*crossingTime { // what it held back was read
			delete(c.sent, other)
		}
	}
	c.sent[to] = sentInitiation{now, ephemeralOf(message)}
}

// answered notes that a peer answered.
func (c *crossings) answered(from netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sent, from)
}

// unanswered tells whether the latest initiation of ours to a peer was not
// answered.
func (c *crossings) unanswered(to netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.sent[to]
	return ok
}

// prevails tells whether an initiation from a peer crossed one of ours that
// counts in its place.
func (c *crossings) prevails(from netip.AddrPort, message []byte, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ours, ok := c.sent[from]
	theirs := ephemeralOf(message)
	return ok && now.Sub(ours.at) < crossingTime && bytes.Compare(ours.ephemeral[:], theirs[:]) < 0
}

// A heldBack is an initiation that waits for the answer to one of ours.
type heldBack struct {
	message  [initiationBytes]byte
	from     *endpoint
	to       chan<- *heldBack
	crossing *crossings
}

// come hands h to the device if ours was not answered. There is no harm in
// forgetting it when too many are: its sender tries again.
func (h *heldBack) come() {
	if !h.crossing.unanswered(h.from.dst) {
		return
	}
	select {
	case h.to <- h:
	default:
	}
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
