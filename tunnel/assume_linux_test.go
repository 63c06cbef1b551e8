package tunnel

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What this package takes for granted about Linux. If one of these tests fails
// on a kernel, the code is not wrong, but it no longer does what it was made
// for, and the comment says which code that is.

// rawPort is a bound socket without any of our options.
func rawPort(t testing.TB, local netip.AddrPort) (fd int, addr unix.Sockaddr) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	must(t, unix.Bind(fd, sockaddr(local)))
	addr, err = unix.Getsockname(fd)
	must(t, err)
	return fd, addr
}

// sendSegments sends data as a run and returns the kernel's answer.
func sendSegments(fd int, to unix.Sockaddr, data []byte, size uint16) error {
	ctl := cmsg(unix.IPPROTO_UDP, unix.UDP_SEGMENT, unsafe.Slice((*byte)(unsafe.Pointer(&size)), 2))
	return unix.Sendmsg(fd, data, ctl, to, 0)
}

// Loopback and veth carry a run whole, and UDP_GRO hands it over as one
// message: a node that talks to a neighbour on its own host is as fast as it
// gets, and the labs measure something. Before Linux 5.11 the run is cut on its
// way, and nothing of it is lost. (Inbox, 64 KiB buffers.)
func TestAssumeRunArrivesWhole(t *testing.T) {
	namespace(t)
	data := pattern(1, 40*1400)
	from, _ := rawPort(t, netip.AddrPortFrom(loopback4, 0))
	whole := testPort(t, PortOptions{Local: netip.AddrPortFrom(loopback4, 0), Allow: GRO, Stop: stopper(t)})
	single := testPort(t, PortOptions{Local: netip.AddrPortFrom(loopback4, 0), Stop: stopper(t)})
	carried, err := hasFeature("lo", udpSuperpackets)
	must(t, err)
	for p, want := range map[*Port]int{whole: 1, single: 40} {
		if !carried {
			want = 40
		}
		must(t, sendSegments(from, sockaddr(p.Local()), data, 1400))
		if !p.Features().Has(GRO) && p == whole {
			t.Skip("no UDP_GRO here")
		}
		inbox, messages, size := NewInbox(), 0, 0
		for bytesLeft := len(data); bytesLeft > 0; {
			must(t, p.Recv(inbox))
			messages += len(inbox.Messages)
			for _, m := range inbox.Messages {
				bytesLeft -= len(m.Data)
				size = m.Size
			}
		}
		if messages != want || size != 1400 {
			t.Errorf("%v: %d messages of %d bytes each, want %d of 1400", p.Features(), messages, size, want)
		}
	}
}

// The kernel takes runs of 64 datagrams, newer ones of 128, and says EINVAL to
// longer ones. (probeRun, runSince69, refusedOne.)
func TestAssumeLongestRun(t *testing.T) {
	ownNamespace(t)
	fd, self := rawPort(t, netip.AddrPortFrom(loopback4, 0))
	longest := probeRun()
	if longest != runBefore69 && longest != runSince69 {
		t.Fatalf("a run may hold %d", longest)
	}
	for n, want := range map[int]error{runBefore69: nil, longest: nil, longest + 1: unix.EINVAL} {
		err := sendSegments(fd, self, make([]byte, n*10), 10)
		if err == nil && want != nil || err != want {
			t.Errorf("a run of %d: %v, want %v", n, err, want)
		}
	}
}

// sendmmsg sends in order up to the first message that is refused, and tells
// why only when that message is the first. (sendBatch.)
func TestAssumeSendmmsgStops(t *testing.T) {
	ownNamespace(t)
	p := testPort(t, PortOptions{Local: netip.AddrPortFrom(loopback4, 0), Allow: Mmsg, Stop: stopper(t)})
	good, bad := NewAddr(p.Local()), NewAddr(netip.AddrPortFrom(loopback4, 0))
	out := NewOutbox()
	var msgs []Message
	for _, to := range []*Addr{good, good, bad, good} {
		msgs = append(msgs, runs(to, train(0, 1, 10, 10), 1)...)
	}
	out.fill(msgs, false)
	if n, e := p.syscall(out, 0, 4); n != 2 || e != 0 {
		t.Errorf("the first call: %d, %v; want 2", n, e)
	}
	if n, e := p.syscall(out, 2, 4); n != 0 || e != unix.EINVAL {
		t.Errorf("the second call: %d, %v; want EINVAL", n, e)
	}
	if n, e := p.syscall(out, 3, 4); n != 1 || e != 0 {
		t.Errorf("the third call: %d, %v; want 1", n, e)
	}
}

// With PMTUDISC_DO a datagram that is longer than the path is refused with
// EMSGSIZE, and one that just fits is sent. (up.refused, which learns.)
func TestAssumeTooLongIsEMSGSIZE(t *testing.T) {
	namespace(t)
	dev := dummy(t, 1500, "10.9.0.1/24")
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: dev.Attrs().Index, Dst: ipNet("10.8.0.0/16"), MTU: 1300, Scope: netlink.SCOPE_LINK}))
	p := testPort(t, PortOptions{Local: netip.MustParseAddrPort("10.9.0.1:0"), Stop: stopper(t)})
	for to, payload := range map[string]int{"10.9.0.2:1": 1500 - 28, "10.8.0.2:1": 1300 - 28} {
		for extra, want := range map[int]error{0: nil, 1: unix.EMSGSIZE} {
			if err := unix.Sendto(p.fd, make([]byte, payload+extra), 0, sockaddr(netip.MustParseAddrPort(to))); err != want {
				t.Errorf("%d bytes to %s: %v, want %v", payload+extra, to, err, want)
			}
		}
	}
}

// A run of datagrams that are longer than the path is refused with EINVAL or
// EMSGSIZE, never cut or sent. (refusedOne treats the two alike.)
func TestAssumeTooLongRunIsRefused(t *testing.T) {
	namespace(t)
	dummy(t, 1500, "10.9.0.1/24")
	p := testPort(t, PortOptions{Local: netip.MustParseAddrPort("10.9.0.1:0"), Stop: stopper(t)})
	err := sendSegments(p.fd, sockaddr(netip.MustParseAddrPort("10.9.0.2:1")), make([]byte, 4000), 1473)
	if err != unix.EINVAL && err != unix.EMSGSIZE {
		t.Errorf("a run of 1473-byte datagrams over an MTU of 1500: %v", err)
	}
}

// The kernel finishes the checksum of a packet that is written as NEEDS_CSUM
// before it leaves the host, and does not look at it when it stays; the same
// packet without the flag is thrown away as corrupt. (encap.Partial.)
func TestAssumePartialChecksum(t *testing.T) {
	tunSpace(t)
	d := testTUN(t, TUNOptions{Allow: allTUN, Stop: stopper(t)})
	linkUp(t)
	c := listen(t, "10.5.1.0:5000")
	g := NewGather()
	for i, o := range []Offload{{}, {Flags: 1, CsumStart: 20, CsumOffset: 6}} {
		p := udpPacket("10.5.2.9:4000", "10.5.1.0:5000", []byte{byte(i), 1, 2, 3})
		must(t, d.Write(g, o, [][]byte{p}))
	}
	must(t, c.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 100)
	if n, err := c.Read(buf); err != nil || !bytes.Equal(buf[:n], []byte{1, 1, 2, 3}) {
		t.Errorf("what arrives first is % x, %v; want the packet with the flag", buf[:n], err)
	}
}

// A packet from the device with one of the host's own addresses as its source
// is thrown away unless accept_local is set. (route, answerer.trusted.)
func TestAssumeAcceptLocal(t *testing.T) {
	tunSpace(t)
	d := testTUN(t, TUNOptions{Allow: allTUN, Stop: stopper(t)})
	linkUp(t)
	c := listen(t, "10.5.1.0:5000")
	g := NewGather()
	write := func(from string, mark byte) {
		t.Helper()
		must(t, d.Write(g, Offload{}, [][]byte{finish(udpPacket(from, "10.5.1.0:5000", []byte{mark}))}))
	}
	conf := "ipv4/conf/" + tunName + "/accept_local"
	sysctl(t, "ipv4/conf/all/accept_local", "0")
	sysctl(t, conf, "0")
	write("10.5.1.0:4000", 1)
	sysctl(t, conf, "1")
	write("10.5.1.0:4000", 2)
	must(t, c.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 10)
	if n, err := c.Read(buf); err != nil || n != 1 || buf[0] != 2 {
		t.Errorf("what arrives first is % x, %v; want 02", buf[:n], err)
	}
}

// Writing to a device whose link is down fails with EIO and is not fatal: once
// the link is up, the same descriptor works. (down.refused, tun_write_error.)
func TestAssumeLinkDownIsEIO(t *testing.T) {
	tunSpace(t)
	d := testTUN(t, TUNOptions{Allow: allTUN, Stop: stopper(t)})
	g := NewGather()
	p := finish(udpPacket("10.5.2.9:4000", "10.5.1.0:5000", []byte{1}))
	if err := d.Write(g, Offload{}, [][]byte{p}); err != unix.EIO {
		t.Errorf("down: %v", err)
	}
	linkUp(t)
	if err := d.Write(g, Offload{}, [][]byte{p}); err != nil {
		t.Errorf("up: %v", err)
	}
	must(t, netlink.LinkSetDown(link(t, tunName)))
	if err := d.Write(g, Offload{}, [][]byte{p}); err != unix.EIO {
		t.Errorf("down again: %v", err)
	}
}

// A superpacket of 1 + 512 pieces and a header is below the limit of a gather
// list, UIO_MAXIOV. (Coalescer, Gather.)
func TestAssumeGatherLimit(t *testing.T) {
	tunSpace(t)
	d := testTUN(t, TUNOptions{Allow: allTUN, Stop: stopper(t)})
	linkUp(t)
	p := finish(udpPacket("10.5.2.9:4000", "10.5.1.0:5000", make([]byte, 2000)))
	pieces := func(n int) (out [][]byte) {
		for i := range n - 1 {
			out = append(out, p[i:i+1])
		}
		return append(out, p[n-1:])
	}
	const limit = 1024
	if err := d.Write(NewGather(), Offload{}, pieces(limit-1)); err != nil {
		t.Errorf("%d pieces and the header: %v", limit-1, err)
	}
	if err := d.Write(NewGather(), Offload{}, pieces(limit)); err != unix.EINVAL {
		t.Errorf("%d pieces and the header: %v, want EINVAL", limit, err)
	}
}
