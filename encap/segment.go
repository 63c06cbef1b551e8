package encap

import "encoding/binary"

// A Segment is the payload of one datagram in two pieces. Head may be empty.
// Both are borrowed: they stay valid until the packet's buffer is read into
// again and the Cutter is reset.
type Segment struct {
	Head, Body []byte
}

// Len is the number of bytes of the datagram.
func (s *Segment) Len() int { return len(s.Head) + len(s.Body) }

// A Cutter makes segments. Its arena holds the header blocks of one batch;
// Reset makes it empty again. One worker owns it.
type Cutter struct {
	arena []byte
	used  int
}

// maxHead is the longest header block: an encapsulation of up to 64 bytes, an
// IPv4 header of 60 or IPv6 of 40 and extensions we do not cut behind, and a
// TCP header of 60.
const maxHead = 64 + 60 + 60

// MaxSegments bounds the segments of one superpacket: 64 KB of one-byte
// datagrams would be more, but no kernel builds such a thing.
const MaxSegments = 2048

// NewCutter returns a Cutter whose arena holds size bytes of header blocks.
// 64 KiB is enough for some 800 segments; it grows when a batch needs more.
func NewCutter(size int) *Cutter { return &Cutter{arena: make([]byte, size)} }

// Reset forgets all header blocks. Segments made before are then invalid.
func (c *Cutter) Reset() { c.used = 0 }

// block lends n bytes of the arena. When the arena is full a larger one
// replaces it; segments that point into the old one keep it alive.
func (c *Cutter) block(n int) []byte {
	if c.used+n > len(c.arena) {
		c.arena = make([]byte, 2*len(c.arena)+n)
		c.used = 0
	}
	b := c.arena[c.used : c.used+n : c.used+n]
	c.used += n
	return b
}

// Cut appends to dst the segments that packet p stands for, each with prefix
// in front. p, its header h and its Offload o come from the kernel; p is
// changed (checksums are finished in place). A contradiction between them is
// BadOffload and appends nothing.
func (c *Cutter) Cut(dst []Segment, p []byte, h *Header, o *Offload, prefix []byte) ([]Segment, Drop) {
	p = p[:h.Len]
	if o.Super() {
		s, drop := newSuper(p, h, o)
		if drop != Delivered {
			return dst, drop
		}
		if len(p)-s.hdr > s.size {
			return c.cut(dst, p, &s, prefix)
		}
	}
	if o.Flags&NeedsCsum != 0 && (int(o.CsumStart) < h.L4 || !Finish(p, o)) { // deeper than L4: a tunnel of the pod's own
		return dst, BadOffload
	}
	if len(prefix) == 0 {
		return append(dst, Segment{Body: p}), Delivered
	}
	head := c.block(len(prefix))
	copy(head, prefix)
	return append(dst, Segment{Head: head, Body: p}), Delivered
}

// Finish completes the checksum of the single packet p in place, as o asks. It
// reports false when o points outside p.
func Finish(p []byte, o *Offload) bool {
	start, field := int(o.CsumStart), int(o.CsumStart)+int(o.CsumOffset)
	if start > len(p) || field+2 > len(p) {
		return false
	}
	// The field holds the pseudo header's sum, so it is summed with the rest.
	sum := ^Fold(Sum(p[start:], 0))
	if sum == 0 && o.CsumOffset == udpCsumAt {
		sum = 0xffff // to UDP, 0 would mean: no checksum
	}
	putSum(p[field:], sum)
	return true
}

// PacketSize returns the number of bytes of the longest packet that p stands
// for.
func PacketSize(p []byte, h *Header, o *Offload) int {
	if !o.Super() {
		return h.Len
	}
	s, drop := newSuper(p[:h.Len], h, o)
	if drop != Delivered {
		return h.Len
	}
	return min(h.Len, s.hdr+s.size)
}

// super is what cutting a superpacket needs to know.
type super struct {
	version uint8
	proto   uint8
	l4      int    // offset of the transport header
	hdr     int    // bytes of all headers
	size    int    // payload bytes of each segment but the last
	sum     uint64 // of the pseudo header without the length
}

func newSuper(p []byte, h *Header, o *Offload) (super, Drop) {
	s := super{version: h.Version, proto: h.Proto, l4: h.L4, size: int(o.GSOSize)}
	if h.Frag || s.size == 0 {
		return s, BadOffload
	}
	switch o.GSO &^ GSOECN {
	case GSOTCP4, GSOTCP6:
		if h.Proto != protoTCP || h.L4+20 > len(p) || (o.GSO&^GSOECN == GSOTCP4) != (h.Version == 4) {
			return s, BadOffload
		}
		thl := int(p[h.L4+12]>>4) * 4
		if thl < 20 {
			return s, BadOffload
		}
		s.hdr = h.L4 + thl
	case GSOUDP:
		if h.Proto != protoUDP || o.GSO != GSOUDP {
			return s, BadOffload
		}
		s.hdr = h.L4 + 8
	default:
		return s, BadOffload
	}
	if s.hdr > len(p) || s.hdr > maxHead-64 || len(p)-s.hdr > MaxSegments*s.size {
		return s, BadOffload
	}
	s.sum = pseudo(p, h.Version, h.Proto)
	return s, Delivered
}

// Flags of the TCP header that segmentation touches.
const (
	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpECE = 0x40
	tcpCWR = 0x80
)

// cut makes one segment after the other: the headers of p are copied, lengths,
// IPv4 ID, TCP sequence and flags are set, and the checksums are computed over
// the new header and the payload where it lies.
func (c *Cutter) cut(dst []Segment, p []byte, s *super, prefix []byte) ([]Segment, Drop) {
	payload := p[s.hdr:]
	for i, off := 0, 0; off < len(payload); i, off = i+1, off+s.size {
		end := min(off+s.size, len(payload))
		block := c.block(len(prefix) + s.hdr)
		copy(block, prefix)
		head := block[len(prefix):]
		copy(head, p)
		l4len := s.hdr - s.l4 + end - off
		if s.version == 4 {
			binary.BigEndian.PutUint16(head[2:], uint16(s.l4+l4len))
			binary.BigEndian.PutUint16(head[4:], binary.BigEndian.Uint16(p[4:])+uint16(i))
			setIPv4Sum(head[:s.l4])
		} else {
			binary.BigEndian.PutUint16(head[4:], uint16(s.l4-40+l4len))
		}
		t := head[s.l4:]
		sum := s.sum + uint64(sum16(uint16(l4len)))
		if s.proto == protoTCP {
			setTCP(t, off, off == 0, end == len(payload))
			sum = Sum(payload[off:end], Sum(t, sum))
			putSum(t[tcpCsumAt:], ^Fold(sum))
		} else {
			binary.BigEndian.PutUint16(t[4:], uint16(l4len))
			putSum(t[udpCsumAt:], 0)
			sum = Sum(payload[off:end], Sum(t, sum))
			putSum(t[udpCsumAt:], nonzero(^Fold(sum)))
		}
		dst = append(dst, Segment{Head: block, Body: payload[off:end]})
	}
	return dst, Delivered
}

// setTCP turns the superpacket's TCP header into that of the segment whose
// payload begins off bytes further on. FIN and PSH belong to the last segment,
// CWR to the first (RFC 3168 6.1.2). The checksum field is left zero.
func setTCP(t []byte, off int, first, last bool) {
	binary.BigEndian.PutUint32(t[4:], binary.BigEndian.Uint32(t[4:])+uint32(off))
	if !last {
		t[13] &^= tcpFIN | tcpPSH
	}
	if !first {
		t[13] &^= tcpCWR
	}
	putSum(t[tcpCsumAt:], 0)
}

// nonzero replaces the checksum 0, which UDP reads as none, by its equal.
func nonzero(sum uint16) uint16 {
	if sum == 0 {
		return 0xffff
	}
	return sum
}
