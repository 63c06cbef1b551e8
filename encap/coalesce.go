package encap

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// A Super is what a [Coalescer] emits: one packet or superpacket as a gather
// list. Everything in it is borrowed for the length of the call.
type Super struct {
	Offload Offload
	Pieces  [][]byte // to be written one after the other
	Packets [][]byte // the packets it stands for, untouched, in order
	Bytes   int      // sum of Pieces
}

// Limits of a superpacket.
const (
	maxSuperBytes = 65535 // the IPv4 total length field
	maxUDPPackets = 64    // UDP_MAX_SEGMENTS before Linux 6.9 (include/linux/udp.h)
	maxTCPPackets = 512   // pieces of one writev stay well below UIO_MAXIOV, 1024
	flows         = 16    // superpackets that may be open at once
)

// A Coalescer joins consecutive packets of a flow into superpackets. Packets
// are lent to it from [Coalescer.Add] until [Coalescer.Flush] returns; it
// changes none of them. What cannot be joined passes verbatim. The order of
// packets within a flow is kept; nothing is held back beyond Flush.
type Coalescer struct {
	TCP, UDP bool // which kinds may be joined

	emit func(*Super)
	open [flows]flow
	last int // the flow that took the latest packet: bulk traffic finds it at once
	next int // the flow to evict when all are taken
	out  Super
	one  [1][]byte
}

// NewCoalescer returns a Coalescer that hands what it makes to emit.
func NewCoalescer(emit func(*Super)) *Coalescer {
	c := &Coalescer{TCP: true, UDP: true, emit: emit}
	for i := range c.open {
		c.open[i].packets = make([][]byte, 0, 64)
	}
	c.out.Pieces = make([][]byte, 0, maxTCPPackets+1)
	return c
}

// flow is an open superpacket.
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

// Add takes the packet p, whose header is h. sound says that p's transport
// checksum may be trusted without a look at it.
func (c *Coalescer) Add(p []byte, h *Header, sound bool) {
	p = p[:h.Len]
	hdr, payload, mergeable := c.shape(p, h)
	if hdr == 0 {
		c.yield(p, h)
		c.single(p, h)
		return
	}
	mergeable = mergeable && headerIntact(p, h) && (sound || intact(p, h))
	f := c.find(p, h)
	if f != nil && mergeable && f.accepts(p, h, hdr, payload) {
		f.append(p, hdr, payload)
		return
	}
	if f != nil {
		c.close(f)
	}
	if !mergeable {
		c.single(p, h)
		return
	}
	c.start(p, h, hdr, payload)
}

// yield closes what p, which is about to pass alone, must not overtake: the
// superpackets between its two hosts that may be of its flow. A fragment's
// ports are not looked for, and its protocol may not be known.
func (c *Coalescer) yield(p []byte, h *Header) {
	for i := range c.open {
		f := &c.open[i]
		if len(f.packets) > 0 && (h.Proto == f.h.Proto || h.Frag) && f.between(p, h) {
			c.close(f)
		}
	}
}

// shape returns the bytes of headers and of payload of a packet of a kind that
// is joined at all (0 when it is not), and whether this one may be.
func (c *Coalescer) shape(p []byte, h *Header) (hdr, payload int, mergeable bool) {
	if h.Frag || (h.Version == 4 && h.L4 != 20) || (h.Version == 6 && h.L4 != 40) {
		return 0, 0, false // fragments, IPv4 options, IPv6 extension headers
	}
	switch h.Proto {
	case protoTCP:
		if !c.TCP || h.Len < h.L4+20 {
			return 0, 0, false
		}
		hdr = h.L4 + int(p[h.L4+12]>>4)*4
		if hdr < h.L4+20 || hdr > h.Len {
			return 0, 0, false
		}
		return hdr, h.Len - hdr, h.Len > hdr && p[h.L4+13]&^tcpPSH == tcpACK
	case protoUDP:
		if !c.UDP || h.Len < h.L4+8 || int(binary.BigEndian.Uint16(p[h.L4+4:])) != h.Len-h.L4 {
			return 0, 0, false
		}
		// A datagram without a checksum must stay without one.
		return h.L4 + 8, h.Len - h.L4 - 8, h.Len > h.L4+8 && getSum(p[h.L4+udpCsumAt:]) != 0
	}
	return 0, 0, false
}

// find returns the open superpacket of p's flow.
func (c *Coalescer) find(p []byte, h *Header) *flow {
	if f := &c.open[c.last]; f.same(p, h) {
		return f
	}
	for i := range c.open {
		if f := &c.open[i]; f.same(p, h) {
			c.last = i
			return f
		}
	}
	return nil
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

// start opens a superpacket with p as its first packet.
func (c *Coalescer) start(p []byte, h *Header, hdr, payload int) {
	i := c.free()
	f := &c.open[i]
	c.last = i
	f.h, f.hdr, f.size, f.total = *h, hdr, payload, 0
	f.closed, f.push = false, false
	copy(f.head[:], p[:hdr])
	if h.Proto == protoTCP {
		f.seq = binary.BigEndian.Uint32(p[h.L4+4:])
	}
	f.append(p, hdr, payload)
}

// free returns an unused slot, or makes one by emitting the one whose turn it
// is.
func (c *Coalescer) free() int {
	for i := range c.open {
		if len(c.open[i].packets) == 0 {
			return i
		}
	}
	i := c.next
	c.next = (c.next + 1) % flows
	c.close(&c.open[i])
	return i
}

// Flush emits all that is open. The caller may reuse the packets' buffers
// when it returns.
func (c *Coalescer) Flush() {
	for i := range c.open {
		if len(c.open[i].packets) > 0 {
			c.close(&c.open[i])
		}
	}
}

// single emits p as it is.
func (c *Coalescer) single(p []byte, h *Header) {
	c.out.Offload, _ = Partial(p, h)
	c.one[0] = p
	c.emitAs(append(c.out.Pieces[:0], p), c.one[:], len(p))
}

// close emits the superpacket f and frees its slot.
func (c *Coalescer) close(f *flow) {
	if len(f.packets) == 1 {
		p := f.packets[0]
		c.out.Offload, _ = Partial(p, &f.h)
		c.emitAs(append(c.out.Pieces[:0], p), f.packets, len(p))
	} else {
		c.out.Offload = f.seal()
		pieces := append(c.out.Pieces[:0], f.head[:f.hdr])
		for _, p := range f.packets {
			pieces = append(pieces, p[f.hdr:])
		}
		c.emitAs(pieces, f.packets, f.hdr+f.total)
	}
	f.packets = f.packets[:0]
}

func (c *Coalescer) emitAs(pieces, packets [][]byte, n int) {
	c.out.Pieces, c.out.Packets, c.out.Bytes = pieces, packets, n
	c.emit(&c.out)
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
