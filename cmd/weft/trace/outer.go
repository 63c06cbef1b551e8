package trace

import (
	"net/netip"

	engine "weft/engine/trace"
)

// vxlanPort is the port that every Wireshark decodes as VXLAN (RFC 7348).
const vxlanPort = 4789

// outerHeaders is how many bytes the outer IP and UDP headers have.
func outerHeaders(r *engine.Record) int {
	if r.Remote.Addr().Is4() || r.Remote.Addr().Is4In6() {
		return 20 + 8
	}
	return 40 + 8
}

// datagramLen returns the bytes of the datagram's payload. That of a superpacket
// is what it would be if it were one datagram.
func datagramLen(r *engine.Record) int {
	if len(r.Inner()) == 0 {
		return int(r.Len)
	}
	return int(r.Prefix) + int(r.Len)
}

// rebuild appends to b, which is empty, the outer packet of r made anew: the IP and UDP headers that the
// kernel has put in front of the datagram or taken off it, which weft does not
// see, and the captured bytes of the datagram itself.
//
// Addresses, ports, lengths and congestion bits are the real ones, and so is DF
// on the way out. TTL (64), identification (0) and UDP checksum are not known:
// the checksum is 0, none, over IPv4, and over IPv6, which requires one, computed
// where all bytes are there. A packet beyond 65535 bytes, as only superpackets
// are, has the length 0, as the kernel's have in captures.
//
// Wireshark 4.0 takes UDP of other ports than 4789 for data. It asks its
// table of ports for the lower of the two first, then for the other. So unless
// truePorts is set the source port of VXLAN, which carries nothing but entropy
// (RFC 7348 section 5), becomes 4789. The destination port stays.
func rebuild(b []byte, r *engine.Record, truePorts bool) []byte {
	local, remote := r.Local, r.Remote
	if r.Kind == engine.VXLAN && !truePorts {
		disguise(r.Dir, &local, &remote)
	}
	payload := datagramLen(r)
	b = engine.AppendOuter(b, r.Dir, local, remote, r.ECN&3, payload)
	at := len(b) - 8
	b = append(b, r.Snap...)
	if outerHeaders(r) == 48 && len(r.Snap) == payload && payload <= 65527 {
		be.PutUint16(b[at+6:], checksum6(b, at))
	}
	return b
}

// disguise makes the source port one that every Wireshark takes for VXLAN's,
// unless the destination port is.
func disguise(dir engine.Dir, local, remote *netip.AddrPort) {
	src, dst := local, remote
	if dir == engine.In {
		src, dst = dst, src
	}
	if dst.Port() != vxlanPort {
		*src = netip.AddrPortFrom(src.Addr(), vxlanPort)
	}
}

// checksum6 returns the checksum of the UDP datagram at b[at:], whose IPv6
// header is b's first (RFC 8200 section 8.1); 0 is written as its other form.
func checksum6(b []byte, at int) uint16 {
	s := sum(uint32(len(b)-at)+udp, b[8:40])
	if c := ^fold(sum(s, b[at:])); c != 0 {
		return c
	}
	return 0xffff
}

// sum adds b up as 16-bit words; the last odd byte is the high one of its word.
func sum(s uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(be.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

// fold brings the carries back in (RFC 1071).
func fold(s uint32) uint16 {
	s = s>>16 + s&0xffff
	return uint16(s + s>>16)
}
