package encap

// Offload says what remains to be done to a packet: the fields of struct
// virtio_net_hdr (include/uapi/linux/virtio_net.h), in the machine's byte
// order. The zero value means a finished single packet.
type Offload struct {
	Flags      uint8
	GSO        uint8
	HdrLen     uint16 // bytes of header; a hint, not to be trusted on read
	GSOSize    uint16 // payload bytes of each packet the superpacket stands for
	CsumStart  uint16 // offset of the transport header
	CsumOffset uint16 // offset of the checksum field in the transport header
}

// Flags and GSO types of virtio_net_hdr.
const (
	NeedsCsum uint8 = 1 // the checksum field holds the pseudo header's sum only

	GSONone uint8 = 0
	GSOTCP4 uint8 = 1
	GSOTCP6 uint8 = 4
	GSOUDP  uint8 = 5    // UDP_L4: each packet is a datagram of its own
	GSOECN  uint8 = 0x80 // or-ed to a TCP type: CWR belongs to the first packet only
)

// Offsets of the checksum field in the transport headers.
const (
	tcpCsumAt  = 16
	udpCsumAt  = 6
	icmpCsumAt = 2
)

// Super tells whether o describes a superpacket.
func (o *Offload) Super() bool { return o.GSO&^GSOECN != GSONone }

// csumAt returns the offset of the checksum field for a protocol that has
// one in its pseudo-headed form.
func csumAt(proto uint8) (int, bool) {
	switch proto {
	case protoTCP:
		return tcpCsumAt, true
	case protoUDP:
		return udpCsumAt, true
	}
	return 0, false
}

// Partial recognises a packet whose TCP or UDP checksum field holds nothing
// but the pseudo header's sum, because its sender left the rest to a network
// card that was never reached: a kernel VXLAN peer on a veth sends such
// packets. It returns the Offload that asks our kernel to regard the checksum
// as unfinished. Should a finished checksum happen to equal the pseudo header's
// sum, both readings are right: finishing it gives the same value again.
func Partial(p []byte, h *Header) (Offload, bool) {
	at, ok := csumAt(h.Proto)
	if !ok || h.Frag || h.L4+at+2 > h.Len {
		return Offload{}, false
	}
	field := getSum(p[h.L4+at:])
	if field == 0 && h.Proto == protoUDP {
		return Offload{}, false // UDP without a checksum
	}
	if field != Fold(pseudo(p, h.Version, h.Proto)+uint64(sum16(uint16(h.Len-h.L4)))) {
		return Offload{}, false
	}
	return Offload{Flags: NeedsCsum, CsumStart: uint16(h.L4), CsumOffset: uint16(at)}, true
}

// unfinished is Partial for a packet that is longer than any single one: it may
// be a superpacket, and for these some drivers want the pseudo header's sum
// without the length, which each packet has a different one of. The kernels
// looked at so far fill in the superpacket's own length.
func unfinished(p []byte, h *Header) bool {
	at, ok := csumAt(h.Proto)
	if !ok || h.L4+at+2 > h.Len {
		return false
	}
	field, sum := getSum(p[h.L4+at:]), pseudo(p, h.Version, h.Proto)
	if field == 0 && h.Proto == protoUDP {
		return false
	}
	return field == Fold(sum+uint64(sum16(uint16(h.Len-h.L4)))) || field == Fold(sum)
}
