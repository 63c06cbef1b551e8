// Package contact keeps account of how the exchange with a lease store goes:
// when it last succeeded, since when it fails, and when that is worth a line
// in the log. Both stores use it, so that both stay quiet and both report
// alike: one line when contact is lost, one every half minute while it stays
// lost, one when it is back.
package contact

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"weft/lease"
)

// reportEvery is the least time between two reports of one outage.
const reportEvery = 30 * time.Second

// A Contact is safe for use by several goroutines.
type Contact struct {
	name string // of the store, for the log
	log  *slog.Logger

	mu       sync.Mutex
	status   lease.StoreStatus
	since    time.Time // start of the outage; zero when there is none
	reported time.Time
}

// New returns a Contact with the store of that name.
func New(name string, log *slog.Logger) *Contact {
	return &Contact{name: name, log: log}
}

// OK notes a successful exchange.
func (c *Contact) OK() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if !c.since.IsZero() {
		c.log.Info(c.name+" answers again", "after", now.Sub(c.since).Round(time.Millisecond))
	}
	c.since, c.reported = time.Time{}, time.Time{}
	c.status = lease.StoreStatus{Connected: true, LastEvent: now, Rival: c.status.Rival}
}

// Rival notes what is to be told of another process that writes this node's
// lease; "" if there is none, or no longer. How the exchange goes is another
// matter: it does not change that, nor that this.
func (c *Contact) Rival(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Rival = text
}

// Failed notes an exchange that failed at once. When it is time for a report,
// and only then, it returns one: err with the time for which contact is lost,
// where that is a second or more.
func (c *Contact) Failed(err error) error { return c.failed(err, time.Now()) }

// failed is Failed for an exchange that began at that time: one that waited in
// vain for an answer had no contact from its beginning.
func (c *Contact) failed(err error, began time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.since.IsZero() {
		c.since = began
	}
	c.status.Connected, c.status.Err = false, err.Error()
	if !c.reported.IsZero() && now.Sub(c.reported) < reportEvery {
		return nil
	}
	c.reported = now
	if lost := now.Sub(c.since).Round(time.Second); lost > 0 {
		return fmt.Errorf("no answer from %s for %v: %w", c.name, lost, err)
	}
	return fmt.Errorf("no answer from %s: %w", c.name, err)
}

// Log notes an exchange that began at that time and has failed, or has lasted
// too long, and writes the report to the log when one is due.
func (c *Contact) Log(err error, began time.Time) {
	if report := c.failed(err, began); report != nil {
		c.log.Warn("lease store out of reach; what is known stays in force", "err", report)
	}
}

// Status returns how things are now.
func (c *Contact) Status() lease.StoreStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}
