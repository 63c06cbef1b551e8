package tunnel

import (
	"net/netip"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Received is what one message brought: one datagram, or with UDP_GRO a run
// of them, which all had the same ECN (the kernel joins no others).
type Received struct {
	Data      []byte         // borrowed until the next Recv
	Size      int            // bytes of each datagram in Data; the last may be shorter
	From      netip.AddrPort // who sent it
	ECN       uint8          // congestion bits of the outer header (RFC 3168), if PortOptions.ECN asks for them; else 0
	At        time.Time      // when it came, if PortOptions.Stamp asks for it and the kernel tells; else zero
	Truncated bool           // it was longer than any UDP datagram should be
}

const (
	// Where the wire brings single datagrams, one superpacket arrives as 45 of
	// them; 256 let several be joined whole.
	inboxMessages = 256
	inboxBytes    = 65536 // a run of UDP_GRO, or the largest datagram
	// A stride that is not a multiple of 4 KiB keeps the beginnings of the
	// buffers, which is all that small datagrams touch, out of each other's
	// cache sets.
	inboxStride = inboxBytes + 4096 + 64
	controlLen  = 96
)

// An Inbox receives what a port has to give in one go.
type Inbox struct {
	Messages []Received
	Idle     bool // the port was empty when Recv was called
	buf      []byte
	hdrs     []mmsghdr
	iovs     []unix.Iovec
	names    [][unix.SizeofSockaddrInet6]byte
	ctls     [][controlLen]byte
	used     int // headers that the kernel wrote to last time
}

// NewInbox allocates an Inbox. Its memory is touched only as far as messages
// fill it.
func NewInbox() *Inbox {
	b := &Inbox{
		Messages: make([]Received, 0, inboxMessages),
		buf:      make([]byte, inboxMessages*inboxStride),
		hdrs:     make([]mmsghdr, inboxMessages),
		iovs:     make([]unix.Iovec, inboxMessages),
		names:    make([][unix.SizeofSockaddrInet6]byte, inboxMessages),
		ctls:     make([][controlLen]byte, inboxMessages),
		used:     inboxMessages,
	}
	for i := range b.hdrs {
		b.iovs[i].Base = &b.buf[i*inboxStride]
		b.iovs[i].SetLen(inboxBytes)
		h := &b.hdrs[i].hdr
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		h.Name = &b.names[i][0]
		h.Control = &b.ctls[i][0]
	}
	return b
}

// Recv waits until there are messages and takes as many as fit. It returns
// ErrClosed after a stop.
func (p *Port) Recv(b *Inbox) error {
	if p.pace == Shared {
		runtime.Gosched()
	}
	b.Idle = false
	for tries := 0; ; tries++ {
		if p.stop.Stopped() {
			return ErrClosed
		}
		n, e := p.recv(b)
		switch {
		case e == unix.EINTR:
			continue
		case e == unix.EAGAIN:
			b.Idle = true
			if p.pace.rest(tries) {
				continue
			}
			if err := p.stop.wait(p.fd, unix.POLLIN); err != nil {
				return err
			}
			tries = 0
			continue
		case e != 0:
			return os.NewSyscallError("recvmsg", e)
		}
		b.collect(n)
		return nil
	}
}

func (p *Port) recv(b *Inbox) (int, unix.Errno) {
	if !p.Features().Has(Mmsg) {
		b.reset()
		n, _, e := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(p.fd), uintptr(unsafe.Pointer(&b.hdrs[0].hdr)), unix.MSG_DONTWAIT)
		if e != 0 {
			return 0, e
		}
		b.hdrs[0].len, b.used = uint32(n), 1
		return 1, 0
	}
	b.reset()
	n, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(p.fd), uintptr(unsafe.Pointer(&b.hdrs[0])), inboxMessages, unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0, e
	}
	b.used = int(n)
	return b.used, 0
}

// reset gives the headers back the lengths that the kernel overwrote.
func (b *Inbox) reset() {
	for i := range b.hdrs[:b.used] {
		b.hdrs[i].hdr.Namelen = unix.SizeofSockaddrInet6
		b.hdrs[i].hdr.SetControllen(controlLen)
	}
	b.used = 0
}

// collect makes Messages of the first n headers.
func (b *Inbox) collect(n int) {
	b.Messages = b.Messages[:0]
	for i := range b.hdrs[:n] {
		h := &b.hdrs[i]
		size := int(h.len)
		m := Received{
			Data:      b.buf[i*inboxStride : i*inboxStride+size],
			Size:      size,
			From:      parseAddr(&b.names[i]),
			Truncated: h.hdr.Flags&unix.MSG_TRUNC != 0,
		}
		readControl(b.ctls[i][:min(int(h.hdr.Controllen), controlLen)], &m)
		b.Messages = append(b.Messages, m)
	}
}
