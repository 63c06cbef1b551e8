package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
	"weft/lease"
)

// A sealedPeer is a machine without weft whose lease says by turns that it
// encrypts and that it does not. It sends in the clear all the time.
type sealedPeer struct {
	at     *lab.Place
	c      *clientv3.Client
	kind   string // of the network: udp or vxlan
	socks  [2]*socket
	pods   [2]netip.AddrPort
	clear  string // its lease as a node of that kind
	sealed []string
}

const sealedKey = "10.244.202.0-24&fd00:244:0:202::-64"

func newSealedPeer(t *testing.T, l *lab.Lab, kind string) *sealedPeer {
	outer6 := netip.MustParseAddr("fd99::202")
	p := &sealedPeer{at: plug(t, l, "sealed", framePeerAddr), c: etcdClient(t, l), kind: kind,
		pods: [2]netip.AddrPort{netip.MustParseAddrPort("10.244.202.2:7"), netip.MustParseAddrPort("[fd00:244:0:202::2]:7")}}
	must(t, p.at.Addresses("eth0", netip.PrefixFrom(framePeerAddr, 24), netip.PrefixFrom(outer6, 64)))
	p.socks = [2]*socket{openUDP(t, p.at, netip.AddrPortFrom(framePeerAddr, 0)), openUDP(t, p.at, netip.AddrPortFrom(outer6, 0))}
	value := func(rest string) string {
		return fmt.Sprintf(`{"PublicIP":%q,"PublicIPv6":%q%s}`, framePeerAddr, outer6, rest)
	}
	if p.clear = value(""); kind == "vxlan" {
		p.clear = value(`,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:02:04"},"BackendV6Data":{"VNI":1,"VtepMAC":"02:00:00:00:02:06"}`)
	}
	p.sealed = []string{
		value(`,"BackendType":"wireguard","BackendData":{"PublicKey":"bm9ib2R5J3Mga2V5LCB3aGljaCBpcyB3aHkgaXQgaXM="}`),
		value(`,"BackendType":"wireguard"`), // as well sealed as it can be
	}
	return p
}

// wrap makes the datagram that carries an inner packet to a node in the clear,
// and tells where it goes by an outer family.
func (p *sealedPeer) wrap(t *testing.T, n *lab.Node, inner []byte, family int) ([]byte, netip.AddrPort) {
	t.Helper()
	to := [2]netip.Addr{n.Underlay, n.Underlay6}[family]
	if p.kind == "udp" {
		return inner, netip.AddrPortFrom(to, 8285)
	}
	own, version := leaseOf(t, leases(t, p.c), n), inner[0]>>4
	mac := get(t, func() (lease.VTEP, error) { return own.Attrs.VTEP(version) }).MAC
	etherType := map[byte]uint16{4: 0x0800, 6: 0x86dd}[version]
	return frame{0x08000000, 1 << 8, mac[:], net.HardwareAddr{2, 0, 0, 0, 2, 2}, etherType, inner}.bytes(), netip.AddrPortFrom(to, 8472)
}

// A wiretap sees what a machine's network card does.
type wiretap struct{ s *socket }

func tapWire(t *testing.T, at *lab.Place) wiretap {
	t.Helper()
	w := wiretap{&socket{}}
	must(t, at.Do(func() (err error) {
		all := int(binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})) // in network order
		if w.s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all); err != nil {
			return err
		}
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		return unix.Bind(w.s.fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: ifi.Index})
	}))
	t.Cleanup(func() { unix.Close(w.s.fd) })
	return w
}

// next waits for the next datagram that a node sends to the machine by UDP, in
// either family, and returns the port that it is for.
func (w wiretap) next(t *testing.T, n *lab.Node) (port uint16) {
	t.Helper()
	ctx, b := within(t), make([]byte, 1<<16)
	for {
		must(t, w.s.wait(ctx, unix.POLLIN))
		k, _, err := unix.Recvfrom(w.s.fd, b, 0)
		must(t, err)
		var src netip.Addr
		var proto byte
		l4 := 20
		switch p := b[:k]; {
		case k >= 28 && p[0] == 0x45:
			src, proto = netip.AddrFrom4([4]byte(p[12:16])), p[9]
		case k >= 48 && p[0]>>4 == 6:
			src, proto, l4 = netip.AddrFrom16([16]byte(p[8:24])), p[6], 40
		}
		if proto == unix.IPPROTO_UDP && (src == n.Underlay || src == n.Underlay6) {
			return binary.BigEndian.Uint16(b[l4+2:])
		}
	}
}

// A peer that encrypts is sent nothing in the clear by a node that does not, and
// what comes in its name is not let in, whatever the source check. When its
// lease changes it is served at once, and as soon no more.
func TestSealedPeer(t *testing.T) {
	for _, kind := range []string{"udp", "vxlan"} {
		t.Run(kind, func(t *testing.T) {
			var mode string
			l := newLab(t, lab.Options{Nodes: 2, Store: lab.StoreEtcd, NetConf: conf("46", fmt.Sprintf(`{"Type":%q}`, kind)),
				Extra: func(n *lab.Node) (args, env []string) {
					if n.Index == 1 {
						args = []string{"--source-check=" + mode}
					}
					return args, nil
				}})
			must(t, l.StartEtcd(within(t)))
			p := newSealedPeer(t, l, kind)
			must(t, l.Nodes[1].Start(within(t)))
			for i, m := range []string{"strict", "off"} {
				mode = m
				t.Run(mode, func(t *testing.T) { p.check(t, l.Nodes[0], l.Nodes[1], p.sealed[i]) })
			}
		})
	}
}

func (p *sealedPeer) check(t *testing.T, n, other *lab.Node, sealed string) {
	put(t, p.c, sealedKey, p.clear)
	must(t, n.Start(within(t)))
	reach(t, n, other)
	in := [2]*socket{openUDP(t, n.Pod, netip.AddrPortFrom(n.PodAddr(), 0)), openUDP(t, n.Pod, netip.AddrPortFrom(n.PodAddr6(), 0))}
	want := uint64(0)
	p.served(t, n, in)
	for range 2 {
		m := markLog(t, n)
		put(t, p.c, sealedKey, sealed)
		line := m.await(t, "lease not used", sealedKey)
		if text := "this node speaks " + p.kind + " and sends it nothing in the clear"; line.Level != "WARN" || !strings.Contains(line.Err, text) {
			t.Errorf("%s: want a warning with %q", line.Text, text)
		}
		p.notSent(t, n, in)
		want += p.notTaken(t, n, other, in)
		put(t, p.c, "10.244.203.0-24", udpLease("10.99.0.203")) // makes the table anew
		m.await(t, "peer added", "10.244.203.0-24")
		remove(t, p.c, "10.244.203.0-24")
		m.await(t, "peer removed", "10.244.203.0-24")
		if lines := m.find(t, "lease not used"); len(lines) != 1 {
			t.Errorf("%d lines tell of it, want one", len(lines))
		}
		m = markLog(t, n)
		put(t, p.c, sealedKey, p.clear)
		m.await(t, "peer added", sealedKey)
		p.served(t, n, in)
	}
	drops := stopped(t, n)
	if drops["clear_from_wireguard_peer"] != want || drops["peer_wants_wireguard"] < 12 {
		t.Errorf("drops %v, want %d clear_from_wireguard_peer and at least 12 peer_wants_wireguard", drops, want)
	}
}

// served: packets go to the peer and come from it.
func (p *sealedPeer) served(t *testing.T, n *lab.Node, in [2]*socket) {
	t.Helper()
	w := tapWire(t, p.at)
	buf := make([]byte, 2048)
	for i := range in {
		say(t, in[i], "to a clear peer", p.pods[i])
		b, to := p.wrap(t, n, p.inner(p.pods[i], in[i].addr, "from a clear peer"), i)
		must(t, p.socks[i].sendTo(b, to))
		if k, _, err := in[i].receive(within(t), buf); err != nil || string(buf[:k]) != "from a clear peer" {
			t.Errorf("the pod received %q: %v", buf[:k], err)
		}
	}
	for range in {
		if port, want := w.next(t, n), map[string]uint16{"udp": 8285, "vxlan": 8472}[p.kind]; port != want {
			t.Errorf("the clear peer was sent a datagram for port %d, want %d", port, want)
		}
	}
}

// notSent: pods that send to the peer's are told that there is no way, and the
// wire to the peer stays silent.
func (p *sealedPeer) notSent(t *testing.T, n *lab.Node, in [2]*socket) {
	t.Helper()
	w := tapWire(t, p.at)
	for i, want := range []uint8{3, 1} { // destination unreachable: ICMP, ICMPv6
		for _, size := range []int{1, 1000, 5000} {
			if e := ask(t, in[i], p.pods[i], size); e.typ != want || e.code != 0 || e.fromKernel {
				t.Errorf("%d bytes for %s: %s, want unreachable", size, p.pods[i], e)
			}
		}
	}
	const last = 9 // all of them have been answered; what was sent is in front of this one
	for i, s := range [2]*socket{openUDP(t, n.Host, netip.AddrPortFrom(n.Underlay, 0)), openUDP(t, n.Host, netip.AddrPortFrom(n.Underlay6, 0))} {
		must(t, s.sendTo([]byte("the end"), netip.AddrPortFrom(p.socks[i].addr.Addr(), last)))
		if port := w.next(t, n); port != last {
			t.Errorf("the sealed peer was sent a datagram for port %d", port)
		}
	}
}

// notTaken sends to the pods in the peer's name and returns how many packets.
func (p *sealedPeer) notTaken(t *testing.T, n, other *lab.Node, in [2]*socket) (sent uint64) {
	t.Helper()
	const some = 25
	theirs := [2]*socket{openUDP(t, other.Host, netip.AddrPortFrom(other.Underlay, 0)), openUDP(t, other.Host, netip.AddrPortFrom(other.Underlay6, 0))}
	pods := [2]netip.AddrPort{netip.AddrPortFrom(other.PodAddr(), 7), netip.AddrPortFrom(other.PodAddr6(), 7)}
	for outer := range p.socks {
		for i := range in {
			for _, f := range []struct {
				from *socket
				src  netip.AddrPort
				text string
			}{
				{p.socks[outer], p.pods[i], "the peer in its own name"},
				{p.socks[outer], pods[i], "the peer in another's name"},
				{theirs[outer], p.pods[i], "another in the peer's name"},
			} {
				b, to := p.wrap(t, n, p.inner(f.src, in[i].addr, f.text), outer)
				for range some {
					must(t, f.from.sendTo(b, to))
				}
				sent += some
			}
		}
	}
	for i, a := range []netip.Addr{other.PodAddr(), other.PodAddr6()} {
		end := openUDP(t, other.Pod, netip.AddrPortFrom(a, 0))
		must(t, end.sendTo([]byte("the end"), in[i].addr)) // by the same switch, after all of them
		buf := make([]byte, 2048)
		if k, _, err := in[i].receive(within(t), buf); err != nil || string(buf[:k]) != "the end" {
			t.Errorf("the pod received %q: %v", buf[:k], err)
		}
	}
	return sent
}

func (p *sealedPeer) inner(src, dst netip.AddrPort, text string) []byte {
	if src.Addr().Is4() {
		return inner4(src, dst, 62, []byte(text))
	}
	return inner6(src, dst, []byte(text))
}
