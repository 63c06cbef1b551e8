package tunnel

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A Port is a UDP socket towards the peers. One loop may send and another
// receive at the same time.
type Port struct {
	fd       int
	local    netip.AddrPort
	stop     *Stopper
	allow    Feature
	pace     Pace
	caps     *caps
	onDemote func(Feature, error)
}

// caps is what a port and its senders have found out about the kernel.
type caps struct {
	features atomic.Uint32
	maxRun   int // datagrams that one UDP_SEGMENT message may hold
}

// PortOptions says how a port is to be opened.
type PortOptions struct {
	Local   netip.AddrPort // port 0: any
	Allow   Feature        // features that may be used
	ECN     bool           // tell the congestion bits of what arrives, see Received.ECN; needs the feature ECN
	Stop    *Stopper
	Pace    Pace                 // of the loop that receives
	Stamp   bool                 // tell when each message came, see Received.At
	Buffer  int                  // bytes of socket buffer in each direction; 0: 4 MiB
	Demoted func(Feature, error) // as in TUNOptions
}

// DefaultBuffer is the bytes of socket buffer in each direction that a port asks
// for. Without CAP_NET_ADMIN in the first user namespace the kernel gives at most
// net.core.rmem_max and wmem_max.
const DefaultBuffer = 4 << 20

// OpenPort binds a UDP socket and finds out what the kernel can do with it.
// Outer packets are never fragmented: a datagram that is too long for its path
// is refused with EMSGSIZE, so that its sender can be told.
func OpenPort(o PortOptions) (*Port, error) {
	fd, err := newSocket(o.Local)
	if err != nil {
		return nil, err
	}
	p := &Port{fd: fd, stop: o.Stop, pace: o.Pace, onDemote: o.Demoted, allow: o.Allow, caps: &caps{}}
	if err := p.setup(o); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("udp port %v: %w", o.Local, err)
	}
	return p, nil
}

// newSocket makes a UDP socket of local's family that does not fragment.
func newSocket(local netip.AddrPort) (int, error) {
	family, level, option, do := unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO
	if local.Addr().Is4() {
		family, level, option, do = unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("udp socket for %v: %w", local, err)
	}
	err = unix.SetsockoptInt(fd, level, option, do)
	if err == nil && family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("udp socket for %v: setsockopt IP_MTU_DISCOVER or IPV6_V6ONLY: %w", local, err)
	}
	return fd, nil
}

func (p *Port) setup(o PortOptions) error {
	setBuffer(p.fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, o.Buffer)
	setBuffer(p.fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, o.Buffer)
	if err := p.bind(o.Local); err != nil {
		return err
	}
	p.probe(o)
	return nil
}

// bind gives the socket its address, and p.local the port that it got.
func (p *Port) bind(local netip.AddrPort) error {
	if err := unix.Bind(p.fd, sockaddr(local)); err != nil {
		return bindError(err)
	}
	sa, err := unix.Getsockname(p.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	p.local = netip.AddrPortFrom(local.Addr(), portOf(sa))
	return nil
}

// setBuffer asks for size bytes. The forced form needs CAP_NET_ADMIN in the
// initial user namespace; the other is cut to net.core.rmem_max. Neither is
// necessary, so a refusal is not an error.
func setBuffer(fd, force, plain, size int) {
	if size == 0 {
		size = DefaultBuffer
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, size)
	}
}

func bindError(err error) error {
	if err == unix.EADDRINUSE {
		return fmt.Errorf("bind: %w; another process has the port (is flanneld or another weft running?)", err)
	}
	if err == unix.EADDRNOTAVAIL {
		return fmt.Errorf("bind: %w; the address is not on any interface of this network namespace", err)
	}
	return os.NewSyscallError("bind", err)
}

func sockaddr(ap netip.AddrPort) unix.Sockaddr {
	if ap.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16(), ZoneId: zone(ap.Addr().Zone())}
}

// zone turns the zone of a link-local address into an interface index; 0 when
// there is none.
func zone(name string) uint32 {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n)
	}
	if ifi, err := net.InterfaceByName(name); err == nil {
		return uint32(ifi.Index)
	}
	return 0
}

func portOf(sa unix.Sockaddr) uint16 {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return uint16(sa.Port)
	case *unix.SockaddrInet6:
		return uint16(sa.Port)
	}
	return 0
}

// Features returns what the port uses now.
func (p *Port) Features() Feature { return Feature(p.caps.features.Load()) & p.allow }

// demote switches f off for the port and all that share its state, and tells
// so if none of them has before.
func (p *Port) demote(f Feature, err error) {
	if old := p.caps.features.And(^uint32(f)); Feature(old).Has(f) && p.onDemote != nil {
		p.onDemote(f, err)
	}
}

// MaxRun returns how many datagrams one message may hold: 1 without GSO.
func (p *Port) MaxRun() int {
	if !p.Features().Has(GSO) {
		return 1
	}
	return p.caps.maxRun
}

// Local returns the address the port is bound to.
func (p *Port) Local() netip.AddrPort { return p.local }

// SetMark sets the mark of the packets that are sent (SO_MARK), by which
// routing rules can tell them; 0: none. It needs CAP_NET_ADMIN.
func (p *Port) SetMark(mark uint32) error {
	old, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_MARK)
	if err == nil && uint32(old) == mark {
		return nil
	}
	return os.NewSyscallError("setsockopt SO_MARK", unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)))
}

// Drops returns the number of datagrams that the kernel has thrown away
// because the socket's receive buffer was full (SK_MEMINFO_DROPS).
func (p *Port) Drops() (uint32, error) { return memDrops(p.fd) }

// Close frees the socket. The loops that use it must have ended.
func (p *Port) Close() error { return os.NewSyscallError("close", unix.Close(p.fd)) }

// PathMTU asks the kernel for the largest IP packet, in bytes, that it will
// send from local to remote without fragmenting: the link's MTU, or what an
// ICMP message has taught it since (ip(7), IP_MTU).
func PathMTU(local netip.Addr, remote netip.AddrPort) (int, error) {
	family, level, opt := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU
	if remote.Addr().Is6() {
		family, level, opt = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(local, 0))); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	if err := unix.Connect(fd, sockaddr(remote)); err != nil {
		return 0, os.NewSyscallError("connect", err)
	}
	mtu, err := unix.GetsockoptInt(fd, level, opt)
	return mtu, os.NewSyscallError("getsockopt IP_MTU", err)
}
