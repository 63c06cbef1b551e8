package tunnel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// What a UDP socket gets from a kernel VXLAN device at the other end of a veth,
// or of two taps with virtio headers between them.
// A veth counts as a network card that can do anything, so the peer's kernel
// leaves to it what nobody will ever do.

// startTCP makes the peer send a SYN to our pod.
func (k *kernelPeer) startTCP() {
	k.t.Helper()
	k.do(func() error {
		to := sockaddr(netip.AddrPortFrom(netip.MustParseAddr(podOf[k.inner]), 80))
		family := map[int]int{4: unix.AF_INET, 6: unix.AF_INET6}[k.inner]
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		k.t.Cleanup(func() { unix.Close(fd) })
		if err := unix.Connect(fd, to); !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
		return nil
	})
}

// Small UDP packets and TCP SYNs have only the pseudo header's sum, on a wire
// that cuts superpackets as well, as long as it claims to compute checksums;
// then they are complete; so they are from taps before Linux 6.17. They arrive one by one. (encap.Partial.)
func TestKernelAssumptionSmallPacketsArePartial(t *testing.T) {
	for name, tc := range map[string]struct {
		off  []string
		want sumState
	}{
		"veth": {nil, pseudo}, "wire-like": {offloads, pseudo}, "no checksums": {[]string{checksums}, complete},
		"tap": {[]string{tapWire}, pseudo}, "tap, tunnels": {[]string{tapTunnelWire}, pseudo},
	} {
		t.Run(name, func(t *testing.T) {
			onWires(t, tc.off, func(t *testing.T, k *kernelPeer) {
				c := k.dial("udp", 5000)
				for _, n := range []int{1, 5, 700, k.mtu - l4len(k.inner) - 8} {
					_, err := c.Write(pattern(1, n))
					must(t, err)
				}
				k.startTCP()
				for _, f := range k.frames(5) {
					checkIP(t, f.packet)
					checkSum(t, f.packet, k.sums(tc.want))
					if f.message != f.size || f.size != vxlanHeader+len(f.packet) {
						t.Errorf("a packet of %d bytes in a message of %d, size %d", len(f.packet), f.message, f.size)
					}
				}
			})
		})
	}
}

// l4len is the length of an IP header without options.
func l4len(version int) int { return map[int]int{4: 20, 6: 40}[version] }

// A UDP datagram that is longer than the device's MTU comes as fragments of at
// most the MTU, and the checksum in the first is that of the whole datagram.
// (Coalescer: fragments pass verbatim.)
func TestKernelAssumptionFragmentsAreComplete(t *testing.T) {
	onWires(t, nil, func(t *testing.T, k *kernelPeer) {
		want := pattern(3, 4000)
		_, err := k.dial("udp", 5000).Write(want)
		must(t, err)
		whole := make([]byte, 8+len(want))
		var addrs []byte
		for _, f := range k.frames(3) {
			p := f.packet
			checkIP(t, p)
			if len(p) > k.mtu {
				t.Errorf("a fragment of %d bytes, the MTU is %d", len(p), k.mtu)
			}
			at, payload := int(binary.BigEndian.Uint16(p[6:])&0x1fff)*8, p[20:]
			if addrs = p[12:20]; k.inner == 6 {
				if p[6] != 44 {
					t.Fatalf("next header %d, want a fragment", p[6])
				}
				at, payload, addrs = int(binary.BigEndian.Uint16(p[42:])&0xfff8), p[48:], p[8:40]
			}
			copy(whole[at:], payload)
		}
		if !bytes.Equal(whole[8:], want) {
			t.Error("the fragments hold other bytes")
		}
		if sum(sum(17+uint32(len(whole)), addrs), whole) != 0xffff {
			t.Error("the checksum is not that of the datagram")
		}
	})
}

// A UDP superpacket (a pod's own UDP_SEGMENT) crosses the peer's VXLAN device
// and the veth whole. A port with UDP_GRO gets it as one message whose Size is
// not the length of the datagrams outside but the payload of those inside; for
// a port without, the kernel cuts it. On a wire without offloads, and on any
// wire before Linux 5.11, it is cut before it leaves. (encap.Whole, Coalescer.AddSuper.)
func TestKernelAssumptionUDPSuperpacketTellsItsSize(t *testing.T) {
	for name, tc := range map[string]struct {
		off   []string
		whole bool
	}{
		"veth": {nil, true}, "wire-like": {offloads, false},
		"tap": {[]string{tapWire}, false}, "tap, tunnels": {[]string{tapTunnelWire}, true},
	} {
		t.Run(name, func(t *testing.T) {
			onWires(t, tc.off, func(t *testing.T, k *kernelPeer) {
				sendSuper(t, k, 10, 1000, 300)
				if !tc.whole || !k.keepsRuns() || !k.port.Features().Has(GRO) {
					checkParts(t, k, k.sums(pseudo))
					return
				}
				f := k.frames(1)[0]
				if f.size != 1000 || len(f.packet) != l4len(k.inner)+8+10300 || f.message != vxlanHeader+len(f.packet) {
					t.Errorf("a packet of %d bytes in a message of %d, size %d", len(f.packet), f.message, f.size)
				}
				checkIP(t, f.packet)
				checkSum(t, f.packet, pseudo)
				at := l4len(k.inner)
				if n := int(binary.BigEndian.Uint16(f.packet[at+4:])); n != len(f.packet)-at {
					t.Errorf("the UDP header says %d bytes, there are %d", n, len(f.packet)-at)
				}
			})
		})
	}
	t.Run("without UDP_GRO", func(t *testing.T) {
		onWires(t, nil, func(t *testing.T, k *kernelPeer) {
			must(t, unix.SetsockoptInt(k.port.fd, unix.IPPROTO_UDP, unix.UDP_GRO, 0))
			sendSuper(t, k, 10, 1000, 300)
			if k.keepsRuns() {
				checkParts(t, k, complete)
			} else {
				checkParts(t, k, pseudo)
			}
		})
	})
}

// sendSuper makes the peer send n datagrams and a tail as one superpacket.
func sendSuper(t testing.TB, k *kernelPeer, n, size, tail int) {
	t.Helper()
	c := k.dial("udp", 5000)
	raw, err := c.(*net.UDPConn).SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		must(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size))
	}))
	_, err = c.Write(pattern(9, n*size+tail))
	must(t, err)
}

// checkParts expects what sendSuper(10, 1000, 300) sends, cut.
func checkParts(t testing.TB, k *kernelPeer, want sumState) {
	t.Helper()
	var got []byte
	for _, f := range k.frames(11) {
		checkIP(t, f.packet)
		checkSum(t, f.packet, want)
		got = append(got, f.packet[l4len(k.inner)+8:]...)
	}
	if !bytes.Equal(got, pattern(9, 10300)) {
		t.Error("the datagrams hold other bytes")
	}
}

// A datagram without an outer checksum is delivered over IPv4 and thrown away
// over IPv6 (RFC 768, RFC 8200 section 8.1): kernels before 4.6 and some other
// overlays send such. (The engine's trust in what is inside.)
func TestKernelAssumptionZeroOuterChecksum(t *testing.T) {
	const noCheck6TX = 101 // UDP_NO_CHECK6_TX, include/uapi/linux/udp.h
	for outer, option := range map[int][2]int{4: {unix.SOL_SOCKET, unix.SO_NO_CHECK}, 6: {unix.IPPROTO_UDP, noCheck6TX}} {
		t.Run(fmt.Sprintf("IPv%d", outer), func(t *testing.T) {
			k := newKernelPeer(t, outer, 4)
			fd, to := k.rawSocket(), sockaddr(k.port.Local())
			must(t, unix.SetsockoptInt(fd, option[0], option[1], 1))
			must(t, unix.Sendto(fd, []byte("without"), 0, to))
			must(t, unix.SetsockoptInt(fd, option[0], option[1], 0))
			must(t, unix.Sendto(fd, []byte("with"), 0, to))
			want := [][]byte{[]byte("without"), []byte("with")}
			if outer == 6 {
				want = want[1:]
			}
			sameDatagrams(t, receive(t, k.port, len(want)), want)
		})
	}
}

// rawSocket is a UDP socket of the peer's own, beside its VXLAN device.
func (k *kernelPeer) rawSocket() (fd int) {
	k.t.Helper()
	k.do(func() (err error) {
		family := map[int]int{4: unix.AF_INET, 6: unix.AF_INET6}[k.outer]
		if fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(fd, sockaddr(netip.AddrPortFrom(netip.MustParseAddr(outerOf[k.outer][2]), 0)))
	})
	k.t.Cleanup(func() { unix.Close(fd) })
	return fd
}
