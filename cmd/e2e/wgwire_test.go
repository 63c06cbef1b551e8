package e2e

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
)

// A datagram is one as it was on the wire.
type datagram struct {
	from, to netip.AddrPort
	data     []byte
}

// kind is the type of the WireGuard message in d, 0 if it is too short for any.
func (d datagram) kind() uint32 {
	if len(d.data) < 32 {
		return 0
	}
	return binary.LittleEndian.Uint32(d.data)
}

// datagram waits for the next UDP datagram that comes from a node.
func (w wiretap) datagram(t *testing.T, n *lab.Node) datagram {
	t.Helper()
	ctx, b := within(t), make([]byte, 1<<16)
	for {
		must(t, w.s.wait(ctx, unix.POLLIN))
		k, _, err := unix.Recvfrom(w.s.fd, b, 0)
		must(t, err)
		if d, ok := parseUDP(b[:k]); ok && (d.from.Addr() == n.Underlay || d.from.Addr() == n.Underlay6) {
			return d
		}
	}
}

// parseUDP reads an IP packet without options that holds a UDP datagram.
func parseUDP(p []byte) (d datagram, ok bool) {
	var src, dst netip.Addr
	var proto byte
	l4 := 20
	switch {
	case len(p) >= 28 && p[0] == 0x45:
		src, dst, proto = netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20])), p[9]
	case len(p) >= 48 && p[0]>>4 == 6:
		src, dst, proto, l4 = netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40])), p[6], 40
	}
	if proto != unix.IPPROTO_UDP {
		return d, false
	}
	port := func(at int) uint16 { return binary.BigEndian.Uint16(p[l4+at:]) }
	end := l4 + int(port(4)) // a short frame is padded
	if end < l4+8 || end > len(p) {
		return d, false
	}
	return datagram{netip.AddrPortFrom(src, port(0)), netip.AddrPortFrom(dst, port(2)), slices.Clone(p[l4+8 : end])}, true
}
