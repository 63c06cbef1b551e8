package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
)

// A peer changes its endpoint's address and its own, leaves, comes back, and
// comes back as something else; what is sent to it follows.
func TestVXLANPeerChanges(t *testing.T) {
	l := newLab(t, lab.Options{Nodes: 1, Env: quiet, Store: lab.StoreEtcd, NetConf: conf("4", `{"Type":"vxlan"}`)})
	must(t, l.StartEtcd(within(t)))
	n, c, p := l.Nodes[0], etcdClient(t, l), startFramePeer(t, l)
	must(t, n.Start(within(t)))
	out := openUDP(t, n.Pod, netip.AddrPortFrom(n.PodAddr(), 0))
	gone := func() {
		t.Helper()
		if e := ask(t, out, p.pod, 10); e.errno != unix.ENETUNREACH && e.errno != unix.EHOSTUNREACH {
			t.Errorf("%s, want unreachable by ICMP", e)
		}
	}
	gone()
	m := markLog(t, n)
	for i, mac := range []string{"02:00:00:00:02:02", "02:00:00:00:03:03", "06:07:08:09:0a:0b"} {
		put(t, c, framePeerKey, vxlanLease(framePeerAddr.String(), mac))
		m.await(t, [...]string{"peer added", "peer changed", "peer changed"}[i], framePeerKey)
		m = markLog(t, n)
		say(t, out, mac, p.pod)
		if f, _ := p.receive(t); f.dst.String() != mac || !strings.HasSuffix(string(f.inner), mac) {
			t.Errorf("lease says %s, frame is for %s", mac, f.dst)
		}
	}
	t.Run("another node address", func(t *testing.T) {
		second := netip.MustParseAddr("10.99.0.203")
		q := framePeer{openUDP(t, plug(t, l, "second", second), netip.AddrPortFrom(second, 8472)), p.mac, p.pod}
		put(t, c, framePeerKey, vxlanLease(second.String(), p.mac.String()))
		m.await(t, "peer changed", framePeerKey)
		say(t, out, "moved", p.pod)
		q.receive(t)
		theirs := endpoint(t, c, n)
		must(t, p.s.sendTo(p.frame(theirs, inner4(p.pod, out.addr, 63, []byte("from the old address"))).bytes(), netip.AddrPortFrom(n.Underlay, 8472)))
		must(t, q.s.sendTo(q.frame(theirs, inner4(p.pod, out.addr, 63, []byte("from the new one"))).bytes(), netip.AddrPortFrom(n.Underlay, 8472)))
		buf := make([]byte, 64)
		if k, _, err := out.receive(within(t), buf); err != nil || string(buf[:k]) != "from the new one" {
			t.Errorf("the pod received %q: %v", buf[:k], err)
		}
	})
	t.Run("leaves and comes back", func(t *testing.T) {
		m := markLog(t, n)
		remove(t, c, framePeerKey)
		m.await(t, "peer removed", framePeerKey)
		gone()
		put(t, c, framePeerKey, vxlanLease(framePeerAddr.String(), p.mac.String()))
		m.await(t, "peer added", framePeerKey)
		say(t, out, "back", p.pod)
		p.receive(t)
	})
	t.Run("leases not to be used", func(t *testing.T) {
		for _, data := range []string{"", `,"BackendData":{"VNI":1}`, `,"BackendData":{"VNI":1,"VtepMAC":"01:00:5e:00:00:01"}`,
			`,"BackendData":{"VNI":1,"VtepMAC":"00:00:00:00:00:00"}`, `,"BackendData":"text"`} {
			m := markLog(t, n)
			put(t, c, framePeerKey, fmt.Sprintf(`{"PublicIP":%q,"PublicIPv6":null,"BackendType":"vxlan"%s}`, framePeerAddr, data))
			if line := m.await(t, "lease not used", framePeerKey); line.Level != "WARN" || line.Err == "" {
				t.Errorf("%s: %s", data, line.Text)
			}
			gone()
			m = markLog(t, n)
			put(t, c, framePeerKey, vxlanLease(framePeerAddr.String(), p.mac.String()))
			m.await(t, "peer added", framePeerKey)
		}
	})
	t.Run("an old lease without a VNI", func(t *testing.T) {
		m := markLog(t, n)
		put(t, c, framePeerKey, fmt.Sprintf(`{"PublicIP":%q,"BackendType":"vxlan","BackendData":{"VtepMAC":"02:0e:0e:0e:0e:0e"}}`, framePeerAddr))
		m.await(t, "peer changed", framePeerKey)
		say(t, out, "old", p.pod)
		if f, _ := p.receive(t); f.vni != 1<<8 || f.dst.String() != "02:0e:0e:0e:0e:0e" {
			t.Errorf("VNI word %#x, to %s", f.vni, f.dst)
		}
	})
	t.Run("speaks udp now", func(t *testing.T) { speaksUDP(t, l, n, p, out) })
}

// say sends a datagram. A socket that has yet to tell of an ICMP error does that
// instead, once.
func say(t testing.TB, s *socket, text string, to netip.AddrPort) {
	t.Helper()
	if err := s.sendTo([]byte(text), to); err != nil {
		must(t, unmute(err))
		must(t, s.sendTo([]byte(text), to))
	}
}

// speaksUDP lets the peer become one of the udp backend: what is sent to it and
// what it sends is bare packets on port 8285.
func speaksUDP(t *testing.T, l *lab.Lab, n *lab.Node, p framePeer, out *socket) {
	c, m := etcdClient(t, l), markLog(t, n)
	third := netip.MustParseAddr("10.99.0.204")
	s := openUDP(t, plug(t, l, "third", third), netip.AddrPortFrom(third, 8285))
	put(t, c, framePeerKey, udpLease(third.String()))
	m.await(t, "peer changed", framePeerKey)
	say(t, out, "bare", p.pod)
	buf := make([]byte, 2048)
	k, _, err := s.receive(within(t), buf)
	if err != nil || k != 32 || string(buf[28:k]) != "bare" || buf[8] != 62 {
		t.Fatalf("the peer received %x: %v; want a bare packet with TTL 62", buf[:k], err)
	}
	must(t, s.sendTo(inner4(p.pod, out.addr, 62, []byte("bare as well")), tunnelOf(n)))
	if k, _, err := out.receive(within(t), buf); err != nil || string(buf[:k]) != "bare as well" {
		t.Errorf("the pod received %q: %v", buf[:k], err)
	}
}

// Where stock flannel was before: its devices, entries and routes are still
// there when weft starts. Weft takes their place and keeps the endpoint's
// addresses, so that the other nodes notice nothing. And back again.
func TestTakeOver(t *testing.T) {
	kernel := map[int]bool{1: true, 2: true}
	l := newLabUp(t, withKernel(t, lab.Options{Nodes: 2, Store: lab.StoreEtcd, NetConf: conf("46", `{"Type":"vxlan"}`)}, kernel))
	n1, n2 := l.Nodes[0], l.Nodes[1]
	c := etcdClient(t, l)
	exchange(t, n1, n2, mega, 499)
	was, value := entries(t, n2), leases(t, c)["10.244.1.0-24&fd00:244:0:1::-64"].value
	endpoints := func() (list []net.HardwareAddr) {
		for _, family := range []string{"IPv4", "IPv6"} {
			if v := kernelVTEP(t, n1, family); v != nil {
				list = append(list, v.HardwareAddr)
			}
		}
		return list
	}
	if got := endpoints(); len(got) != 2 {
		t.Fatalf("the kernel node has the devices %v, want two", got)
	}
	tr := begin(t, n2, n1, n1.PodAddr(), 0)
	tr.progress(t, 4*mega)
	must(t, n1.Stop(within(t)))
	tr.progress(t, 4*mega) // the kernel goes on
	kernel[1] = false
	must(t, n1.Start(within(t)))
	tr.progress(t, 8*mega)
	t.Logf("TCP stood still for %s", tr.end(t))
	if left := endpoints(); left != nil {
		t.Errorf("the kernel's devices %v are still there", left)
	}
	if now := leases(t, c)["10.244.1.0-24&fd00:244:0:1::-64"].value; now != value {
		t.Errorf("lease %s, was %s", now, value)
	}
	if now := entries(t, n2); fmt.Sprint(now) != fmt.Sprint(was) {
		t.Errorf("the other node's entries %v, were %v", now, was)
	}
	exchange(t, n1, n2, 4*mega, 311)
	must(t, n1.Stop(within(t)))
	kernel[1] = true
	// Weft leaves its device for its next start. While the route of the whole
	// network is on it, the kernel refuses an IPv6 route with a gateway in that
	// network on another device (ip6_route_check_nh_onlink), onlink or not.
	must(t, n1.Host.Netlink().LinkDel(get(t, func() (netlink.Link, error) { return n1.Host.Netlink().LinkByName("flannel0") })))
	must(t, n1.Start(within(t)))
	exchange(t, n1, n2, mega, 499)
}

// A port that somebody else has is no reason not to speak to the peers that
// would send to it.
func TestOtherPortTaken(t *testing.T) {
	l := newLab(t, lab.Options{Nodes: 1, Env: quiet, Store: lab.StoreEtcd, NetConf: conf("4", `{"Type":"vxlan"}`)})
	must(t, l.StartEtcd(within(t)))
	n, c := l.Nodes[0], etcdClient(t, l)
	must(t, n.Start(within(t)))
	openUDP(t, n.Host, netip.AddrPortFrom(n.Underlay, 8285))
	m, addr := markLog(t, n), netip.MustParseAddr("10.99.0.204")
	s := openUDP(t, plug(t, l, "udp", addr), netip.AddrPortFrom(addr, 8285))
	put(t, c, framePeerKey, udpLease(addr.String()))
	m.await(t, "not listening for peers of another backend", "8285", "another process has the port")
	m.await(t, "peer added", framePeerKey)
	out := openUDP(t, n.Pod, netip.AddrPortFrom(n.PodAddr(), 0))
	say(t, out, "bare", netip.AddrPortFrom(netip.MustParseAddr("10.244.202.2"), 53))
	buf := make([]byte, 2048)
	if k, _, err := s.receive(within(t), buf); err != nil || string(buf[28:k]) != "bare" {
		t.Errorf("the peer received %x: %v", buf[:k], err)
	}
}
