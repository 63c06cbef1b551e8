package wg

import (
	"bytes"
	"net/netip"
	"sync"
	"time"
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
// ends can see. Who sent it leaves the other one unread.
type crossings struct {
	mu   sync.Mutex
	sent map[netip.AddrPort]sentInitiation
}

// A sentInitiation is what is remembered of one of ours.
type sentInitiation struct {
	at        time.Time
	ephemeral [32]byte
}

// crossingTime is how long an initiation of ours is taken to be on its way: those
// that cross do so within the time of one way. Longer, and a peer that did not
// get ours, because it was not there yet, would be ignored when it comes.
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
		if now.Sub(i.at) >= crossingTime {
			delete(c.sent, other)
		}
	}
	c.sent[to] = sentInitiation{now, ephemeralOf(message)}
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
