package encap

import "encoding/binary"

// A kernel VXLAN peer leaves the cutting of superpackets to its network card. A
// veth, and a tap or virtio link that agreed to it, is a card that never cuts:
// then one datagram arrives whose inner packet is a superpacket of up to 64 KB,
// its checksum field holding the pseudo header's sum.
//
//	datagram  │ VXLAN │ Ethernet │ IP, total length 64 KB │ TCP │ payload … │
//
// The kernel tells how long the packets are that it stands for only with UDP,
// and by a detour ([Whole]). With TCP the packets are made as long as our
// device allows: receivers use their length for nothing but accounting.

// Whole tells whether data, which the kernel's UDP_GRO control message calls
// a run of datagrams with size bytes each, is in truth one datagram with an
// inner UDP superpacket: the kernel gives the segment size of whatever
// superpacket it has, and this one's is inside the tunnel (udp_cmsg_recv in
// net/ipv4/udp.c asks for SKB_GSO_UDP_L4 and nothing else). The two cannot be
// confused: in a run, the first inner packet ends within the first datagram.
//
// Such a message is opened as one, and its packet belongs to
// [Coalescer.AddSuper], with the same size.
func Whole(e Encapsulator, data []byte, size int) bool {
	if len(data) <= size {
		return false
	}
	p, drop := e.Open(data)
	if drop != Delivered {
		return false
	}
	h, drop := Parse(p)
	return drop == Delivered && len(data)-len(p)+h.Len > size
}

// AddSuper takes a superpacket p, whose header is h, that stands for UDP
// datagrams with size bytes of payload each, the last with the rest. What is
// none of the kernel's making is IPLenMismatch, which is what it would have
// been as the run that the kernel said it was.
func (c *Coalescer) AddSuper(p []byte, h *Header, size int) Drop {
	p = p[:h.Len]
	hdr := h.L4 + 8
	if h.Proto != protoUDP || h.Frag || hdr > maxSuperHead || size <= 0 || h.Len-hdr <= size || h.Len-hdr > size*MaxSegments ||
		int(binary.BigEndian.Uint16(p[h.L4+4:])) != h.Len-h.L4 || !unfinished(p, h) || !ipSound(p, h) {
		return IPLenMismatch
	}
	c.yield(p, h)
	o := Offload{Flags: NeedsCsum, GSO: GSOUDP, HdrLen: uint16(hdr), GSOSize: uint16(size),
		CsumStart: uint16(h.L4), CsumOffset: udpCsumAt}
	return c.super(p, h, &o, c.UDP && h.Len-hdr <= size*maxUDPPackets)
}

// long deals with a packet that is longer than the device allows.
func (c *Coalescer) long(p []byte, h *Header) Drop {
	if h.Frag || !unfinished(p, h) {
		// A peer with a longer MTU made it, checksum and all. If it has to go
		// further than this host, the kernel answers that it is too big.
		c.yield(p, h)
		c.single(p, h)
		return Delivered
	}
	if h.Proto == protoUDP {
		// A kernel that knows UDP_GRO (5.0) tells the size or, without the
		// option, cuts. Older ones have peers whose UDP superpackets come
		// whole and without a word.
		return SegmentUnknown
	}
	hdr := tcpHeaders(p, h)
	if hdr == 0 || hdr >= c.MTU || !ipSound(p, h) {
		c.yield(p, h)
		c.single(p, h) // the kernel shall find the fault
		return Delivered
	}
	c.yield(p, h)
	o := Offload{Flags: NeedsCsum, GSO: GSOTCP4, HdrLen: uint16(hdr), GSOSize: uint16(c.MTU - hdr),
		CsumStart: uint16(h.L4), CsumOffset: tcpCsumAt}
	if h.Version == 6 {
		o.GSO = GSOTCP6
	}
	if p[h.L4+13]&tcpCWR != 0 {
		o.GSO |= GSOECN
	}
	return c.super(p, h, &o, c.TCP)
}

// maxSuperHead is the longest header, in bytes, of a superpacket from a peer.
const maxSuperHead = maxHead - 64

// tcpHeaders returns the bytes of p's headers, 0 if they are longer than p or
// than any superpacket's.
func tcpHeaders(p []byte, h *Header) int {
	if h.Len < h.L4+20 {
		return 0
	}
	hdr := h.L4 + int(p[h.L4+12]>>4)*4
	if hdr < h.L4+20 || hdr >= h.Len || hdr > maxSuperHead {
		return 0
	}
	return hdr
}

// super emits the superpacket p that o describes: as one, if the device takes
// it, else cut.
func (c *Coalescer) super(p []byte, h *Header, o *Offload, whole bool) Drop {
	hdr, size := int(o.HdrLen), int(o.GSOSize)
	if !whole {
		return c.chop(p, h, o)
	}
	head := c.head[:copy(c.head[:hdr], p)]
	sum := pseudo(p, h.Version, h.Proto) + uint64(sum16(uint16(h.Len-h.L4)))
	putSum(head[h.L4+int(o.CsumOffset):], Fold(sum))
	c.out.Offload, c.one[0] = *o, p
	c.emitAs(append(c.out.Pieces[:0], head, p[hdr:]), c.one[:], (h.Len-hdr+size-1)/size, h.Len)
	return Delivered
}

// chop emits the packets that p stands for, one by one and finished.
func (c *Coalescer) chop(p []byte, h *Header, o *Offload) Drop {
	if c.cutter == nil {
		c.cutter = NewCutter(64 << 10)
	}
	c.cutter.Reset()
	segs, drop := c.cutter.Cut(c.segs[:0], p, h, o, nil)
	c.segs = segs
	for i := range segs {
		c.out.Offload = Offload{}
		c.emitAs(append(c.out.Pieces[:0], segs[i].Head, segs[i].Body), nil, 1, segs[i].Len())
	}
	return drop
}

// Singly emits again, one by one, the packets of a superpacket that the device
// refused. Anything but Delivered says why none of them was. It is for use
// within emit, whose argument s is; s is not valid after it.
func (c *Coalescer) Singly(s *Super) Drop {
	if s.Count == 1 {
		return BadOffload // no superpacket
	}
	packets, o := s.Packets, s.Offload
	if len(packets) < s.Count {
		h, drop := Parse(packets[0]) // as it was when it came
		if drop == Delivered {
			drop = c.chop(packets[0], &h, &o)
		}
		return drop
	}
	for _, p := range packets {
		if h, drop := Parse(p); drop == Delivered { // it has parsed before
			c.single(p, &h)
		}
	}
	return Delivered
}
