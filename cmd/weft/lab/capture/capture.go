// Package capture watches the first datagrams of a tunnel on a link and
// explains them, outer and inner headers side by side.
//
// # Theory of operation
//
// A packet socket bound to the link, with a classic BPF program that passes
// UDP of one port, sees frames as the driver does. On a veth that may be a
// superpacket: one frame of up to 64 KB that the kernel would cut into
// datagrams for a real wire. PACKET_VNET_HDR puts a virtio-net header in front
// of each frame that says so, and how long the pieces are:
//
//	| virtio-net header 10 | Ethernet 14 | outer IP | UDP | inner IP packet … |
//	  gso_type, gso_size                                  └─ gso_size bytes ─┘ again and again
//
// On a TUN device there is no Ethernet header, and the superpackets are TCP's or
// UDP's own; [OpenTUN] shows what goes in and out there. With WireGuard that is
// where packets can be seen: on the wire they are sealed.
//
// It is a tool for a person at a terminal, who watches traffic of a lab;
// decoding is gopacket's. No daemon imports it.
package capture

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	vnetHdrLen   = 10
	packetVnet   = 15 // PACKET_VNET_HDR, include/uapi/linux/if_packet.h
	gsoTCPv4     = 1  // VIRTIO_NET_HDR_GSO_TCPV4, include/uapi/linux/virtio_net.h
	gsoTCPv6     = 4
	gsoUDPL4     = 5
	gsoECN       = 0x80
	maxFrame     = vnetHdrLen + 14 + 65535
	receiveSpace = 4 << 20 // bytes of socket buffer, for frames that come while one is copied
)

// A Frame is one frame as it was seen on the link.
type Frame struct {
	Time    time.Time
	Data    []byte // from the Ethernet header on; on a TUN device from the IP header on
	Segment int    // payload bytes of each datagram, or TCP segment, of a superpacket; 0: it is none
}

// A Socket receives frames. The zero value is not usable.
type Socket struct {
	file *os.File
	raw  interface {
		Read(func(fd uintptr) bool) error
	}
	vnet bool
}

// Open opens a packet socket on link, in the network namespace of the calling
// thread, for UDP datagrams from or to port. It needs CAP_NET_RAW.
func Open(link string, port uint16) (*Socket, error) { return open(link, filter(port)) }

// OpenTUN is Open for all IPv4 packets on a TUN device.
func OpenTUN(link string) (*Socket, error) { return open(link, anyIPv4()) }

func open(link string, prog []bpf.Instruction) (*Socket, error) {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", link, err)
	}
	// Protocol 0: nothing is received before the filter is in place.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", link, err)
	}
	vnet, err := configure(fd, ifi.Index, prog)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("capture on %s: %w", link, err)
	}
	s := &Socket{file: os.NewFile(uintptr(fd), "capture "+link), vnet: vnet}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	return s, nil
}

func configure(fd, ifindex int, prog []bpf.Instruction) (vnet bool, err error) {
	if err := attach(fd, prog); err != nil {
		return false, fmt.Errorf("attach filter: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return false, fmt.Errorf("ask for time stamps: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveSpace); err != nil {
		return false, fmt.Errorf("set receive buffer: %w", err)
	}
	// An old kernel without it shows a superpacket's length, if not its pieces.
	vnet = unix.SetsockoptInt(fd, unix.SOL_PACKET, packetVnet, 1) == nil
	return vnet, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swap(unix.ETH_P_ALL), Ifindex: ifindex})
}

// Close ends the capture; a blocked Next returns os.ErrClosed.
func (s *Socket) Close() error { return s.file.Close() }

// Next waits for the next frame.
func (s *Socket) Next() (Frame, error) {
	buf, oob := make([]byte, maxFrame), make([]byte, 64)
	var n, oobn int
	var err error
	readErr := s.raw.Read(func(fd uintptr) bool {
		n, oobn, _, _, err = unix.Recvmsg(int(fd), buf, oob, 0)
		return err != unix.EAGAIN
	})
	if readErr != nil { // the poller's own error for this is not exported
		return Frame{}, fmt.Errorf("capture: %w", os.ErrClosed)
	}
	if err != nil {
		return Frame{}, fmt.Errorf("capture: %w", err)
	}
	f := Frame{Time: timeOf(oob[:oobn]), Data: buf[:n:n]}
	if s.vnet {
		if n < vnetHdrLen {
			return f, fmt.Errorf("frame of %d bytes has no virtio-net header", n)
		}
		f.Segment = segmentOf(buf[:vnetHdrLen])
		f.Data = f.Data[vnetHdrLen:]
	}
	return f, nil
}

// segmentOf reads gso_type and gso_size of a virtio-net header, which are in
// the machine's byte order here.
func segmentOf(hdr []byte) int {
	switch hdr[1] &^ gsoECN {
	case gsoTCPv4, gsoTCPv6, gsoUDPL4:
		return int(binary.NativeEndian.Uint16(hdr[4:]))
	}
	return 0
}

// timeOf finds the kernel's time stamp; the present when there is none.
func timeOf(oob []byte) time.Time {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Now()
	}
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS {
			switch len(m.Data) {
			case 16: // struct timespec with 64-bit fields
				return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
			case 8: // struct timespec with 32-bit fields
				return time.Unix(int64(int32(binary.NativeEndian.Uint32(m.Data))), int64(binary.NativeEndian.Uint32(m.Data[4:])))
			}
		}
	}
	return time.Now()
}

func attach(fd int, prog []bpf.Instruction) error {
	code, err := bpf.Assemble(prog)
	if err != nil {
		return err
	}
	raw := make([]unix.SockFilter, len(code))
	for i, in := range code {
		raw[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(raw)), Filter: &raw[0]})
}

// filter passes Ethernet frames with UDP over IPv4 (not a later fragment) or
// IPv6 (no extension headers) whose source or destination port is port. The
// numbers in front are the instructions' own, the targets of the jumps.
func filter(port uint16) []bpf.Instruction {
	const etherType, proto4, frag4, next6 = 12, 14 + 9, 14 + 6, 14 + 6
	p := uint32(port)
	to := func(at, target uint8) uint8 { return target - at - 1 }
	return []bpf.Instruction{
		/*  0 */ bpf.LoadAbsolute{Off: etherType, Size: 2},
		/*  1 */ bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IPV6, SkipTrue: to(1, 12)},
		/*  2 */ bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IP, SkipTrue: to(2, 18)},
		/*  3 */ bpf.LoadAbsolute{Off: proto4, Size: 1},
		/*  4 */ bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: to(4, 18)},
		/*  5 */ bpf.LoadAbsolute{Off: frag4, Size: 2},
		/*  6 */ bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: to(6, 18)},
		/*  7 */ bpf.LoadMemShift{Off: 14}, // X = length of the IPv4 header
		/*  8 */ bpf.LoadIndirect{Off: 14, Size: 2},
		/*  9 */ bpf.JumpIf{Cond: bpf.JumpEqual, Val: p, SkipTrue: to(9, 19)},
		/* 10 */ bpf.LoadIndirect{Off: 16, Size: 2},
		/* 11 */ bpf.Jump{Skip: uint32(to(11, 17))},
		/* 12 */ bpf.LoadAbsolute{Off: next6, Size: 1},
		/* 13 */ bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: to(13, 18)},
		/* 14 */ bpf.LoadAbsolute{Off: 54, Size: 2},
		/* 15 */ bpf.JumpIf{Cond: bpf.JumpEqual, Val: p, SkipTrue: to(15, 19)},
		/* 16 */ bpf.LoadAbsolute{Off: 56, Size: 2},
		/* 17 */ bpf.JumpIf{Cond: bpf.JumpEqual, Val: p, SkipTrue: to(17, 19)},
		/* 18 */ bpf.RetConstant{Val: 0},
		/* 19 */ bpf.RetConstant{Val: 1 << 18},
	}
}

// anyIPv4 passes packets that begin with an IPv4 header.
func anyIPv4() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 4, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 18},
		bpf.RetConstant{Val: 0},
	}
}

func swap(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
