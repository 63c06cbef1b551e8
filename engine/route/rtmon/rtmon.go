// Package rtmon waits for changes of the kernel's links, addresses, routes and
// routing rules.
//
// A Monitor is one rtnetlink socket that has joined multicast groups. The
// kernel never waits for a slow listener: when the socket's buffer is full it
// drops messages and the next read fails with ENOBUFS. So an event is only
// ever a hint that something is different now, and [ErrLost] is the widest
// hint of all: whoever listens reads the state again and compares.
//
//	nlmsghdr (16 bytes) | ifinfomsg / ifaddrmsg / rtmsg | attributes (rtattr, 4-byte aligned)
//
// All integers are in the machine's own byte order. Sources: rtnetlink(7),
// netlink(7), include/uapi/linux/rtnetlink.h.
package rtmon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Group is a set of rtnetlink multicast groups.
type Group uint32

// The groups, to be or-ed.
const (
	Links  Group = unix.RTMGRP_LINK
	Addrs  Group = unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR
	Routes Group = unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE
	Rules  Group = 1<<(unix.RTNLGRP_IPV4_RULE-1) | 1<<(unix.RTNLGRP_IPV6_RULE-1)
)

// A Kind tells what an Event is about.
type Kind uint8

// The kinds of events.
const (
	Link     Kind = iota + 1 // a link appeared or changed
	LinkGone                 // a link was removed, or left this namespace
	Addr                     // an address was added, changed or removed
	Route                    // a route was added, changed or removed
	Rule                     // a rule that chooses between routing tables was added or removed
)

// An Event is one change.
type Event struct {
	Kind     Kind
	Index    int          // of the link; 0 for a route without a single device
	Name     string       // of the link, for Link and LinkGone
	Dst      netip.Prefix // destination, for Route
	Table    int          // routing table, for Route
	Protocol uint8        // origin (RTPROT_*), for Route
}

// ErrLost says that events were dropped: anything may have changed.
var ErrLost = errors.New("rtmon: events were lost")

// receiveBuffer is what a Monitor asks for in bytes. A host that starts a
// hundred pods at once causes some thousand messages of about 1 KiB.
const receiveBuffer = 1 << 20

// A Monitor delivers the events of the network namespace in which it was
// opened. It is for one reader at a time.
type Monitor struct {
	f   *os.File
	buf []byte
}

// Open joins the groups in the network namespace of the calling thread.
func Open(g Group) (*Monitor, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("rtmon: socket: %w", err)
	}
	// A smaller buffer only means that ErrLost comes sooner.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: uint32(g)}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("rtmon: joining groups %#x: %w", uint32(g), err)
	}
	// Being non-blocking, the descriptor joins the runtime's poller: a waiting
	// Next holds no thread, and Close and deadlines wake it.
	return &Monitor{f: os.NewFile(uintptr(fd), "rtnetlink"), buf: make([]byte, 64<<10)}, nil
}

// Next waits for the next message of the kernel and returns its events, which
// may be none if it was about something else. It fails with ErrLost after an
// overflow (and can be called again), with the context's error when ctx ends,
// and with os.ErrClosed after Close.
func (m *Monitor) Next(ctx context.Context) ([]Event, error) {
	stop := context.AfterFunc(ctx, func() { _ = m.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := m.f.Read(m.buf)
		switch {
		case err == nil:
			return parse(m.buf[:n]), nil
		case errors.Is(err, unix.ENOBUFS):
			return nil, ErrLost
		case errors.Is(err, os.ErrDeadlineExceeded):
			// Ours, or the late deadline of an earlier context.
			if ctx.Err() == nil {
				_ = m.f.SetReadDeadline(time.Time{})
			}
		case errors.Is(err, unix.EINTR):
		default:
			return nil, fmt.Errorf("rtmon: read: %w", err)
		}
	}
}

// Close ends the subscription and wakes a waiting Next.
func (m *Monitor) Close() error { return m.f.Close() }
