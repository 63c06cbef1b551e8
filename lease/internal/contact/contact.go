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
	c.status = lease.StoreStatus{Connected: true, LastEvent: now}
}

// Failed notes a failed exchange. When it is time for a report, and only then,
// it returns one: err with the time since when contact is lost.
func (c *Contact) Failed(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.since.IsZero() {
		c.since = now
	}
	c.status.Connected, c.status.Err = false, err.Error()
	if !c.reported.IsZero() && now.Sub(c.reported) < reportEvery {
		return nil
	}
	c.reported = now
	return fmt.Errorf("no answer from %s for %v: %w", c.name, now.Sub(c.since).Round(time.Second), err)
}

// Log notes a failed exchange and writes the report to the log when one is due.
func (c *Contact) Log(err error) {
	if report := c.Failed(err); report != nil {
		c.log.Warn("lease store out of reach; what is known stays in force", "err", report)
	}
}

// Status returns how things are now.
func (c *Contact) Status() lease.StoreStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}
