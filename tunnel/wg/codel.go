package wg

import (
	"math"
	"time"
)

// A codel keeps the queue in front of the device short (CoDel, RFC 8289). The
// device takes what it can seal or open; what comes faster waits in the port's
// buffer, and a sender like TCP lets as much wait there as there is room. So
// when every datagram of an interval has waited for longer than target, one is
// dropped or marked, by which the sender learns to send less, and then more
// and more often until the queue is short. A burst that passes costs nothing.
type codel struct {
	above    time.Time // when waiting is too long for too long; zero: it is not
	dropping bool
	next     time.Time // when to drop again
	count    int       // drops since dropping began
	last     int       // and the time before
}

// The wait that is well, and for how long it must be exceeded. RFC 8289 section
// 4.2 has 5 and 100 ms for the Internet's routers; nodes of a cluster are nearer
// to each other, and the queue here is one of many.
const (
	codelTarget   = 1 * time.Millisecond
	codelInterval = 20 * time.Millisecond
)

// judge tells whether a datagram that has waited so long is one to drop.
func (c *codel) judge(waited time.Duration, now time.Time) bool {
	late := c.late(waited, now)
	switch {
	case !late:
		c.dropping = false
		return false
	case c.dropping && now.Before(c.next):
		return false
	case c.dropping:
		c.count++
	default:
		c.dropping = true
		// Soon after the last time the rate that was right then is tried again.
		if since := c.count - c.last; since > 1 && now.Sub(c.next) < 16*codelInterval {
			c.count = since
		} else {
			c.count = 1
		}
		c.last = c.count
		c.next = now
	}
	c.next = c.next.Add(time.Duration(float64(codelInterval) / math.Sqrt(float64(c.count))))
	return true
}

// empty notes that nothing waits: there is no queue to shorten, however long
// single datagrams wait for somebody to wake up.
func (c *codel) empty() { c.above, c.dropping = time.Time{}, false }

// late tells whether all datagrams of the last interval have waited too long.
func (c *codel) late(waited time.Duration, now time.Time) bool {
	switch {
	case waited < codelTarget:
		c.above = time.Time{}
		return false
	case c.above.IsZero():
		c.above = now.Add(codelInterval)
		return false
	}
	return !now.Before(c.above)
}
