package tunnel

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A Stop wakes who waits, ends who never has to wait, and answers who comes
// late.
func TestPortStop(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		ownNamespace(t)
		stop := stopper(t)
		p := testPort(t, PortOptions{Local: netip.AddrPortFrom(loopback4, 0), Allow: allPort, Stop: stop})
		ended := make(chan error, 1)
		go func() { ended <- p.Recv(NewInbox()) }()
		stop.Stop()
		if err := await(t, "Recv", ended); err != ErrClosed {
			t.Errorf("Recv: %v", err)
		}
		if err := p.Recv(NewInbox()); err != ErrClosed {
			t.Errorf("Recv after the stop: %v", err)
		}
	})
	t.Run("under load", func(t *testing.T) {
		ownNamespace(t)
		stop := stopper(t)
		p := testPort(t, PortOptions{Local: netip.AddrPortFrom(loopback4, 0), Allow: allPort, Stop: stop})
		var load sync.WaitGroup
		ended, running, done := make(chan error, 1), make(chan struct{}), make(chan struct{})
		load.Go(func() {
			msgs := runs(NewAddr(p.Local()), train(0, 64, 100, 100), 64)
			out := NewOutbox()
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := p.Send(out, msgs); err != nil && err != ErrClosed {
					t.Error(err)
					return
				}
			}
		})
		go func() {
			inbox := NewInbox()
			for n := 0; ; n++ {
				if err := p.Recv(inbox); err != nil {
					ended <- err
					return
				}
				if n == 10 {
					close(running)
				}
			}
		}()
		<-running
		stop.Stop()
		if err := await(t, "Recv", ended); err != ErrClosed {
			t.Errorf("Recv: %v", err)
		}
		close(done)
		load.Wait()
	})
	t.Run("sending", testStopSend)
}

// testStopSend: a neighbour that does not answer holds packets, and with them
// the socket's buffer, until the kernel gives up.
func testStopSend(t *testing.T) {
	namespace(t)
	dummy(t, 1500, "10.9.0.1/24")
	const patient = "ipv4/neigh/wire0/mcast_solicit"
	if _, err := os.Stat("/proc/sys/net/" + patient); errors.Is(err, fs.ErrNotExist) {
		t.Skip("this kernel shows a user namespace no sysctls of neighbours")
	}
	sysctl(t, patient, "1000") // not soon
	stop := stopper(t)
	p := testPort(t, PortOptions{Local: netip.MustParseAddrPort("10.9.0.1:0"), Stop: stop, Buffer: 1})
	to := netip.MustParseAddrPort("10.9.0.2:8285")
	for {
		err := unix.Sendto(p.fd, make([]byte, 1000), unix.MSG_DONTWAIT, sockaddr(to))
		if err == unix.EAGAIN {
			break
		}
		must(t, err)
	}
	for _, count := range []int{1, 3} {
		msgs := runs(NewAddr(to), train(0, count, 1000, 1000), count)
		ended := make(chan error, 1)
		go func() {
			_, err := p.Send(NewOutbox(), msgs)
			ended <- err
		}()
		stop.Stop()
		if err := await(t, "Send", ended); err != ErrClosed {
			t.Errorf("Send of %d: %v", count, err)
		}
	}
	m := runs(NewAddr(to), train(0, 3, 1000, 1000), 3)[0]
	if _, err := p.refusedOne(NewOutbox(), &m, unix.EINVAL); err != ErrClosed {
		t.Errorf("Send of a run that was refused: %v", err)
	}
}

// TestStopThenClose: whoever sees that a Stopper is stopped, calls Stop and
// then Close, must find that the Stop of another has come to its end: it would
// write to a descriptor that is somebody else's by now.
func TestStopThenClose(t *testing.T) {
	for range 3000 {
		s, err := NewStopper()
		must(t, err)
		var other sync.WaitGroup
		other.Go(s.Stop)
		for !s.Stopped() {
			yield()
		}
		s.Stop()
		must(t, s.Close())
		r, w, err := os.Pipe() // takes the free number
		must(t, err)
		other.Wait()
		must(t, errors.Join(r.Close(), w.Close()))
	}
}

func TestStopTwice(t *testing.T) {
	s, err := NewStopper()
	must(t, err)
	if s.Stopped() {
		t.Error("stopped from the start")
	}
	s.Stop()
	s.Stop()
	<-s.Done()
	if !s.Stopped() {
		t.Error("not stopped")
	}
	if err := s.wait(-1, unix.POLLIN); err != ErrClosed {
		t.Errorf("wait: %v", err)
	}
	must(t, s.Close())
}
