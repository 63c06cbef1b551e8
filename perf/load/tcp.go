package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// streamBuffer is the size in bytes of one read or write of a stream, the same
// as iperf3's, so that figures can be compared.
const streamBuffer = 128 << 10

// A stream counts the bytes of one or more TCP connections.
type stream struct{ bytes atomic.Uint64 }

func (s *stream) snapshot() Snapshot {
	return Snapshot{At: monotonic(), Bytes: s.bytes.Load()}
}

// tcpRecv accepts connections and reads what comes.
func tcpRecv(a netip.AddrPort, _ options, fail func(error)) (role, error) {
	listener, err := listenTCP(a)
	if err != nil {
		return nil, err
	}
	s := new(stream)
	go acceptAll(listener, fail, func(fd int) { fail(s.receive(fd)) })
	return s, nil
}

// acceptAll serves every connection with a goroutine.
func acceptAll(listener int, fail func(error), serve func(fd int)) {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			fail(fmt.Errorf("accept: %w", err))
			return
		}
		go serve(fd)
	}
}

func (s *stream) receive(fd int) error {
	defer unix.Close(fd)
	buf := make([]byte, streamBuffer)
	for {
		n, err := read(fd, buf)
		if n <= 0 {
			return ended(err)
		}
		s.bytes.Add(uint64(n))
	}
}

// ended turns the two ways in which a peer process may go away into no error.
func ended(err error) error {
	if errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		return nil
	}
	return err
}

// tcpSend opens streams and writes as fast as they take it.
func tcpSend(a netip.AddrPort, o options, fail func(error)) (role, error) {
	s := new(stream)
	for range o.streams {
		fd, err := dialTCP(a, o.noDelay)
		if err != nil {
			return nil, err
		}
		go func() { fail(s.send(fd)) }()
	}
	return s, nil
}

func (s *stream) send(fd int) error {
	defer unix.Close(fd)
	// Memory that was never written is one shared page of zeros, which
	// would stay in the first-level cache as no program's data does.
	buf := make([]byte, streamBuffer)
	fill(buf)
	for {
		n, err := write(fd, buf)
		if err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		s.bytes.Add(uint64(n))
	}
}

// fill writes arbitrary bytes.
func fill(b []byte) {
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
}

// tcpEcho answers every byte with itself.
func tcpEcho(a netip.AddrPort, _ options, fail func(error)) (role, error) {
	listener, err := listenTCP(a)
	if err != nil {
		return nil, err
	}
	s := new(stream)
	go acceptAll(listener, fail, func(fd int) { fail(s.echo(fd)) })
	return s, nil
}

func (s *stream) echo(fd int) error {
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("TCP_NODELAY: %w", err)
	}
	buf := make([]byte, 1)
	for {
		n, err := read(fd, buf)
		if n <= 0 {
			return ended(err)
		}
		if _, err := write(fd, buf[:n]); err != nil {
			return ended(err)
		}
		s.bytes.Add(uint64(n))
	}
}
