package encap

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// flow is an open superpacket: the packets so far, and what the next one must
// look like.
type flow struct {
	packets [][]byte // empty: the slot is free
	h       Header   // of the first packet
	hdr     int      // bytes of all headers
	size    int      // payload bytes of each packet but the last
	total   int      // payload bytes so far
	seq     uint32   // TCP sequence number that comes next
	closed  bool     // nothing may follow
	push    bool     // the last packet carries PSH
	head    [60 + 60]byte
}

// same compares addresses, protocol and ports.
func (f *flow) same(p []byte, h *Header) bool {
	if len(f.packets) == 0 || h.Proto != f.h.Proto || h.Version != f.h.Version {
		return false
	}
	q := &f.head
	if h.Version == 4 {
		return binary.NativeEndian.Uint64(p[12:]) == binary.NativeEndian.Uint64(q[12:]) &&
			binary.NativeEndian.Uint32(p[20:]) == binary.NativeEndian.Uint32(q[20:])
	}
	return bytes.Equal(p[8:44], q[8:44])
}

// between compares addresses alone.
func (f *flow) between(p []byte, h *Header) bool {
	if h.Version != f.h.Version {
		return false
	}
	if h.Version == 4 {
		return bytes.Equal(p[12:20], f.head[12:20])
	}
	return bytes.Equal(p[8:40], f.head[8:40])
}

// tcpFlags masks the flags in bytes 8 to 15 of a TCP header.
const tcpFlags = 0xff << 16

// accepts tells whether p continues the superpacket: all header fields that
// the kernel will copy into each packet when it cuts the superpacket again
// must be equal, and the payload must be the next in line.
func (f *flow) accepts(p []byte, h *Header, hdr, payload int) bool {
	if f.closed || hdr != f.hdr || payload > f.size || f.total+hdr+payload > maxSuperBytes {
		return false
	}
	q := f.head[:]
	if h.Version == 4 {
		if p[1] != q[1] || p[6] != q[6] || p[8] != q[8] { // TOS, flags, TTL
			return false
		}
		// Without DF the IDs matter to fragments and must go up by one.
		id := binary.BigEndian.Uint16(q[4:]) + uint16(len(f.packets))
		if p[6]&0x40 == 0 && binary.BigEndian.Uint16(p[4:]) != id {
			return false
		}
	} else if !bytes.Equal(p[:4], q[:4]) || p[7] != q[7] { // class, flow label, hop limit
		return false
	}
	if h.Proto == protoUDP {
		return len(f.packets) < maxUDPPackets
	}
	t, u := p[h.L4:hdr], q[h.L4:hdr]
	return len(f.packets) < maxTCPPackets &&
		binary.BigEndian.Uint32(t[4:]) == f.seq &&
		(binary.BigEndian.Uint64(t[8:])^binary.BigEndian.Uint64(u[8:]))&^tcpFlags == 0 && // acknowledgement, data offset, window
		bytes.Equal(t[18:], u[18:]) // urgent pointer, options
}

func (f *flow) append(p []byte, hdr, payload int) {
	f.packets = append(f.packets, p)
	f.total += payload
	if payload < f.size {
		f.closed = true
	}
	if f.h.Proto == protoTCP {
		f.seq += uint32(payload)
		f.push = p[f.h.L4+13]&tcpPSH != 0
		f.closed = f.closed || f.push
	}
}

// seal makes f.head the header of the superpacket, with the pseudo header's
// sum in the checksum field as NeedsCsum demands, and describes it.
func (f *flow) seal() Offload {
	h, l4len := f.head[:f.hdr], f.hdr-f.h.L4+f.total
	o := Offload{Flags: NeedsCsum, HdrLen: uint16(f.hdr), GSOSize: uint16(f.size), CsumStart: uint16(f.h.L4)}
	if f.h.Version == 4 {
		binary.BigEndian.PutUint16(h[2:], uint16(f.h.L4+l4len))
		setIPv4Sum(h[:f.h.L4])
	} else {
		binary.BigEndian.PutUint16(h[4:], uint16(l4len))
	}
	t := h[f.h.L4:]
	switch {
	case f.h.Proto == protoUDP:
		binary.BigEndian.PutUint16(t[4:], uint16(l4len))
		o.GSO, o.CsumOffset = GSOUDP, udpCsumAt
	case f.h.Version == 4:
		o.GSO, o.CsumOffset = GSOTCP4, tcpCsumAt
	default:
		o.GSO, o.CsumOffset = GSOTCP6, tcpCsumAt
	}
	if f.push {
		t[13] |= tcpPSH
	}
	sum := pseudo(h, f.h.Version, f.h.Proto) + uint64(sum16(uint16(l4len)))
	putSum(t[o.CsumOffset:], Fold(sum))
	return o
}

// headerIntact checks the checksum of an IPv4 header without options. A wrong
// one must not be joined: the superpacket's header would get a right one, and
// a packet that the kernel has to drop would be mended by us.
func headerIntact(p []byte, h *Header) bool {
	if h.Version != 4 {
		return true
	}
	q := (*[20]byte)(p)
	acc, carry := bits.Add64(binary.NativeEndian.Uint64(q[0:]), binary.NativeEndian.Uint64(q[8:]), 0)
	acc, carry = bits.Add64(acc, uint64(binary.NativeEndian.Uint32(q[16:])), carry)
	return Fold(acc+carry) == 0xffff
}

// ipSound is headerIntact for a header of any length.
func ipSound(p []byte, h *Header) bool {
	return h.Version != 4 || Fold(Sum(p[:int(p[0]&15)*4], 0)) == 0xffff
}

// intact checks p's transport checksum. An unfinished one ([Partial]) passes:
// there is nothing to check, and the kernel will finish it.
func intact(p []byte, h *Header) bool {
	sum := pseudo(p, h.Version, h.Proto) + uint64(sum16(uint16(h.Len-h.L4)))
	at, _ := csumAt(h.Proto)
	if getSum(p[h.L4+at:]) == Fold(sum) {
		return true
	}
	return Fold(Sum(p[h.L4:h.Len], sum)) == 0xffff
}
