package encap

import "encoding/binary"

// A Super is what a [Coalescer] emits: one packet or superpacket as a gather
// list. Everything in it is borrowed for the length of the call.
type Super struct {
	Offload Offload
	Pieces  [][]byte // to be written one after the other
	Packets [][]byte // what was added, untouched, in order; none for a part of what was cut
	Count   int      // packets it stands for; more than len(Packets) if a superpacket was added
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
//
// A kernel peer on the same host sends what it has not cut: see
// [Coalescer.AddSuper] and the field MTU.
type Coalescer struct {
	TCP, UDP bool // which kinds of superpackets the device takes
	MTU      int  // bytes of the longest packet that the device knows as one; 0: any

	emit func(*Super)
	open [flows]flow
	last int // the flow that took the latest packet: bulk traffic finds it at once
	next int // the flow to evict when all are taken
	out  Super
	one  [1][]byte

	head   [maxSuperHead]byte // of a superpacket that was added
	cutter *Cutter            // for a device that does not take superpackets; made when one comes
	segs   []Segment
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

// Add takes the packet p, whose header is h. sound says that p's transport
// checksum may be trusted without a look at it. Anything but Delivered says why
// p will not be emitted.
func (c *Coalescer) Add(p []byte, h *Header, sound bool) Drop {
	p = p[:h.Len]
	if h.Len > c.MTU && c.MTU > 0 {
		return c.long(p, h)
	}
	hdr, payload, mergeable := c.shape(p, h)
	if hdr == 0 {
		c.yield(p, h)
		c.single(p, h)
		return Delivered
	}
	mergeable = mergeable && headerIntact(p, h) && (sound || intact(p, h))
	f := c.find(p, h)
	if f != nil && mergeable && f.accepts(p, h, hdr, payload) {
		f.append(p, hdr, payload)
		return Delivered
	}
	if f != nil {
		c.close(f)
	}
	if mergeable {
		c.start(p, h, hdr, payload)
	} else {
		c.single(p, h)
	}
	return Delivered
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
	c.emitAs(append(c.out.Pieces[:0], p), c.one[:], 1, len(p))
}

// close emits the superpacket f and frees its slot.
func (c *Coalescer) close(f *flow) {
	if len(f.packets) == 1 {
		p := f.packets[0]
		c.out.Offload, _ = Partial(p, &f.h)
		c.emitAs(append(c.out.Pieces[:0], p), f.packets, 1, len(p))
	} else {
		c.out.Offload = f.seal()
		pieces := append(c.out.Pieces[:0], f.head[:f.hdr])
		for _, p := range f.packets {
			pieces = append(pieces, p[f.hdr:])
		}
		c.emitAs(pieces, f.packets, len(f.packets), f.hdr+f.total)
	}
	f.packets = f.packets[:0]
}

func (c *Coalescer) emitAs(pieces, packets [][]byte, count, bytes int) {
	c.out.Pieces, c.out.Packets, c.out.Count, c.out.Bytes = pieces, packets, count, bytes
	c.emit(&c.out)
}
