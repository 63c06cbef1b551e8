package tunnel

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
)

// sum is the Internet checksum of b (RFC 1071), the slow way.
func sum(acc uint32, b []byte) uint32 {
	for i := 0; i+1 < len(b); i += 2 {
		acc += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		acc += uint32(b[len(b)-1]) << 8
	}
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return acc
}

// udpPacket makes an IP packet with a UDP datagram in it. Its checksum is
// that of the pseudo header only, as NEEDS_CSUM wants it; finish completes it.
func udpPacket(from, to string, payload []byte) []byte {
	src, dst := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	u := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(u, src.Port())
	binary.BigEndian.PutUint16(u[2:], dst.Port())
	binary.BigEndian.PutUint16(u[4:], uint16(8+len(payload)))
	pseudo := sum(sum(17+uint32(8+len(payload)), src.Addr().AsSlice()), dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(u[6:], uint16(pseudo))
	var ip []byte
	if src.Addr().Is4() {
		ip = []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0}
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(u)+len(payload)))
		ip = append(append(ip, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
		binary.BigEndian.PutUint16(ip[10:], ^uint16(sum(0, ip)))
	} else {
		ip = []byte{0x60, 0, 0, 0, 0, 0, 17, 64}
		binary.BigEndian.PutUint16(ip[4:], uint16(len(u)+len(payload)))
		ip = append(append(ip, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
	}
	return append(append(ip, u...), payload...)
}

// l4 is the offset of the transport header; the test's packets have no options.
func l4(p []byte) int {
	if p[0]>>4 == 6 {
		return 40
	}
	return 20
}

// finish completes the checksum of a packet of udpPacket.
func finish(p []byte) []byte {
	at := l4(p)
	c := ^uint16(sum(0, p[at:]))
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(p[at+6:], c)
	return p
}

// partial is the offload of a packet of udpPacket that is not finished.
func partial(p []byte) Offload {
	return Offload{Flags: 1, CsumStart: uint16(l4(p)), CsumOffset: 6}
}

// payloads are the UDP payloads that a packet or superpacket holds.
func payloads(p Packet) [][]byte {
	data := p.Data[l4(p.Data)+8:]
	size := len(data)
	if p.Offload.GSO != 0 {
		size = int(p.Offload.GSOSize)
	}
	return split(Received{Data: data, Size: max(1, size)})
}

// sendTrain sends datagrams to a remote address as one run, or singly where
// the kernel has no UDP_SEGMENT. Routes decide where they go.
func sendTrain(t testing.TB, to string, datagrams [][]byte) {
	t.Helper()
	ap := netip.MustParseAddrPort(to)
	local := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	if ap.Addr().Is6() {
		local = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	p, err := OpenPort(PortOptions{Local: local, Allow: GSO | Mmsg, Stop: stopper(t)})
	must(t, err)
	send(t, p, runs(NewAddr(ap), datagrams, p.MaxRun()))
	must(t, p.Close())
}

// listen opens a UDP socket of the test's namespace.
func listen(t testing.TB, addr string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}
