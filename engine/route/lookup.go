package route

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A finder asks the kernel's route lookup about many addresses. It sends
// many requests in one datagram, because a way into the kernel and back for
// each, through the library and its buffers, costs several times what the
// lookup does (BenchmarkLookups). The kernel answers each with one message, a
// route or an error:
//
//	nlmsghdr (16 bytes) | rtmsg (12) | RTA_DST (4 + 4 or 16)
//
// All integers are in the machine's own byte order. Sources: rtnetlink(7),
// inet_rtm_getroute in net/ipv4/route.c, inet6_rtm_getroute in
// net/ipv6/route.c.
type finder struct {
	fd  int
	seq uint32 // of the next request
	out []byte
	in  []byte
}

// maxAsked bounds the requests in flight, so that the answers, each charged by the
// kernel with somewhat less than 1 KiB, fit the default receive buffer of
// 208 KiB with room to spare.
const maxAsked = 32

// openFinder opens one in the network namespace of the calling thread.
func openFinder() (*finder, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("route: opening rtnetlink for lookups: %w", os.NewSyscallError("socket", err))
	}
	late := unix.NsecToTimeval(callTimeout.Nanoseconds())
	err = errors.Join(
		os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})),
		os.NewSyscallError("SO_RCVTIMEO", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &late)))
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("route: opening rtnetlink for lookups: %w", err)
	}
	return &finder{fd: fd, seq: 1, in: make([]byte, 32<<10)}, nil
}

func (f *finder) close() { unix.Close(f.fd) }

// find returns, for each address, the index of the device on whose link it is,
// or 0 for none.
func (f *finder) find(addrs []netip.Addr) ([]int, error) {
	index := make([]int, len(addrs))
	for i := 0; i < len(addrs); i += maxAsked {
		end := min(i+maxAsked, len(addrs))
		if err := f.ask(addrs[i:end], index[i:end]); err != nil {
			return nil, fmt.Errorf("route: looking up %s: %w", addrs[i], err)
		}
	}
	return index, nil
}

// ask does the part of find that is one datagram.
func (f *finder) ask(addrs []netip.Addr, index []int) error {
	first := f.seq
	f.out = f.out[:0]
	for _, a := range addrs {
		f.out = appendRequest(f.out, f.seq, a)
		f.seq++
	}
	if _, err := unix.Write(f.fd, f.out); err != nil {
		return os.NewSyscallError("write", err)
	}
	for left := len(addrs); left > 0; {
		n, err := unix.Read(f.fd, f.in)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("read", err)
		}
		msgs, err := syscall.ParseNetlinkMessage(f.in[:n])
		if err != nil {
			return err
		}
		for _, m := range msgs {
			i := m.Header.Seq - first
			if i >= uint32(len(index)) {
				continue // the late answer to a request that was given up
			}
			if index[i], err = answer(m); err != nil {
				return err
			}
			left--
		}
	}
	return nil
}

// appendRequest appends the request for a. It asks for the entry of the table
// that matches and not for the path chosen, so that a route of several next
// hops shows as such.
func appendRequest(b []byte, seq uint32, a netip.Addr) []byte {
	ne, ip := binary.NativeEndian, a.AsSlice()
	family := byte(unix.AF_INET)
	if a.Is6() {
		family = unix.AF_INET6
	}
	b = ne.AppendUint32(b, uint32(unix.SizeofNlMsghdr+unix.SizeofRtMsg+unix.SizeofRtAttr+len(ip)))
	b = ne.AppendUint16(b, unix.RTM_GETROUTE)
	b = ne.AppendUint16(b, unix.NLM_F_REQUEST)
	b = ne.AppendUint32(b, seq)
	b = ne.AppendUint32(b, 0) // port: the socket's
	// Family, destination and source length, TOS, table, protocol, scope, type.
	b = append(b, family, byte(a.BitLen()), 0, 0, 0, 0, 0, 0)
	b = ne.AppendUint32(b, unix.RTM_F_FIB_MATCH)
	b = ne.AppendUint16(b, uint16(unix.SizeofRtAttr+len(ip)))
	b = ne.AppendUint16(b, unix.RTA_DST)
	return append(b, ip...)
}

// answer reads what the kernel says: the device if there is exactly one next
// hop, without a gateway, and nothing else stands between; 0 otherwise.
func answer(m syscall.NetlinkMessage) (index int, err error) {
	switch {
	case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
		if unreachable(errno) {
			return 0, nil
		}
		return 0, errno
	case m.Header.Type != unix.RTM_NEWROUTE || len(m.Data) < unix.SizeofRtMsg:
		return 0, fmt.Errorf("answer of type %d and %d bytes", m.Header.Type, len(m.Data))
	case m.Data[7] != unix.RTN_UNICAST: // rtm_type
		return 0, nil
	}
	attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofRtMsg:])
	if err != nil {
		return 0, err
	}
	for _, a := range attrs {
		switch a.Attr.Type &^ unix.NLA_F_NESTED {
		case unix.RTA_GATEWAY, unix.RTA_VIA, unix.RTA_MULTIPATH, unix.RTA_ENCAP:
			return 0, nil
		case unix.RTA_OIF:
			if len(a.Value) >= 4 {
				index = int(binary.NativeEndian.Uint32(a.Value))
			}
		}
	}
	return index, nil
}

// unreachable reports whether a lookup failed because there is no route, or
// because of one that says so: unreachable, prohibit and blackhole in this
// order (fib_props in net/ipv4/fib_semantics.c); or for lack of the family.
func unreachable(errno unix.Errno) bool {
	switch errno {
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.EAFNOSUPPORT, unix.EOPNOTSUPP:
		return true
	}
	return false
}
