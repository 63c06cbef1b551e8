package tunnel

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An Addr is a socket address in the form that the kernel wants it, made once
// for each peer.
type Addr struct {
	raw [unix.SizeofSockaddrInet6]byte
	len uint32
	ap  netip.AddrPort
}

// NewAddr compiles a UDP address. IPv4-mapped IPv6 is treated as IPv4; a zone
// is ignored, since no lease can carry one.
func NewAddr(ap netip.AddrPort) *Addr {
	ap = netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
	a := &Addr{ap: ap}
	binary.BigEndian.PutUint16(a.raw[2:], ap.Port())
	if ap.Addr().Is4() {
		binary.NativeEndian.PutUint16(a.raw[:], unix.AF_INET)
		ip := ap.Addr().As4()
		copy(a.raw[4:], ip[:])
		a.len = unix.SizeofSockaddrInet4
		return a
	}
	binary.NativeEndian.PutUint16(a.raw[:], unix.AF_INET6)
	ip := ap.Addr().As16()
	copy(a.raw[8:], ip[:])
	a.len = unix.SizeofSockaddrInet6
	return a
}

// AddrPort returns the address as it was given.
func (a *Addr) AddrPort() netip.AddrPort { return a.ap }

// name fills in the destination of h.
func (a *Addr) name(h *unix.Msghdr) {
	h.Name = (*byte)(unsafe.Pointer(&a.raw))
	h.Namelen = a.len
}

// parseAddr reads what the kernel wrote about a sender.
func parseAddr(raw *[unix.SizeofSockaddrInet6]byte) netip.AddrPort {
	port := binary.BigEndian.Uint16(raw[2:])
	if binary.NativeEndian.Uint16(raw[:]) == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(raw[4:8])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(raw[8:24])).Unmap(), port)
}
