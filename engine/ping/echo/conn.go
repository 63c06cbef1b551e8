package echo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// MaxSize is the longest packet that is sent, in bytes: the most that IPv4 can
// say of itself.
const MaxSize = 65535

const (
	icmpHeader = 8 // bytes
	tokenSize  = 8 // bytes
)

// Floor returns the bytes of the shortest echo request to an address of to's
// family: an IP header and an ICMP header.
func Floor(to netip.Addr) int { return ipHeader(to) + icmpHeader }

func ipHeader(a netip.Addr) int {
	if a.Is4() {
		return 20
	}
	return 40
}

var (
	// ErrPermission says that neither a raw nor a ping socket may be opened.
	ErrPermission = errors.New("no ICMP socket is allowed: it takes CAP_NET_RAW, or a group in net.ipv4.ping_group_range")
	// ErrNotOurs says that the source is no address of this host.
	ErrNotOurs = errors.New("not an address of this host")
	// ErrDamaged says that an answer came with other bytes than its request.
	ErrDamaged = errors.New("the answer carries other bytes than the request")
)

// A Conn sends echo requests from one address to another. It is not safe for use
// from several goroutines.
type Conn struct {
	file     *os.File
	raw      syscall.RawConn
	from, to netip.Addr
	datagram bool   // a ping socket: the kernel owns the identifier
	id       uint16 // identifier of all requests
	token    [tokenSize]byte
	late     *Refusal // of an earlier request than the one at hand
	request  [MaxSize]byte
	buf      [MaxSize + 1]byte
	oob      [512]byte
}

// Open opens a socket in the network namespace of the calling thread. An invalid
// from leaves the choice to the kernel. With df no packet may be fragmented, be
// it here or on the way; without, IPv4 packets may be anywhere and IPv6 packets
// here. The error is [ErrPermission], [ErrNotOurs], or the kernel's about the
// way to that address.
func Open(from, to netip.Addr, df bool) (*Conn, error) { return open(from, to, df, false) }

// open is Open; with datagram it does without a raw socket.
func open(from, to netip.Addr, df, datagram bool) (*Conn, error) {
	from, to = from.Unmap(), to.Unmap()
	if !to.IsValid() || from.IsValid() && from.Is4() != to.Is4() {
		return nil, fmt.Errorf("echo from %v to %v: not two addresses of one family", from, to)
	}
	c := &Conn{from: from, to: to, datagram: datagram, id: uint16(rand.Uint32())}
	for i := range c.token {
		c.token[i] = byte(rand.Uint32())
	}
	fd, err := c.socket()
	if err != nil {
		return nil, fmt.Errorf("echo to %s: %w", to, err)
	}
	if err := c.prepare(fd, df); err != nil {
		unix.Close(fd)
		return nil, err
	}
	c.file = os.NewFile(uintptr(fd), "icmp")
	if c.raw, err = c.file.SyscallConn(); err != nil {
		c.file.Close()
		return nil, fmt.Errorf("echo to %s: %w", to, err)
	}
	return c, nil
}

// socket opens the kind of socket that is allowed.
func (c *Conn) socket() (int, error) {
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	if c.to.Is6() {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	const flags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	if !c.datagram {
		if fd, err := unix.Socket(family, unix.SOCK_RAW|flags, proto); !forbidden(err) {
			return fd, os.NewSyscallError("socket", err)
		}
		c.datagram = true
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|flags, proto)
	if forbidden(err) {
		return -1, ErrPermission
	}
	return fd, os.NewSyscallError("socket", err)
}

func forbidden(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) }

// prepare sets the socket's options, binds it and connects it.
func (c *Conn) prepare(fd int, df bool) error {
	if err := c.options(fd, df); err != nil {
		return fmt.Errorf("echo to %s: %w", c.to, err)
	}
	if c.from.IsValid() {
		if err := c.bind(fd); err != nil {
			return err
		}
	}
	err := connect(fd, c.to)
	if err == nil {
		c.from, err = c.name(fd)
	}
	if err != nil {
		return fmt.Errorf("echo to %s: %w", c.to, err)
	}
	return nil
}

func connect(fd int, to netip.Addr) error {
	sa, err := sockaddr(to)
	if err != nil {
		return err
	}
	return os.NewSyscallError("connect", unix.Connect(fd, sa))
}

func (c *Conn) options(fd int, df bool) error {
	level, discover, recvErr, mode := unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_RECVERR, unix.IP_PMTUDISC_DONT
	if c.to.Is6() {
		// Nothing but the source may fragment IPv6: with WANT it does.
		level, discover, recvErr, mode = unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_RECVERR, unix.IPV6_PMTUDISC_WANT
	}
	if df {
		mode = unix.IP_PMTUDISC_DO // 2, in both families
	}
	return errors.Join(
		os.NewSyscallError("setsockopt RECVERR", unix.SetsockoptInt(fd, level, recvErr, 1)),
		os.NewSyscallError("setsockopt MTU_DISCOVER", unix.SetsockoptInt(fd, level, discover, mode)),
		c.filter(fd),
	)
}

// filter lets a raw socket have echo replies alone; a ping socket gets nothing
// else.
func (c *Conn) filter(fd int) error {
	if c.datagram {
		return nil
	}
	if c.to.Is4() {
		const all = ^(1 << 0) // but type 0; linux/icmp.h: a set bit blocks
		return os.NewSyscallError("setsockopt ICMP_FILTER", unix.SetsockoptInt(fd, unix.SOL_RAW, unix.ICMP_FILTER, all))
	}
	var f unix.ICMPv6Filter // RFC 3542 3.2: a set bit blocks, too, on Linux
	for i := range f.Data {
		f.Data[i] = ^uint32(0)
	}
	f.Data[typeEchoReply6/32] &^= 1 << (typeEchoReply6 % 32)
	return os.NewSyscallError("setsockopt ICMPV6_FILTER", unix.SetsockoptICMPv6Filter(fd, unix.SOL_ICMPV6, unix.ICMPV6_FILTER, &f))
}

func (c *Conn) bind(fd int) error {
	from, err := sockaddr(c.from)
	if err == nil {
		err = unix.Bind(fd, from)
	}
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		err = ErrNotOurs
	}
	if err != nil {
		return fmt.Errorf("echo from %s: %w", c.from, err)
	}
	return nil
}

// name returns the address that the socket is bound to, and takes over the
// identifier of a ping socket, which is its port.
func (c *Conn) name(fd int) (netip.Addr, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.Addr{}, os.NewSyscallError("getsockname", err)
	}
	var a netip.Addr
	port := 0
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		a, port = netip.AddrFrom4(sa.Addr), sa.Port
	case *unix.SockaddrInet6:
		a, port = netip.AddrFrom16(sa.Addr), sa.Port
	}
	if c.datagram {
		c.id = uint16(port)
	}
	return a, nil
}

func sockaddr(a netip.Addr) (unix.Sockaddr, error) {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}, nil
	}
	sa := &unix.SockaddrInet6{Addr: a.As16()}
	if zone := a.Zone(); zone != "" {
		link, err := net.InterfaceByName(zone)
		if err != nil {
			return nil, err
		}
		sa.ZoneId = uint32(link.Index)
	}
	return sa, nil
}

// From returns the source of the requests.
func (c *Conn) From() netip.Addr { return c.from }

// PathMTU returns how many bytes the kernel takes the longest packet on the way
// to be that passes whole: the MTU of the route, or less where routers have
// objected to more; 0 if it does not tell.
func (c *Conn) PathMTU() (mtu int) {
	level, opt := unix.SOL_IP, unix.IP_MTU
	if c.to.Is6() {
		level, opt = unix.SOL_IPV6, unix.IPV6_MTU
	}
	var err error
	closed := c.raw.Control(func(fd uintptr) {
		// A socket keeps the route of its connect for this, IPv6 even when a
		// router has objected since.
		if err = connect(int(fd), c.to); err == nil {
			mtu, err = unix.GetsockoptInt(int(fd), level, opt)
		}
	})
	if closed != nil || err != nil {
		return 0
	}
	return mtu
}

// Close closes the socket.
func (c *Conn) Close() error { return c.file.Close() }

// Echo sends a request of size bytes and returns the time until its answer. The
// error is ctx's when that ends first, a [*Refusal] when a message came instead,
// [ErrDamaged], or the kernel's. A message about an earlier request does not end
// the wait; if there is no answer either, it is the error, for it may well tell
// the cause.
func (c *Conn) Echo(ctx context.Context, seq uint16, size int) (time.Duration, error) {
	if low := Floor(c.to); size < low || size > MaxSize {
		return 0, fmt.Errorf("echo to %s: size %d, want %d to %d", c.to, size, low, MaxSize)
	}
	if err := c.file.SetDeadline(time.Time{}); err != nil {
		return 0, err
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = c.file.SetDeadline(time.Unix(1, 0)) // fails on a closed file, and nobody waits on that
	})
	defer func() {
		if !stop() {
			<-done // or it would cut the next request short
		}
	}()
	request := c.build(seq, size-ipHeader(c.to))
	start, err := c.send(request)
	if err != nil {
		return 0, c.because(ctx, err)
	}
	if err := c.await(seq, request); err != nil {
		return 0, c.because(ctx, err)
	}
	c.late = nil
	return time.Since(start), nil
}

// because says why there is no answer.
func (c *Conn) because(ctx context.Context, err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if late := c.late; late != nil {
		c.late = nil
		return late
	}
	return ctx.Err()
}
