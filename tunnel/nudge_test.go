package tunnel

import (
	"sync"
	"sync/atomic"
	"testing"
)

// storm nudges as fast as it can while d is read; no Read may take that for the
// end. Afterwards no nudge is left.
func storm(t *testing.T, d interface{ Nudge() }, read func() error) {
	t.Helper()
	var over atomic.Bool
	var nudging sync.WaitGroup
	nudging.Go(func() {
		for !over.Load() {
			d.Nudge()
		}
	})
	for n := range 3000 {
		if err := read(); err != nil {
			t.Errorf("Read %d among many nudges: %v", n, err)
			break
		}
	}
	over.Store(true)
	nudging.Wait()
	d.Nudge() // together with one that is left
	if err := read(); err != nil {
		t.Errorf("Read after many nudges: %v", err)
	}
}

// A nudge ends one wait with an empty batch, whether it came before the Read or
// during it; what comes next is read as ever, and a stop is still a stop.
func TestNudge(t *testing.T) {
	type nudged interface {
		Read(*Batch) error
		Nudge()
		Close() error
	}
	for name, open := range map[string]func(o TUNOptions) (nudged, error){
		"offloads": func(o TUNOptions) (nudged, error) { return OpenTUN(o) },
		"shared":   func(o TUNOptions) (nudged, error) { o.Pace = Shared; return OpenTUN(o) },
		"plain":    func(o TUNOptions) (nudged, error) { return OpenPlain(o) },
	} {
		t.Run(name, func(t *testing.T) {
			tunSpace(t)
			stop := stopper(t)
			d, err := open(TUNOptions{Name: tunName, Allow: allTUN, Stop: stop})
			must(t, err)
			defer d.Close()
			linkUp(t)
			b := NewBatch()
			read := func() error { return d.Read(b) }
			background := func() <-chan error {
				ended := make(chan error, 1)
				go func() { ended <- read() }()
				return ended
			}
			for range 3 {
				ended := background()
				d.Nudge()
				if err := await(t, "Read", ended); err != nil || len(b.Packets) != 0 {
					t.Fatalf("Read after a nudge: %d packets, %v", len(b.Packets), err)
				}
			}
			sendTrain(t, "10.5.2.9:4000", train(0, 1, 100, 100))
			if err := read(); err != nil || len(b.Packets) != 1 {
				t.Fatalf("Read: %d packets, %v", len(b.Packets), err)
			}
			storm(t, d, read)
			ended := background()
			stop.Stop()
			d.Nudge()
			if err := await(t, "Read", ended); err != ErrClosed {
				t.Errorf("Read after a stop: %v", err)
			}
		})
	}
}
