package load

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// socketBuffer is asked for in bytes for UDP sockets, so that a receiver that
// is off its core for some milliseconds loses nothing.
const socketBuffer = 8 << 20

// sockaddr converts an address for the socket calls.
func sockaddr(a netip.AddrPort) (domain int, sa unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// listenTCP returns a listening socket.
func listenTCP(a netip.AddrPort) (int, error) {
	domain, sa := sockaddr(a)
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err == nil {
		if err = unix.Bind(fd, sa); err == nil {
			err = unix.Listen(fd, 16)
		}
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("listen on tcp %v: %w", a, err), unix.Close(fd))
	}
	return fd, nil
}

// dialTCP connects. Without noDelay the socket has Nagle's algorithm on, as
// every new socket.
func dialTCP(a netip.AddrPort, noDelay bool) (int, error) {
	domain, sa := sockaddr(a)
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if noDelay {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err == nil {
		err = retry(func() error { return unix.Connect(fd, sa) })
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("connect to tcp %v: %w", a, err), unix.Close(fd))
	}
	return fd, nil
}

// udpSocket returns a socket bound to a, or connected to it.
func udpSocket(a netip.AddrPort, attach func(int, unix.Sockaddr) error) (int, error) {
	domain, sa := sockaddr(a)
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	for _, option := range []int{unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, socketBuffer)
		}
	}
	if err == nil {
		err = attach(fd, sa)
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("udp %v: %w", a, err), unix.Close(fd))
	}
	return fd, nil
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// read and write are the plain calls, repeated after a signal.
func read(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		if err != unix.EINTR {
			return n, err
		}
	}
}

func write(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Write(fd, b)
		if err != unix.EINTR {
			return n, err
		}
	}
}
