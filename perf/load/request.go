package load

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A requester times requests and their answers.
//
// Requests that are made one after the other tell how fast the two ends can
// take turns. They are no measure of a queue: while it is short they are many,
// while it is long few, and the median of all is that of the short times. A
// queue is measured by requests that are made at a steady pace, whatever
// becomes of those before:
//
//	one after the other   ││││││││││──────────┤──────────┤│││││││││
//	every millisecond     │  │  │  │  │  │  │  │  │  │  │  │  │  │
type requester struct {
	stream
	lost    atomic.Uint64
	latency *recorder
}

func (r *requester) snapshot() Snapshot {
	s := r.stream.snapshot()
	s.Lost = r.lost.Load()
	s.addLatency(r.latency)
	return s
}

// tcpRequest sends bytes, each of which is answered by one byte, and times the
// answers.
func tcpRequest(a netip.AddrPort, o options, fail func(error)) (role, error) {
	fd, err := dialTCP(a, true)
	if err != nil {
		return nil, err
	}
	r := &requester{latency: newRecorder()}
	if o.every <= 0 {
		go func() { fail(r.requests(fd)) }()
		return r, nil
	}
	asked := make(chan time.Time, unanswered)
	go func() { fail(r.ask(fd, o.every, asked)) }()
	go func() { fail(r.answers(fd, asked)) }()
	return r, nil
}

// unanswered is how many requests may wait for their answer before no more are
// made: far more than a plane that works ever holds.
const unanswered = 1 << 14

// requests makes requests one after the other.
func (r *requester) requests(fd int) error {
	buf := make([]byte, 1)
	for {
		begin := time.Now()
		if _, err := write(fd, buf); err != nil {
			return fmt.Errorf("request: %w", err)
		}
		n, err := read(fd, buf)
		if err != nil {
			return fmt.Errorf("response: %w", err)
		}
		if n == 0 {
			return errClosed
		}
		r.latency.record(time.Since(begin))
		r.bytes.Add(uint64(n))
	}
}

var errClosed = errors.New("response: connection closed by the other end")

// ask makes a request at every step of the clock. Steps that were missed,
// because this process had to wait for a processor, are made up for at once:
// otherwise the busiest moments would have the fewest requests. A request's
// time begins when it is made; waiting for a processor before is no fault of
// the plane's.
func (r *requester) ask(fd int, every time.Duration, asked chan<- time.Time) error {
	buf := make([]byte, 1)
	for next := monotonic(); ; next += int64(every) {
		at := unix.NsecToTimespec(next)
		err := retry(func() error {
			return unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &at, nil)
		})
		if err != nil {
			return fmt.Errorf("waiting for the next request: %w", err)
		}
		asked <- time.Now()
		if _, err := write(fd, buf); err != nil {
			return fmt.Errorf("request: %w", err)
		}
	}
}

// answers times the answers to the requests of ask. They come in order, and
// several may come at once.
func (r *requester) answers(fd int, asked <-chan time.Time) error {
	buf := make([]byte, 64)
	for {
		n, err := read(fd, buf)
		if err != nil {
			return fmt.Errorf("response: %w", err)
		}
		if n == 0 {
			return errClosed
		}
		now := time.Now()
		for range n {
			r.latency.record(now.Sub(<-asked))
		}
		r.bytes.Add(uint64(n))
	}
}
