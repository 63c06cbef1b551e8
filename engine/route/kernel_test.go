package route

import (
	"encoding/binary"
	"net"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/engine/internal/nstest"
)

// What this package assumes of the kernel: a packet from the tunnel with one
// of the host's own addresses as its source is dropped, and accept_local
// changes that.
func TestKernelAcceptLocal(t *testing.T) {
	nstest.Enter(t)
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("needs /dev/net/tun")
	}
	tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "flannel0"}, Mode: netlink.TUNTAP_MODE_TUN,
		Flags: netlink.TUNTAP_NO_PI, NonPersist: true, Queues: 1}
	if err := netlink.LinkAdd(tun); err != nil {
		t.Skipf("cannot make a TUN device: %v", err)
	}
	defer tun.Fds[0].Close()
	device(t, "cni0", "10.5.1.1/24")
	raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	must(t, err)
	defer unix.Close(raw)
	late := unix.NsecToTimeval(patience.Nanoseconds())
	must(t, unix.SetsockoptTimeval(raw, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &late))

	r := reconciler(t, nil)
	must(t, r.Set(t.Context(), udp()))
	if got := addrsOf(t, "flannel0"); len(got) != 1 {
		t.Errorf("addresses %v: the kernel made one of its own", got)
	}
	index := tun.Attrs().Index
	must(t, setDevconf(index, devconfAcceptLocal, 0))
	inject(t, tun.Fds[0], 1) // dropped
	r.check(t.Context(), settings)
	inject(t, tun.Fds[0], 2)
	buf := make([]byte, 1500)
	n, _, err := unix.Recvfrom(raw, buf, 0)
	must(t, err)
	if id := binary.BigEndian.Uint16(buf[4:]); n < 20 || id != 2 {
		t.Errorf("received packet %d first, want 2", id)
	}
}

// inject writes an ICMP net unreachable from the tunnel's own address.
func inject(t *testing.T, tun *os.File, id uint16) {
	t.Helper()
	p := make([]byte, 20+8+28)
	p[0], p[3], p[8], p[9] = 0x45, byte(len(p)), 8, unix.IPPROTO_ICMP
	binary.BigEndian.PutUint16(p[4:], id)
	copy(p[12:], net.IP{10, 5, 1, 0})
	copy(p[16:], net.IP{10, 5, 1, 1})
	binary.BigEndian.PutUint16(p[10:], sum(p[:20]))
	p[20], p[28], p[37] = 3, 0x45, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[22:], sum(p[20:]))
	// Without a virtio header; the write returns after the packet was received.
	if _, err := tun.Write(p); err != nil {
		t.Fatal(err)
	}
}

// sum is the internet checksum (RFC 1071).
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	s = s>>16 + s&0xffff
	return ^uint16(s + s>>16)
}
