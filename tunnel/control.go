package tunnel

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Control messages (cmsg(3)) stand beside a message and say what its bytes
// cannot.

// ecnMask picks the ECN field out of the TOS or traffic class byte (RFC 3168).
const ecnMask = 3

// segmentSpace is the number of bytes of a UDP_SEGMENT control message.
var segmentSpace = unix.CmsgSpace(2)

// A sendControl is the buffer for what one outgoing message may need. A single
// datagram without congestion bits needs neither part, others the first, the
// second or both:
//
//	│ UDP_SEGMENT, uint16 │ IP_TOS or IPV6_TCLASS, int32 │
//	0                     segmentSpace
type sendControl []byte

func newSendControl() sendControl {
	c := make(sendControl, segmentSpace+unix.CmsgSpace(4))
	h := c.header(0)
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	c.header(segmentSpace).SetLen(unix.CmsgLen(4))
	return c
}

func (c sendControl) header(at int) *unix.Cmsghdr {
	return (*unix.Cmsghdr)(unsafe.Pointer(&c[at]))
}

func (c sendControl) data(at int) unsafe.Pointer {
	return unsafe.Pointer(&c[at+unix.CmsgLen(0)])
}

// attach gives h the control messages that m needs, if any; its congestion bits
// only with ecn.
func (c sendControl) attach(h *unix.Msghdr, m *Message, ecn bool) {
	begin, end := segmentSpace, segmentSpace
	if m.Count > 1 {
		*(*uint16)(c.data(0)) = uint16(m.Size)
		begin = 0
	}
	if ecn && m.ECN != 0 {
		tos := c.header(segmentSpace)
		tos.Level, tos.Type = unix.IPPROTO_IP, unix.IP_TOS
		if m.To.ap.Addr().Is6() {
			tos.Level, tos.Type = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
		}
		*(*int32)(c.data(segmentSpace)) = int32(m.ECN & ecnMask)
		end = len(c)
	}
	h.Control = nil
	if begin < end {
		h.Control = &c[begin]
	}
	h.SetControllen(end - begin)
}

// readControl puts into m what the kernel says beside the message: the datagram
// size of a run (UDP_GRO), the congestion bits of its outer header, which IPv4
// gives as a byte (IP_TOS) and IPv6 as an int (IPV6_TCLASS), and when it came
// (SO_TIMESTAMPNS).
func readControl(ctl []byte, m *Received) {
	for len(ctl) >= unix.CmsgLen(0) {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&ctl[0]))
		if n := uint64(c.Len); n < unix.SizeofCmsghdr || n > uint64(len(ctl)) {
			break
		}
		data := ctl[unix.CmsgLen(0):c.Len]
		switch {
		case c.Level == unix.IPPROTO_UDP && c.Type == unix.UDP_GRO && len(data) >= 4:
			if size := int(*(*int32)(unsafe.Pointer(&data[0]))); size > 0 {
				m.Size = size
			}
		case c.Level == unix.IPPROTO_IP && c.Type == unix.IP_TOS && len(data) >= 1:
			m.ECN = data[0] & ecnMask
		case c.Level == unix.IPPROTO_IPV6 && c.Type == unix.IPV6_TCLASS && len(data) >= 4:
			m.ECN = uint8(*(*int32)(unsafe.Pointer(&data[0]))) & ecnMask
		case c.Level == unix.SOL_SOCKET && c.Type == unix.SO_TIMESTAMPNS && len(data) >= int(unsafe.Sizeof(unix.Timespec{})):
			m.At = time.Unix((*unix.Timespec)(unsafe.Pointer(&data[0])).Unix())
		}
		ctl = ctl[min(unix.CmsgSpace(len(data)), len(ctl)):]
	}
}
