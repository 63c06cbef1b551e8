package tunnel

import (
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Runs of datagrams: the kernel takes 64 in one message, since Linux 6.9 128
// (UDP_MAX_SEGMENTS, include/linux/udp.h).
const (
	runBefore69 = 64
	runSince69  = 128
)

// probe finds out, by trying, which features the socket has.
func (p *Port) probe(o PortOptions) {
	allow, f := o.Allow, Feature(0)
	if allow.Has(GRO) && unix.SetsockoptInt(p.fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil {
		f |= GRO
	}
	if allow.Has(GSO) {
		if p.caps.maxRun = probeRun(); p.caps.maxRun > 1 {
			f |= GSO
		}
	}
	if allow.Has(Mmsg) && haveMmsg(p.fd) {
		f |= Mmsg
	}
	if o.Stamp { // a kernel that cannot tell leaves Received.At zero
		_ = unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}
	if allow.Has(ECN) && (!o.ECN || askECN(p.fd, o.Local.Addr())) {
		f |= ECN
	}
	p.caps.features.Store(uint32(f))
}

// askECN has the kernel tell the TOS or traffic class of what arrives at
// local. Whether it takes the same beside what is sent, a refusal will show
// while running.
func askECN(fd int, local netip.Addr) bool {
	if local.Is4() {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1) == nil
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1) == nil
}

// haveMmsg makes both system calls with an empty vector. A sandbox may refuse
// either with an error of its own choice.
func haveMmsg(fd int) bool {
	_, _, send := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), 0, 0, 0, 0, 0)
	_, _, recv := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return send == 0 && recv == 0
}

// probeRun sends runs to itself over the loopback interface and returns how
// many datagrams a run may hold, or 1 when the kernel has no UDP_SEGMENT or
// mangles what it is given. Where the loopback interface is down nothing can
// be proven; then the option's existence must do, and a refusal will show
// while running.
func probeRun() int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 1
	}
	defer unix.Close(fd)
	if unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, probeSize) != nil {
		return 1
	}
	sa := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if unix.Bind(fd, sa) != nil {
		return runBefore69
	}
	self, err := unix.Getsockname(fd)
	if err != nil {
		return runBefore69
	}
	switch ok, err := tryRun(fd, self, 3); {
	case err == unix.ENETUNREACH || err == unix.EADDRNOTAVAIL:
		return runBefore69
	case err != nil || !ok:
		return 1
	}
	if ok, err := tryRun(fd, self, runSince69); ok && err == nil {
		return runSince69
	}
	return runBefore69
}

const probeSize = 32

// tryRun sends n numbered datagrams as one message and checks that n of the
// right length and number come back.
func tryRun(fd int, self unix.Sockaddr, n int) (bool, error) {
	out := make([]byte, n*probeSize)
	for i := range n {
		out[i*probeSize] = byte(i)
	}
	if err := unix.Sendto(fd, out, 0, self); err != nil {
		return false, err
	}
	in := make([]byte, 2*probeSize)
	for i := range n {
		m, _, err := unix.Recvfrom(fd, in, 0) // loopback delivers before sendto returns
		if err != nil || m != probeSize || in[0] != byte(i) {
			return false, err
		}
	}
	return true, nil
}

// Probe finds out, by writing two superpackets, whether the device takes what
// it has agreed to; some kernels refuse (6.6.44 and 6.10.3 rejected valid TCP
// superpackets). The link must be up. The packets have a wrong IPv4 header
// checksum, so that the kernel drops them on arrival whatever they contain.
func (t *TUN) Probe() error {
	g := NewGather()
	for _, o := range []struct {
		need Feature
		off  Offload
		l4   int
	}{
		{TSO, Offload{Flags: 1, GSO: gsoTCP4, HdrLen: 40, GSOSize: 32, CsumStart: 20, CsumOffset: 16}, 20},
		{USO, Offload{Flags: 1, GSO: gsoUDP, HdrLen: 28, GSOSize: 32, CsumStart: 20, CsumOffset: 6}, 8},
	} {
		if !t.Features().Has(o.need) {
			continue
		}
		p := probePacket(o.l4, 64)
		err := t.Write(g, o.off, [][]byte{p})
		if _, refused := err.(*RefusedError); err != nil && !refused {
			return os.NewSyscallError("probe write", err)
		}
	}
	return nil
}

func probePacket(l4, payload int) []byte {
	p := make([]byte, 20+l4+payload)
	copy(p, []byte{0x45, 0, 0, byte(len(p)), 0, 0, 0x40, 0, 1, 17, 0xde, 0xad, 127, 0, 0, 1, 127, 0, 0, 1})
	if l4 == 20 {
		p[9] = 6
		p[32] = 0x50
		return p
	}
	p[25] = byte(l4 + payload)
	return p
}

// memDrops reads SK_MEMINFO_DROPS (include/uapi/linux/sock_diag.h), the last
// of nine 32-bit numbers.
func memDrops(fd int) (uint32, error) {
	const skMeminfoDrops = 8
	var info [skMeminfoDrops + 1]uint32
	n := uint32(unsafe.Sizeof(info))
	_, _, e := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&n)), 0)
	if e != 0 {
		return 0, os.NewSyscallError("getsockopt SO_MEMINFO", e)
	}
	return info[skMeminfoDrops], nil
}
