package tunnel

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// OpenSender opens a port that only sends: from like's address, and from a
// source port that the kernel picks. With several of them the datagrams of
// many flows leave from many source ports, by which receivers spread them over
// processors and networks over paths (RFC 7348 section 5).
//
// What arrives at such a port is thrown away before it is queued, by a packet
// filter that is in place before the port has a number. Nobody has business
// there: peers send to the port that receives, and an error that the network
// reports about a datagram is none that a send from an unconnected socket would
// tell. A queue that is never read would only hold memory. [Port.Drops] counts
// what was thrown away; a Recv waits until the stop.
//
// Nothing is probed. The sender uses what like uses, as far as o.Allow has it,
// and a demotion of one is one of all, told once by the port that met it.
// o.Local and o.ECN do not matter here.
func OpenSender(like *Port, o PortOptions) (*Port, error) {
	local := netip.AddrPortFrom(like.local.Addr(), 0)
	fd, err := newSocket(local)
	if err != nil {
		return nil, err
	}
	p := &Port{fd: fd, stop: o.Stop, onDemote: o.Demoted, allow: o.Allow & (GSO | Mmsg | ECN), caps: like.caps}
	if err := p.setupSender(local, o.Buffer); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("sending socket on %v: %w", local.Addr(), err)
	}
	return p, nil
}

func (p *Port) setupSender(local netip.AddrPort, buffer int) error {
	if err := dropAll(p.fd); err != nil {
		return err
	}
	setBuffer(p.fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, 1) // the kernel makes it its minimum
	setBuffer(p.fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, buffer)
	return p.bind(local)
}

// dropAll attaches the shortest classic BPF program there is: accept 0 bytes.
func dropAll(fd int) error {
	ret := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &ret})
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
}
