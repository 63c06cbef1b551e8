package ping

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weft/engine/control"
	"weft/engine/ping/echo"
)

// tries is how often a size is tried before it is taken not to pass. On a path
// that loses a tenth of all packets, both ways together a fifth, a size that
// passes is then misjudged once in 125 times.
const tries = 3

// A bisection searches for the greatest of the sizes that pass, if all that are
// less than one that passes do, too.
type bisection struct {
	good, bad int // the greatest that passed and the least that did not
	next      int
}

// newBisection searches from floor to ceiling, which it tries first.
func newBisection(floor, ceiling int) bisection {
	return bisection{good: floor - 1, bad: ceiling + 1, next: ceiling}
}

func (b *bisection) done() bool { return b.bad-b.good <= 1 }

func (b *bisection) passed() {
	b.good = b.next
	b.halve()
}

// failed takes the size for too great. Where somebody said what would pass, that
// is tried next, and if it passes then one byte more: so a true hint takes two
// tries, and a false one does no harm.
func (b *bisection) failed(hint int) {
	b.bad = b.next
	if b.halve(); hint > b.good && hint < b.bad {
		b.next = hint
	}
}

func (b *bisection) halve() { b.next = b.good + (b.bad-b.good)/2 }

// after aims at the size that follows a hint which has just passed.
func (b *bisection) after(hint int) {
	if hint == b.good && !b.done() {
		b.next = hint + 1
	}
}

// searchBest sweeps the way that had the most answers.
func (r *runner) searchBest(ctx context.Context, o *outcome) error {
	w := o.best().way
	if w.port {
		o.remarks = append(o.remarks, "no sweep: it takes ICMP, datagrams to the port may be fragmented")
		return nil
	}
	return r.search(ctx, o, w)
}

// search looks for the longest packet that passes, with "don't fragment" set,
// and hands each size on as it ends.
func (r *runner) search(ctx context.Context, o *outcome, w *way) error {
	ceiling := echo.MaxSize
	if c := w.ceiling(); c >= w.floor {
		ceiling = min(ceiling, c)
	}
	b, hint, patience := newBisection(w.floor, ceiling), 0, r.patience(o)
	silent := false // of the least size that failed
	for seq := r.count + 1; !b.done(); seq++ {
		size := b.next
		e, err := r.trySize(ctx, w, seq, size, patience)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		reply := control.PingReply{Layer: o.layer, Seq: seq, Size: size}
		if err == nil {
			b.passed()
			b.after(hint)
			reply.RTT, reply.From, reply.Note = inSeconds(e.rtt), e.from, join(w.name, e.note)
		} else {
			hint, silent = 0, errors.Is(err, context.DeadlineExceeded)
			if mtu, big := echo.TooBig(err); big {
				hint = mtu
			}
			b.failed(hint)
			reply.Note = join(w.name, sweepNote(err))
		}
		if err := r.each(reply); err != nil {
			return err
		}
	}
	if b.good >= w.floor {
		o.largest = b.good
	}
	o.hole = silent
	return nil
}

// patience is how long a sweep waits for an answer: there is a round trip to go
// by, and many sizes will have none.
func (r *runner) patience(o *outcome) time.Duration {
	const floor, factor = 200 * time.Millisecond, 10
	return min(r.timeout, max(floor, factor*o.max))
}

// trySize tries one size until it passes, somebody says that it is too great, or
// nothing is left to try.
func (r *runner) trySize(ctx context.Context, w *way, seq, size int, patience time.Duration) (e trip, err error) {
	for range tries {
		e, err = r.once(ctx, w, seq, size, true, patience)
		if _, big := echo.TooBig(err); err == nil || big || ctx.Err() != nil {
			return e, err
		}
	}
	return e, err
}

func sweepNote(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer to %d tries", tries)
	}
	return err.Error()
}
