package tunnel

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrClosed is what a read or write returns once the Stopper was used.
var ErrClosed = errors.New("tunnel: closed")

// A Stopper ends all waiting in the ends that share it.
type Stopper struct {
	fd      int // eventfd: readable for ever once stopped
	once    sync.Once
	stopped atomic.Bool
	done    chan struct{}
}

// NewStopper makes a Stopper.
func NewStopper() (*Stopper, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &Stopper{fd: fd, done: make(chan struct{})}, nil
}

// Stop wakes every loop that waits and every one that will. It may be called
// more than once and from any goroutine; when it returns, no other call is
// still at work, so that Close may follow.
func (s *Stopper) Stop() { s.once.Do(s.stop) }

func (s *Stopper) stop() {
	s.stopped.Store(true)
	one := [8]byte{1, 1, 1, 1, 1, 1, 1, 1}
	if _, err := unix.Write(s.fd, one[:]); err != nil {
		// An eventfd that is not full takes any value below its maximum.
		panic(os.NewSyscallError("eventfd write", err))
	}
	close(s.done)
}

// Done returns a channel that is closed by Stop.
func (s *Stopper) Done() <-chan struct{} { return s.done }

// Stopped tells whether Stop was called. A loop that never finds its end
// empty asks here.
func (s *Stopper) Stopped() bool { return s.stopped.Load() }

// Close frees the descriptor. No end may be waiting any more.
func (s *Stopper) Close() error { return unix.Close(s.fd) }

// yields is how often a loop that found its end empty gives the processor away
// and looks again before it sleeps. See docs/performance.md for what it buys.
const yields = 30

// wait sleeps until fd is ready for events (POLLIN or POLLOUT) or s is
// stopped, which gives ErrClosed.
func (s *Stopper) wait(fd int, events int16) error {
	_, err := s.waitNudged(fd, events, -1)
	return err
}

// waitNudged is wait that also ends, with true, when the eventfd nudge is
// readable; it reads it. -1 is none.
func (s *Stopper) waitNudged(fd int, events int16, nudge int) (nudged bool, err error) {
	fds := [3]unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(s.fd), Events: unix.POLLIN}, {Fd: int32(nudge), Events: unix.POLLIN}}
	for {
		_, err := unix.Ppoll(fds[:], nil, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, os.NewSyscallError("ppoll", err)
		}
		if fds[1].Revents != 0 {
			return false, ErrClosed
		}
		if fds[2].Revents != 0 {
			var count [8]byte
			_, _ = unix.Read(nudge, count[:]) // another reader may have been faster
			return true, nil
		}
		return false, nil
	}
}

// patient is how often a loop that shares its thread with other goroutines
// looks again before it sleeps.
const patient = 20

// A Pace says how a loop waits for its end.
type Pace uint8

const (
	// Alone: the loop has a thread of its own and does all the work itself.
	Alone Pace = iota
	// Shared: the loop hands its work to other goroutines, which do best on
	// the thread that it waits on: they are let run before it looks again.
	Shared
)

// rest lets others run, and reports false once a loop has looked often enough
// and should sleep.
func (p Pace) rest(tries int) bool {
	if p == Shared {
		if tries >= patient {
			return false
		}
		runtime.Gosched()
		return true
	}
	if tries >= yields {
		return false
	}
	yield()
	return true
}

// yield gives the processor to whoever else is runnable on it. Go's scheduler
// is not told: its bookkeeping costs more than the call, and the thread is
// runnable all the time.
func yield() { unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// setIovecs appends pieces to v as the kernel wants them.
func setIovecs(v []unix.Iovec, pieces [][]byte) []unix.Iovec {
	for _, b := range pieces {
		if len(b) == 0 {
			continue
		}
		n := len(v)
		v = append(v, unix.Iovec{Base: unsafe.SliceData(b)})
		v[n].SetLen(len(b))
	}
	return v
}
