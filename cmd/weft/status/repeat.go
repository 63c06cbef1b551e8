package status

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/client"
	"weft/engine/control"
)

// repeat shows one block every interval until ctx ends. A node that does not
// answer is said to be down, and asked again.
func (p *page) repeat(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var before *control.Status
	for first := true; ; first = false {
		s, err := p.status(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !first && !p.json {
			fmt.Fprintln(p.out)
		}
		if err := p.block(s, err, before); err != nil {
			return err
		}
		before = &s
		if err != nil {
			before = nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// block shows one answer of several. An error says that nobody reads it.
func (p *page) block(s control.Status, asked error, before *control.Status) error {
	var shown error
	if asked != nil {
		if shown = p.noAnswer(asked); !p.json {
			fmt.Fprintf(p.out, "state   down: %s\n", client.Clean(asked.Error()))
		}
	} else {
		if !p.json {
			fmt.Fprintln(p.out, s.Time.Format(time.RFC3339))
		}
		shown = p.show(view{now: s, before: before})
	}
	if errors.Is(shown, unix.EPIPE) {
		return shown
	}
	return nil
}
