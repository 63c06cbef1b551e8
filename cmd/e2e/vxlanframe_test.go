package e2e

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
	"weft/lease"
)

// A framePeer is a node that holds a lease and sends what it is told to: a
// socket on the VXLAN port. Like stockPeer it was written from the format.
type framePeer struct {
	s   *socket
	mac net.HardwareAddr
	pod netip.AddrPort
}

var framePeerAddr = netip.MustParseAddr("10.99.0.202")

const framePeerKey = "10.244.202.0-24"

func startFramePeer(t *testing.T, l *lab.Lab) framePeer {
	t.Helper()
	at := plug(t, l, "frames", framePeerAddr)
	return framePeer{openUDP(t, at, netip.AddrPortFrom(framePeerAddr, 8472)),
		net.HardwareAddr{2, 0, 0, 0, 2, 2}, netip.MustParseAddrPort("10.244.202.2:7")}
}

// A frame is a VXLAN datagram, field by field (RFC 7348 section 5):
//
//	flags(4)  VNI(3) reserved(1)  dst(6) src(6) type(2)  packet
type frame struct {
	flags     uint32
	vni       uint32 // with the reserved byte: VNI << 8
	dst, src  net.HardwareAddr
	etherType uint16
	inner     []byte
}

func (f frame) bytes() []byte {
	b := binary.BigEndian.AppendUint32(nil, f.flags)
	b = binary.BigEndian.AppendUint32(b, f.vni)
	b = append(append(b, f.dst...), f.src...)
	return append(binary.BigEndian.AppendUint16(b, f.etherType), f.inner...)
}

// frame is a good frame to a node's endpoint.
func (p framePeer) frame(to net.HardwareAddr, inner []byte) frame {
	return frame{0x08000000, 1 << 8, to, p.mac, 0x0800, inner}
}

// receive returns the next frame that came to the peer, whoever sent it, and
// from where.
func (p framePeer) receive(t *testing.T) (frame, netip.AddrPort) {
	t.Helper()
	buf := make([]byte, 2048)
	n, from, err := p.s.receive(within(t), buf)
	must(t, err)
	if n < 22 {
		t.Fatalf("%d bytes from %s are no frame", n, from)
	}
	b := buf[:n]
	return frame{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), b[8:14], b[14:20], binary.BigEndian.Uint16(b[20:]), b[22:]}, from
}

// A frameCase is a frame and what becomes of it.
type frameCase struct {
	name   string
	change func(*frame)
	raw    func([]byte) []byte // changes the datagram
	reason string              // why weft drops it; "" means that it is delivered
	tos    int                 // of the outer header
	bare   bool                // without an outer checksum
}

// frameCases: the table of contract 5.3, as the kernel acts by it, and more.
func frameCases(theirs net.HardwareAddr) []frameCase {
	const header, vni, mac, ether = "vxlan_invalid_hdr", "vxlan_vni_not_found", "vxlan_inner_mac_not_ours", "vxlan_inner_ethertype"
	flags := func(v uint32) func(*frame) { return func(f *frame) { f.flags = v } }
	dst := func(s string) func(*frame) { return func(f *frame) { f.dst, _ = net.ParseMAC(s) } }
	src := func(s string) func(*frame) { return func(f *frame) { f.src, _ = net.ParseMAC(s) } }
	etherType := func(v uint16) func(*frame) { return func(f *frame) { f.etherType = v } }
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	return []frameCase{
		{name: "good"},
		{name: "no outer checksum", bare: true},
		{name: "another source address", change: src("02:aa:bb:cc:dd:ee")},
		{name: "padding", raw: func(b []byte) []byte { return append(b, 0, 0, 0, 0, 0, 0, 0) }},
		{name: "no I flag", change: flags(0), reason: header},
		{name: "another flag", change: flags(0x0c000000), reason: header},
		{name: "a group policy", change: flags(0x88000000), reason: header},
		{name: "reserved byte 1", change: flags(0x08010000), reason: header},
		{name: "reserved byte 2", change: flags(0x08000100), reason: header},
		{name: "reserved byte 3", change: flags(0x08000001), reason: header},
		{name: "reserved byte 7", change: func(f *frame) { f.vni |= 1 }, reason: header},
		{name: "VNI 2", change: func(f *frame) { f.vni = 2 << 8 }, reason: vni},
		{name: "VNI 0", change: func(f *frame) { f.vni = 0 }, reason: vni},
		{name: "VNI 0x010001", change: func(f *frame) { f.vni = 0x010001 << 8 }, reason: vni},
		{name: "to everybody", change: dst("ff:ff:ff:ff:ff:ff"), reason: mac},
		{name: "to nobody", change: dst("00:00:00:00:00:00"), reason: mac},
		{name: "to another", change: dst("02:aa:bb:cc:dd:ee"), reason: mac},
		{name: "in our name", change: src(theirs.String()), reason: mac},
		{name: "VLAN tag", change: func(f *frame) { f.etherType = 0x8100; f.inner = append([]byte{0, 5, 8, 0}, f.inner...) }, reason: ether},
		{name: "MPLS", change: etherType(0x8847), reason: ether},
		{name: "IPv4 as ARP", change: etherType(0x0806), reason: "neighbour_not_asked"},
		{name: "IPv4 as IPv6", change: etherType(0x86dd), reason: mac}, // IPv6 has an endpoint of its own
		{name: "IPv6 as IPv4", change: func(f *frame) { f.inner[0] = 0x60 }, reason: ether},
		{name: "eight bytes", raw: cut(8), reason: header},
		{name: "seven bytes", raw: cut(7), reason: header},
		{name: "no bytes", raw: cut(0), reason: header},
		{name: "21 bytes", raw: cut(21), reason: header},
		{name: "Ethernet alone", raw: cut(22), reason: header},
		{name: "one byte", raw: cut(23), reason: "runt"},
		{name: "cut packet", raw: func(b []byte) []byte { return b[:len(b)-1] }, reason: "ip_len_mismatch"},
		{name: "congestion without ECT", tos: 3, reason: "ip_tunnel_ecn"},
		{name: "congestion with ECT", tos: 3, change: func(f *frame) { setTOS(f.inner, 2) }},
	}
}

// setTOS changes the second byte of an IPv4 header.
func setTOS(p []byte, tos byte) {
	p[1], p[10], p[11] = tos, 0, 0
	binary.BigEndian.PutUint16(p[10:], ^fold(sum(p[:20])))
}

// deliver sends each case to a node many times and returns how often each name
// arrived in the pod, and the last TOS that it bore.
func (p framePeer) deliver(t *testing.T, n *lab.Node, theirs net.HardwareAddr, cases []frameCase, times int) (got, tos map[string]int) {
	t.Helper()
	in := openUDP(t, n.Pod, netip.AddrPortFrom(n.PodAddr(), 0))
	in.set(t, unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
	for _, c := range append(cases, frameCase{name: "the end"}) {
		f := p.frame(theirs, inner4(p.pod, in.addr, 63, []byte(c.name)))
		if c.change != nil {
			c.change(&f)
		}
		b := f.bytes()
		if c.raw != nil {
			b = c.raw(b)
		}
		bare := 0
		if c.bare {
			bare = 1
		}
		p.s.set(t, unix.SOL_SOCKET, unix.SO_NO_CHECK, bare)
		p.s.set(t, unix.IPPROTO_IP, unix.IP_TOS, c.tos)
		for range times {
			must(t, p.s.sendTo(b, netip.AddrPortFrom(n.Underlay, 8472)))
		}
	}
	got, tos = map[string]int{}, map[string]int{}
	for got["the end"] < times {
		must(t, in.wait(within(t), unix.POLLIN))
		buf, oob := make([]byte, 2048), make([]byte, 128)
		k, o, _, _, err := unix.Recvmsg(in.fd, buf, oob, 0)
		must(t, err)
		name := string(buf[:k])
		got[name]++
		if msgs, err := unix.ParseSocketControlMessage(oob[:o]); err == nil && len(msgs) == 1 {
			tos[name] = int(msgs[0].Data[0])
		}
	}
	return got, tos
}

// framesLab is a weft node, a kernel node and a frame peer.
func framesLab(t *testing.T, o lab.Options) (n, k *lab.Node, p framePeer, mac, kernelMAC net.HardwareAddr) {
	t.Helper()
	o.Nodes, o.Store = 2, lab.StoreEtcd
	l := newLab(t, withKernel(t, o, map[int]bool{2: true}))
	must(t, l.StartEtcd(within(t)))
	n, k = l.Nodes[0], l.Nodes[1]
	c := etcdClient(t, l)
	p = startFramePeer(t, l)
	put(t, c, framePeerKey, vxlanLease(framePeerAddr.String(), p.mac.String()))
	must(t, k.Start(within(t)))
	must(t, n.Start(within(t)))
	reach(t, n, k)
	return n, k, p, endpoint(t, c, n), kernelVTEP(t, k, "IPv4").HardwareAddr
}

// Good and bad frames, sent to a weft node and to a kernel node: both deliver
// the same, and weft counts each of the others by its reason.
func TestVXLANFrames(t *testing.T) {
	n, k, p, mac, kernelMAC := framesLab(t, lab.Options{NetConf: conf("4", `{"Type":"vxlan"}`)})
	p.compare(t, n, k, frameCases(mac), frameCases(kernelMAC), mac, kernelMAC)
}

// compare sends the same cases to a weft node and to a kernel node, and returns
// what the first counted.
func (p framePeer) compare(t *testing.T, n, k *lab.Node, cases, kernelCases []frameCase, mac, kernelMAC net.HardwareAddr) (drops map[string]uint64) {
	t.Helper()
	const times = 20
	got, tos := p.deliver(t, n, mac, cases, times)
	asKernel, kernelTOS := p.deliver(t, k, kernelMAC, kernelCases, times)
	drops = stopped(t, n)
	want := map[string]uint64{}
	for _, c := range cases {
		if c.reason != "" {
			want[c.reason] += times
		}
		if c.reason == "" && got[c.name] != times || c.reason != "" && got[c.name] > 0 {
			t.Errorf("%s: %d of %d delivered", c.name, got[c.name], times)
		}
		if got[c.name] != asKernel[c.name] || tos[c.name] != kernelTOS[c.name] {
			t.Errorf("%s: weft delivers %d with TOS %d, the kernel %d with TOS %d",
				c.name, got[c.name], tos[c.name], asKernel[c.name], kernelTOS[c.name])
		}
		if c.tos == 3 && c.reason == "" && tos[c.name] != 3 {
			t.Errorf("%s: arrives as TOS %d, want 3", c.name, tos[c.name])
		}
	}
	for reason, n := range want {
		if drops[reason] != n {
			t.Errorf("%s: counted %d, want %d", reason, drops[reason], n)
		}
	}
	return drops
}

// endpoint returns the address of a node's endpoint for inner IPv4.
func endpoint(t testing.TB, c *clientv3.Client, n *lab.Node) net.HardwareAddr {
	t.Helper()
	l := leaseOf(t, leases(t, c), n)
	v := get(t, func() (lease.VTEP, error) { return l.Attrs.VTEP(4) })
	return v.MAC[:]
}
