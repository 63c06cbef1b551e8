package e2e

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
)

// A packet too big for the path to its peer: the path shrinks at a router in
// the middle, where only ICMP tells of it, or at the node's own link.
func TestPathMTU(t *testing.T) {
	l := newLabUp(t, lab.Options{Nodes: 2, Store: lab.StoreDir, IPv6: true})
	n1, n2 := l.Nodes[0], l.Nodes[1]

	t.Run("a router on the way", func(t *testing.T) {
		tr := begin(t, n1, n2, n2.PodAddr(), 0)
		tr.progress(t, 4*mega)
		throughRouter(t, l, n1, n2, 1400)
		tr.progress(t, 16*mega)
		tr.end(t)
		tooBig(t, n1, n2, 1400-28)
		everything(t, n1, n2, 16*mega, 97)
	})
	t.Run("the own link", func(t *testing.T) {
		m := markLog(t, n2)
		must(t, n2.Host.MTU("eth0", 1350))
		m.await(t, "underlay interface has changed")
		tooBig(t, n2, n1, 1350-28)
		must(t, n2.Host.MTU("eth0", 1500))
		m.await(t, "underlay interface is back")
	})
}

// throughRouter leads packets from one node to another by way of the switch,
// which then is a router with a small MTU towards the other.
func throughRouter(t *testing.T, l *lab.Lab, from, to *lab.Node, mtu int) {
	t.Helper()
	must(t, l.Switch.Router(false))
	for _, dev := range []string{"all", "underlay"} {
		must(t, l.Switch.Sysctl("net/ipv4/conf/"+dev+"/send_redirects", "0"))
	}
	link := get(t, func() (netlink.Link, error) { return l.Switch.Netlink().LinkByName("underlay") })
	must(t, l.Switch.Netlink().RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index,
		Dst: only(to.Underlay), Scope: netlink.SCOPE_LINK, MTU: mtu, MTULock: true}))
	must(t, from.Host.Route("eth0", netip.PrefixFrom(to.Underlay, 32), switchAddr))
}

// switchAddr is the address of the switch on the underlay.
var switchAddr = netip.MustParseAddr("10.99.0.251")

func only(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

// tooBig checks that a pod learns by ICMP what fits, and that what may be
// fragmented arrives.
func tooBig(t *testing.T, from, to *lab.Node, want uint32) {
	t.Helper()
	for family, a := range addrs(from) {
		b := addrs(to)[family]
		forget(t, from.Pod)
		s := openUDP(t, from.Pod, netip.AddrPortFrom(a, 0))
		s.discover(t, unix.IP_PMTUDISC_DO)
		e := ask(t, s, netip.AddrPortFrom(b, 9), 1472-48)
		if e.fromKernel || e.errno != unix.EMSGSIZE || e.mtu != want {
			t.Errorf("%s: %s, want EMSGSIZE by ICMP with MTU %d", family, e, want)
		}
		fits := int(want) - 28
		if !a.Is4() {
			fits -= 20
		}
		echo := startEcho(t, to.Pod, b)
		// The kernel took the lesson. What it told the error queue it may
		// tell the next call too, but only once.
		if err := s.sendTo(payload(fits), echo.addr); err != nil {
			if err := s.sendTo(payload(fits), echo.addr); err != nil {
				t.Errorf("%s: %d bytes: %v", family, fits, err)
			}
		}
		if err := s.sendTo(payload(fits+1), echo.addr); err == nil {
			t.Errorf("%s: %d bytes were sent with DF after the lesson", family, fits+1)
		}
		fragmented(t, from, to, family, int(want))
	}
}

// forget makes a kernel forget what it has learnt about paths.
func forget(t *testing.T, at *lab.Place) {
	t.Helper()
	must(t, at.Sysctl("net/ipv4/route/flush", "1"))
	must(t, at.Sysctl("net/ipv6/route/flush", "1"))
}

// fragmented sends datagrams that may be fragmented one way, and looks at each
// that arrives.
func fragmented(t *testing.T, from, to *lab.Node, family string, limit int) {
	t.Helper()
	in := openUDP(t, to.Pod, netip.AddrPortFrom(addrs(to)[family], 0))
	out := openUDP(t, from.Pod, netip.AddrPortFrom(addrs(from)[family], 0))
	out.discover(t, unix.IP_PMTUDISC_DONT)
	buf := make([]byte, 1<<16)
	for _, size := range []int{limit - 48, limit - 28, limit, 1472 - 48, 1472 - 28, 5000, 20000} {
		b := payload(size)
		must(t, out.sendTo(b, in.addr))
		n, _, err := in.receive(within(t), buf)
		if err != nil || string(buf[:n]) != string(b) {
			t.Fatalf("%s: of %d bytes %d arrived, or changed: %v", family, size, n, err)
		}
	}
}
