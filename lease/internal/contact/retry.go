package contact

import (
	"context"
	"errors"
	"time"
)

// Retry calls f until it succeeds, fails with one of the errors that no retry
// can cure, or ctx ends; then the error is that of ctx. Other failures count
// as loss of contact, and a success as contact.
func (c *Contact) Retry(ctx context.Context, f func() error, final ...error) error {
	b := Retry()
	for {
		began := time.Now()
		err := f()
		if err == nil {
			c.OK()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, f := range final {
			if errors.Is(err, f) {
				return err
			}
		}
		c.Log(err, began)
		if !b.Wait(ctx) {
			return ctx.Err()
		}
	}
}
