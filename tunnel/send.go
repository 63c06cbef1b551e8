package tunnel

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Message is a run: Count datagrams of Size bytes (the last may be shorter)
// to one address, as one gather list. A single datagram has Count 1.
type Message struct {
	To     *Addr
	Pieces [][]byte
	Size   int   // bytes of each datagram
	Count  int   // datagrams
	Bytes  int   // sum of Pieces
	ECN    uint8 // congestion bits of the outer header, 0 to 3 (RFC 3168), if the port has them; the rest of its TOS is 0
	Err    error // set by Send: why the kernel refused it; nil when it was sent
	Lost   int   // set by Send: how many of its datagrams were refused
}

// MaxDatagram is the largest UDP payload that fits an IPv4 packet, in bytes.
const MaxDatagram = 65535 - 20 - 8

// mmsghdr is struct mmsghdr (recvmmsg(2)).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

const sendBatch = 64 // messages in one sendmmsg

// An Outbox is the scratch memory of one loop that sends.
type Outbox struct {
	hdrs []mmsghdr
	iovs []unix.Iovec
	ctls []sendControl // one for each header
	at   []int         // where each header's iovecs begin
	ecn  bool          // the headers bear congestion bits
}

// NewOutbox allocates an Outbox.
func NewOutbox() *Outbox {
	s := &Outbox{hdrs: make([]mmsghdr, sendBatch), iovs: make([]unix.Iovec, 0, 4096), at: make([]int, sendBatch+1)}
	for range sendBatch {
		s.ctls = append(s.ctls, newSendControl())
	}
	return s
}

// Send hands all messages to the kernel and returns how many it refused; why
// stands in their Err. Several loops may send at once, each with its own
// Outbox. Send waits while the socket's buffer is full. The error
// it returns is ErrClosed after a stop.
func (p *Port) Send(out *Outbox, msgs []Message) (refused int, err error) {
	for len(msgs) > 0 {
		batch := msgs[:min(len(msgs), sendBatch)]
		if !p.Features().Has(Mmsg) {
			batch = batch[:1]
		}
		n, err := p.sendBatch(out, batch)
		refused += n
		if err != nil {
			return refused, err
		}
		msgs = msgs[len(batch):]
	}
	return refused, nil
}

// sendBatch sends up to sendBatch messages. A message that the kernel refuses
// ends the system call; it is dealt with alone and the rest goes on.
func (p *Port) sendBatch(out *Outbox, msgs []Message) (refused int, err error) {
	out.fill(msgs, p.Features().Has(ECN))
	for i := 0; i < len(msgs); {
		n, e := p.syscall(out, i, len(msgs))
		for j := i; j < i+n; j++ {
			msgs[j].Err, msgs[j].Lost = nil, 0
		}
		i += n
		switch e {
		case 0, unix.EINTR:
			continue
		case unix.EAGAIN:
			if err := p.stop.wait(p.fd, unix.POLLOUT); err != nil {
				return refused, err
			}
			continue
		}
		msgs[i].Lost, msgs[i].Err = p.refusedOne(out, &msgs[i], e)
		if msgs[i].Err == ErrClosed {
			return refused, ErrClosed
		}
		if msgs[i].Err != nil {
			refused++
		}
		out.fill(msgs, p.Features().Has(ECN)) // refusedOne used the arrays for its own
		i++
	}
	return refused, nil
}

// syscall sends the filled headers from i up to end and returns how many went.
func (p *Port) syscall(out *Outbox, i, end int) (int, unix.Errno) {
	if p.Features().Has(Mmsg) {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(p.fd), uintptr(unsafe.Pointer(&out.hdrs[i])),
			uintptr(end-i), unix.MSG_DONTWAIT, 0, 0)
		if e != 0 {
			return 0, e
		}
		return int(n), 0
	}
	_, _, e := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(p.fd), uintptr(unsafe.Pointer(&out.hdrs[i].hdr)), unix.MSG_DONTWAIT)
	if e != 0 {
		return 0, e
	}
	return 1, 0
}

// fill writes one header for each message, with its congestion bits or, not to
// claim what cannot be told, as Not-ECT (RFC 6040 section 4.3).
func (s *Outbox) fill(msgs []Message, ecn bool) {
	s.iovs, s.ecn = s.iovs[:0], ecn
	for i := range msgs {
		s.at[i] = len(s.iovs)
		s.iovs = setIovecs(s.iovs, msgs[i].Pieces)
	}
	s.at[len(msgs)] = len(s.iovs)
	for i := range msgs {
		h := &s.hdrs[i].hdr
		msgs[i].To.name(h)
		h.Iov = unsafe.SliceData(s.iovs[s.at[i]:])
		h.SetIovlen(s.at[i+1] - s.at[i])
		h.Flags = 0
		s.ctls[i].attach(h, &msgs[i], ecn)
	}
}

// refusedOne decides what a refused message means. Its congestion bits may be
// the reason, see unmark. A run may have been refused because it is a run: then
// its datagrams are sent one by one, and if they go through, GSO is switched
// off for good. It returns how many datagrams could not be sent, and why.
func (p *Port) refusedOne(out *Outbox, m *Message, e unix.Errno) (lost int, err error) {
	err = p.unmark(out, m, e)
	switch {
	case err == nil:
		return 0, nil
	case m.Count == 1 || err != unix.EIO && err != unix.EINVAL && err != unix.EMSGSIZE:
		return m.Count, err
	}
	whole := err
	lost, err = p.sendSingly(out, m)
	if err == nil && whole != unix.EMSGSIZE {
		p.demote(GSO, os.NewSyscallError("sendmsg with UDP_SEGMENT", whole))
	}
	return lost, err
}

// unmark sends m, which the kernel refused as out described it, once more
// without its congestion bits if these may be the reason. If it goes through,
// ECN is switched off for good. It returns why m did not go.
func (p *Port) unmark(out *Outbox, m *Message, refusal error) error {
	if !out.ecn || m.ECN == 0 || refusal != unix.EINVAL && refusal != unix.EIO && refusal != unix.ENOPROTOOPT {
		return refusal
	}
	err := p.sendAlone(out, m, false)
	if err == nil {
		p.demote(ECN, os.NewSyscallError("sendmsg with IP_TOS or IPV6_TCLASS", refusal))
	}
	return err
}

// sendSingly sends the datagrams of a run without UDP_SEGMENT and returns how
// many did not go, and the error of the last of them.
func (p *Port) sendSingly(out *Outbox, m *Message) (lost int, err error) {
	one := Message{To: m.To, Count: 1, ECN: m.ECN}
	pieces := m.Pieces
	for len(pieces) > 0 {
		n, size := 0, 0
		for n < len(pieces) && size < m.Size {
			size += len(pieces[n])
			n++
		}
		one.Pieces, pieces = pieces[:n], pieces[n:]
		if e := p.sendOne(out, &one); e == ErrClosed {
			return lost, e
		} else if e != nil {
			lost, err = lost+1, e
		}
	}
	return lost, err
}

// sendOne sends a message by itself, without its congestion bits if need be.
func (p *Port) sendOne(out *Outbox, m *Message) error {
	err := p.sendAlone(out, m, p.Features().Has(ECN))
	if err == nil {
		return nil
	}
	return p.unmark(out, m, err)
}

func (p *Port) sendAlone(out *Outbox, m *Message, ecn bool) error {
	out.fill([]Message{*m}, ecn)
	for {
		_, _, e := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(p.fd), uintptr(unsafe.Pointer(&out.hdrs[0].hdr)), unix.MSG_DONTWAIT)
		switch e {
		case 0:
			return nil
		case unix.EINTR:
		case unix.EAGAIN:
			if err := p.stop.wait(p.fd, unix.POLLOUT); err != nil {
				return err
			}
		default:
			return e
		}
	}
}
