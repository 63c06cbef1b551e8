package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
)

// A socket is a UDP socket in a namespace, used by system calls so that its
// error queue can be read.
type socket struct {
	fd   int
	addr netip.AddrPort
}

// openUDP binds a socket to an address of a place, port 0 meaning any.
func openUDP(t testing.TB, at *lab.Place, addr netip.AddrPort) *socket {
	t.Helper()
	s := &socket{}
	must(t, at.Do(func() (err error) {
		family := unix.AF_INET6
		if addr.Addr().Is4() {
			family = unix.AF_INET
		}
		s.fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return os.NewSyscallError("socket", err)
	}))
	t.Cleanup(func() { unix.Close(s.fd) })
	must(t, os.NewSyscallError("bind", unix.Bind(s.fd, sockaddr(addr))))
	sa, err := unix.Getsockname(s.fd)
	must(t, err)
	s.addr = addrOf(sa)
	s.set(t, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4*mega)
	if addr.Addr().Is4() {
		s.set(t, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
	} else {
		s.set(t, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
	}
	return s
}

func (s *socket) is4() bool { return s.addr.Addr().Is4() }

func (s *socket) set(t testing.TB, level, option, value int) {
	t.Helper()
	if err := unix.SetsockoptInt(s.fd, level, option, value); err != nil {
		t.Fatalf("setsockopt %d %d: %v", level, option, err)
	}
}

// discover sets what the socket does about path MTU: unix.IP_PMTUDISC_DO sets
// DF and refuses what is too long, IP_PMTUDISC_DONT leaves DF off.
func (s *socket) discover(t testing.TB, mode int) {
	t.Helper()
	if s.is4() {
		s.set(t, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, mode)
	} else {
		s.set(t, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, mode)
	}
}

func (s *socket) hops(t testing.TB, n int) {
	t.Helper()
	if s.is4() {
		s.set(t, unix.IPPROTO_IP, unix.IP_TTL, n)
	} else {
		s.set(t, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, n)
	}
}

func (s *socket) sendTo(b []byte, to netip.AddrPort) error {
	return os.NewSyscallError("sendto", unix.Sendto(s.fd, b, 0, sockaddr(to)))
}

// wait waits until poll reports one of events.
func (s *socket) wait(ctx context.Context, events int16) error {
	for {
		fds := []unix.PollFd{{Fd: int32(s.fd), Events: events}}
		n, err := unix.Poll(fds, 20)
		switch {
		case err != nil && err != unix.EINTR:
			return os.NewSyscallError("poll", err)
		case n > 0 && fds[0].Revents&events != 0:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
	}
}

// receive waits for a datagram. Errors that ICMP brought are passed over.
func (s *socket) receive(ctx context.Context, b []byte) (n int, from netip.AddrPort, err error) {
	for {
		if err := s.wait(ctx, unix.POLLIN); err != nil {
			return 0, from, err
		}
		n, sa, err := unix.Recvfrom(s.fd, b, 0)
		if err == nil {
			return n, addrOf(sa), nil
		}
	}
}

// An icmpError is what a pod's kernel tells a socket about an ICMP message.
type icmpError struct {
	errno      unix.Errno
	typ, code  uint8
	mtu        uint32
	from       netip.Addr
	fromKernel bool // not ICMP: the own kernel's doing
}

func (e icmpError) String() string {
	return fmt.Sprintf("%v (type %d code %d mtu %d from %s)", e.errno, e.typ, e.code, e.mtu, e.from)
}

// icmp waits for the next entry of the error queue (struct sock_extended_err,
// include/uapi/linux/errqueue.h, and behind it the address of the sender).
func (s *socket) icmp(ctx context.Context) (e icmpError, err error) {
	b, oob := make([]byte, 2048), make([]byte, 512)
	for {
		if err := s.wait(ctx, unix.POLLERR); err != nil {
			return e, err
		}
		_, n, _, _, err := unix.Recvmsg(s.fd, b, oob, unix.MSG_ERRQUEUE)
		if err == unix.EAGAIN {
			continue // the error was the socket's own, and is cleared by the look
		}
		if err != nil {
			return e, os.NewSyscallError("recvmsg", err)
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil {
			return e, err
		}
		for _, m := range msgs {
			if len(m.Data) >= 16 && (m.Header.Type == unix.IP_RECVERR || m.Header.Type == unix.IPV6_RECVERR) {
				return parseExtended(m.Data), nil
			}
		}
	}
}

func parseExtended(d []byte) icmpError {
	const originLocal = 1
	e := icmpError{
		errno: unix.Errno(binary.NativeEndian.Uint32(d)), fromKernel: d[4] == originLocal,
		typ: d[5], code: d[6], mtu: binary.NativeEndian.Uint32(d[8:]),
	}
	switch d = d[16:]; {
	case len(d) >= 8 && binary.NativeEndian.Uint16(d) == unix.AF_INET:
		e.from, _ = netip.AddrFromSlice(d[4:8])
	case len(d) >= 24 && binary.NativeEndian.Uint16(d) == unix.AF_INET6:
		e.from, _ = netip.AddrFromSlice(d[8:24])
	}
	return e
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func addrOf(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
