package trace

import (
	"encoding/binary"
	"net/netip"

	"weft/encap"
)

// AppendOuter appends the IP and UDP headers that stand in front of a datagram
// of n bytes between two nodes. The kernel makes these headers, or takes them
// off, so they are rebuilt from what it tells: the TTL is 64, the IPv4 ID 0, the
// DF bit as the port sets it on the way out and not known on the way in, and the
// UDP checksum 0, which says that there is none. A superpacket that is longer than
// any packet has the IP length 0, as the kernel's have in captures, and the
// longest UDP length. An address that is not known is all zero.
func AppendOuter(b []byte, dir Dir, local, remote netip.AddrPort, ecn uint8, n int) []byte {
	from, to := local, remote
	if dir == In {
		from, to = remote, local
	}
	six := remote.Addr().Is6() && !remote.Addr().Is4In6()
	fits := func(n int) uint16 {
		if n > 0xffff {
			return 0
		}
		return uint16(n)
	}
	be := binary.BigEndian
	at := len(b)
	if six {
		b = append(b, 0x60, ecn<<4, 0, 0)
		b = be.AppendUint16(b, fits(8+n))
		b = append(b, 17, 64)
		b = append16(append16(b, from.Addr()), to.Addr())
	} else {
		b = append(b, 0x45, ecn)
		b = be.AppendUint16(b, fits(28+n))
		b = append(b, 0, 0, 0, 0, 64, 17, 0, 0)
		b = append4(append4(b, from.Addr()), to.Addr())
		if dir == Out {
			b[at+6] = 0x40
		}
		binary.NativeEndian.PutUint16(b[at+10:], ^encap.Fold(encap.Sum(b[at:at+20], 0)))
	}
	b = be.AppendUint16(be.AppendUint16(b, from.Port()), to.Port())
	return be.AppendUint16(be.AppendUint16(b, uint16(min(8+n, 0xffff))), 0)
}

// append4 appends the 4 bytes of an address, zero if it is of the other family.
func append4(b []byte, a netip.Addr) []byte {
	if a = a.Unmap(); !a.Is4() {
		return append(b, 0, 0, 0, 0)
	}
	x := a.As4()
	return append(b, x[:]...)
}

// append16 appends the 16 bytes of an address, zero if it is of the other family.
func append16(b []byte, a netip.Addr) []byte {
	var x [16]byte
	if a.Is6() {
		x = a.As16()
	}
	return append(b, x[:]...)
}
