package doctor

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	arpProbes = 3
	arpWait   = 200 * time.Millisecond // after each probe
)

// Claimed sends ARP probes (RFC 5227, 2.1.1), which change nobody's table, and
// waits for an answer. It needs CAP_NET_RAW.
func (Host) Claimed(ctx context.Context, link string, a netip.Addr) (mac string, err error) {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return "", err
	}
	if len(ifi.HardwareAddr) != 6 {
		return "", fmt.Errorf("%s is not Ethernet", link)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return "", os.NewSyscallError("socket AF_PACKET", err)
	}
	defer unix.Close(fd)
	here := &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ARP), Ifindex: ifi.Index}
	if err := unix.Bind(fd, here); err != nil {
		return "", os.NewSyscallError("bind AF_PACKET", err)
	}
	all := &unix.SockaddrLinklayer{Protocol: here.Protocol, Ifindex: ifi.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	for range arpProbes {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if err := unix.Sendto(fd, arpProbe(ifi.HardwareAddr, a), 0, all); err != nil {
			return "", os.NewSyscallError("sendto AF_PACKET", err)
		}
		if mac, err := arpAnswer(fd, ifi.HardwareAddr, a); mac != "" || err != nil {
			return mac, err
		}
	}
	return "", nil
}

// arpAnswer waits for somebody else than own to say that he has a.
func arpAnswer(fd int, own net.HardwareAddr, a netip.Addr) (mac string, err error) {
	buf := make([]byte, 128)
	for until := time.Now().Add(arpWait); ; {
		left := time.Until(until)
		if left <= 0 {
			return "", nil
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && err != unix.EINTR {
			return "", os.NewSyscallError("poll", err)
		}
		if n <= 0 {
			continue
		}
		if n, _, err = unix.Recvfrom(fd, buf, 0); err != nil {
			continue // nothing after all
		}
		if holder, ok := arpHolder(buf[:n], a); ok && holder.String() != own.String() {
			return holder.String(), nil
		}
	}
}

// arpProbe asks for the holder of a without claiming to have an address
// (RFC 826):
//
//	hardware 2 │ protocol 2 │ 6 │ 4 │ operation 2 │ sender MAC 6, IP 4 │ target MAC 6, IP 4
func arpProbe(mac net.HardwareAddr, a netip.Addr) []byte {
	b := []byte{0, 1, 0x08, 0x00, 6, 4, 0, 1}
	b = append(b, mac...)
	b = append(b, make([]byte, 4+6)...)
	return append(b, a.AsSlice()...)
}

// arpHolder reads who says in an ARP message that he has a.
func arpHolder(b []byte, a netip.Addr) (net.HardwareAddr, bool) {
	if len(b) < 28 || [6]byte(b[:6]) != [6]byte{0, 1, 0x08, 0x00, 6, 4} {
		return nil, false
	}
	return net.HardwareAddr(b[8:14]), netip.AddrFrom4([4]byte(b[14:18])) == a
}

// networkOrder returns the number whose bytes in memory are n's in network
// order, as packet(7) wants them.
func networkOrder(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}
