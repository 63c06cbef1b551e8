package tunnel

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"weft/encap"
)

// A space is a namespace with a thread of its own.
type space struct {
	t    testing.TB
	work chan func()
	fd   netns.NsHandle
}

// newSpace makes a namespace. What do runs, runs in it.
func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{t: t, work: make(chan func())}
	made := make(chan error, 1)
	var thread sync.WaitGroup
	thread.Go(func() {
		runtime.LockOSThread() // and the thread ends with its namespace
		var err error
		s.fd, err = netns.New()
		made <- err
		for f := range s.work {
			f()
		}
	})
	t.Cleanup(func() { close(s.work); thread.Wait() })
	must(t, <-made)
	t.Cleanup(func() { s.fd.Close() })
	s.do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	return s
}

// do runs f in the namespace.
func (s *space) do(f func() error) {
	s.t.Helper()
	done := make(chan error, 1)
	s.work <- func() { done <- f() }
	must(s.t, <-done)
}

// What the two nodes of these tests are called. We are node 1, a kernel with a
// VXLAN device is node 2.
var (
	outerOf = map[int][3]string{4: {"", "192.168.50.1", "192.168.50.2"}, 6: {"", "fd00:50::1", "fd00:50::2"}}
	vtepOf  = map[int][3]string{4: {"", "10.5.1.0", "10.5.2.0"}, 6: {"", "fd00:10:5:1::", "fd00:10:5:2::"}}
	podOf   = map[int]string{4: "10.5.1.2", 6: "fd00:10:5:1::2"} // one of ours
	subnets = map[int]string{4: "10.5.1.0/24", 6: "fd00:10:5:1::/64"}
	macOf   = [3]net.HardwareAddr{nil, {2, 0x77, 0x65, 0x66, 0x74, 1}, {2, 0x77, 0x65, 0x66, 0x74, 2}}
)

// A kernelPeer is another node, which has a VXLAN device as flannel sets it up,
// at the other end of a veth.
type kernelPeer struct {
	*space
	encap.UDP        // for the methods that these tests do not use
	outer, inner int // IP versions
	mtu          int // of its device
	port         *Port
	computes     bool // its end of the wire is a tap that knows nothing of tunnels
}

const vxlanHeader = 8 + 14 // VXLAN and inner Ethernet, bytes

// newKernelPeer makes a peer beside the test's own namespace, and a port there
// that receives what it sends. Features can be taken from the peer's end of the
// wire.
func newKernelPeer(t testing.TB, outer, inner int, off ...string) *kernelPeer {
	t.Helper()
	namespace(t)
	k := &kernelPeer{space: newSpace(t), outer: outer, inner: inner, mtu: map[int]int{4: 1450, 6: 1430}[outer]}
	off = k.wire(t, off)
	bits := map[int]string{4: "/24", 6: "/64"}[outer]
	assign(t, "wire0", outerOf[outer][1]+bits)
	must(t, netlink.LinkSetUp(link(t, "wire0")))
	k.do(func() error { return k.setup(bits, off) })
	k.port = testPort(t, PortOptions{Local: netip.AddrPortFrom(netip.MustParseAddr(outerOf[outer][1]), 8472),
		Allow: allPort, ECN: true, Stop: stopper(t)})
	return k
}

// setup makes the peer's device: no learning, outer checksums, and for us a
// permanent neighbour, a permanent forwarding entry and an on-link route
// (flannel's pkg/backend/vxlan/device.go and vxlan_network.go).
func (k *kernelPeer) setup(bits string, off []string) error {
	wire, err := netlink.LinkByName("wire0")
	if err != nil {
		return err
	}
	err = netlink.AddrAdd(wire, &netlink.Addr{IPNet: ipNet(outerOf[k.outer][2] + bits), Flags: unix.IFA_F_NODAD})
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(wire); err != nil {
		return err
	}
	if err := switchOff("wire0", off...); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = "flannel.1", k.mtu, macOf[2]
	dev := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: 1, Port: 8472, VtepDevIndex: wire.Attrs().Index,
		SrcAddr: net.ParseIP(outerOf[k.outer][2]), UDPCSum: k.outer == 4}
	if err := netlink.LinkAdd(dev); err != nil {
		return fmt.Errorf("vxlan device: %w", err)
	}
	if err := netlink.LinkSetUp(dev); err != nil {
		return err
	}
	return k.enter(dev.Attrs().Index)
}

// enter tells the peer's device how to reach us.
func (k *kernelPeer) enter(dev int) error {
	host := map[int]string{4: "/32", 6: "/128"}[k.inner]
	l, err := netlink.LinkByIndex(dev)
	if err != nil {
		return err
	}
	err = netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(vtepOf[k.inner][2] + host), Flags: unix.IFA_F_NODAD})
	if err != nil {
		return err
	}
	vtep := net.ParseIP(vtepOf[k.inner][1])
	family := map[int]int{4: unix.AF_INET, 6: unix.AF_INET6}[k.inner]
	if err := netlink.NeighSet(&netlink.Neigh{LinkIndex: dev, Family: family, State: netlink.NUD_PERMANENT,
		Type: unix.RTN_UNICAST, IP: vtep, HardwareAddr: macOf[1]}); err != nil {
		return fmt.Errorf("neighbour: %w", err)
	}
	if err := netlink.NeighSet(&netlink.Neigh{LinkIndex: dev, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT,
		Flags: netlink.NTF_SELF, IP: net.ParseIP(outerOf[k.outer][1]), HardwareAddr: macOf[1]}); err != nil {
		return fmt.Errorf("forwarding entry: %w", err)
	}
	return netlink.RouteReplace(&netlink.Route{LinkIndex: dev, Dst: ipNet(subnets[k.inner]), Gw: vtep,
		Src: net.ParseIP(vtepOf[k.inner][2]), Flags: int(netlink.FLAG_ONLINK)})
}

// dial connects a socket of the peer to a port of our pod.
func (k *kernelPeer) dial(network string, port uint16) net.Conn {
	k.t.Helper()
	var c net.Conn
	k.do(func() (err error) {
		to := netip.AddrPortFrom(netip.MustParseAddr(podOf[k.inner]), port)
		c, err = net.DialTimeout(network, to.String(), patience)
		return err
	})
	k.t.Cleanup(func() { c.Close() }) // once more, if the test has closed it
	return c
}

// A frame is an inner packet for our pod, and how it came.
type frame struct {
	packet  []byte
	message int // bytes of the message that brought it
	size    int // its Received.Size
	ecn     uint8
}

// frames takes messages until they have brought n packets for our pod. The
// peer's kernel may speak for itself as well (neighbour discovery, MLD).
func (k *kernelPeer) frames(n int) (out []frame) {
	k.t.Helper()
	inbox := inboxes.Get().(*Inbox)
	defer inboxes.Put(inbox)
	for len(out) < n {
		must(k.t, k.port.Recv(inbox))
		for _, m := range inbox.Messages {
			out = append(out, k.open(m)...)
		}
	}
	if len(out) > n {
		k.t.Fatalf("%d packets, want %d", len(out), n)
	}
	return out
}

// open takes a message apart.
func (k *kernelPeer) open(m Received) (out []frame) {
	size := m.Size
	if encap.Whole(k, m.Data, size) {
		size = len(m.Data)
	}
	for _, d := range split(Received{Data: m.Data, Size: size}) {
		if p, drop := k.Open(d); drop == encap.Delivered {
			out = append(out, frame{p, len(m.Data), m.Size, m.ECN})
		}
	}
	return out
}

// Open returns the packet of a VXLAN frame, if it is for our pod.
func (k *kernelPeer) Open(d []byte) ([]byte, encap.Drop) {
	p := d[min(vxlanHeader, len(d)):]
	pod := netip.MustParseAddr(podOf[k.inner]).AsSlice()
	at := map[int]int{4: 16, 6: 24}[k.inner]
	if len(p) < at+len(pod) || int(p[0]>>4) != k.inner || string(p[at:at+len(pod)]) != string(pod) {
		return nil, encap.InnerDstNotLocal
	}
	return p, encap.Delivered
}

// A sumState is what a TCP or UDP checksum field may hold.
type sumState string

const (
	complete sumState = "the checksum"
	pseudo   sumState = "the sum of the pseudo header"
)

// checkSum reports when the checksum field of p does not hold what it should.
func checkSum(t testing.TB, p []byte, want sumState) {
	t.Helper()
	at, proto := l4(p), p[9]
	addrs := p[12:20]
	if at == 40 {
		addrs, proto = p[8:40], p[6]
	}
	head := sum(sum(uint32(proto)+uint32(len(p)-at), addrs), nil)
	field := at + map[byte]int{6: 16, 17: 6}[proto]
	is := map[sumState]bool{complete: sum(head, p[at:]) == 0xffff, pseudo: sum(0, p[field:field+2]) == head}
	if !is[want] {
		t.Errorf("a packet of %d bytes does not hold %s; what it holds: %v", len(p), want, is)
	}
}

// checkIP reports when an IP header does not describe the whole packet.
func checkIP(t testing.TB, p []byte) {
	t.Helper()
	length := 40 + (int(p[4])<<8 | int(p[5]))
	if p[0]>>4 == 4 {
		length = int(p[2])<<8 | int(p[3])
		if sum(0, p[:20]) != 0xffff {
			t.Errorf("IPv4 header checksum wrong: % x", p[:20])
		}
	}
	if length != len(p) {
		t.Errorf("the IP header says %d bytes, there are %d", length, len(p))
	}
}

// onWires runs f for inner and outer packets of both versions, and for wires
// that do not have the features off.
func onWires(t *testing.T, off []string, f func(t *testing.T, k *kernelPeer)) {
	for _, outer := range []int{4, 6} {
		for _, inner := range []int{4, 6} {
			t.Run(fmt.Sprintf("IPv%d in IPv%d", inner, outer), func(t *testing.T) { f(t, newKernelPeer(t, outer, inner, off...)) })
		}
	}
}
