package engine

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/tunnel"
)

// TestSample: what the kernel throws away around the ends, because nobody
// takes it from the socket or the device in time, is counted under its reason,
// and once only.
func TestSample(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a network namespace without a user namespace needs root; see TestUserNSSample")
	}
	inChild(t, 0, testSample)
}

func TestUserNSSample(t *testing.T) { inChild(t, unix.CLONE_NEWUSER, testSample) }

func testSample(t *testing.T) {
	underlay(t)
	stop, err := tunnel.NewStopper()
	must(t, err)
	defer stop.Close()
	dev, err := tunnel.OpenTUN(tunnel.TUNOptions{Name: Device, Allow: allTUN, Stop: stop})
	must(t, err)
	defer dev.Close()
	link, err := netlink.LinkByName(Device)
	must(t, err)
	must(t, netlink.LinkSetTxQLen(link, 10))
	must(t, netlink.LinkSetUp(link))
	_, network, err := net.ParseCIDR("10.5.0.0/16")
	must(t, err)
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: network}))
	port, err := tunnel.OpenPort(tunnel.PortOptions{Local: netip.MustParseAddrPort("192.168.50.1:0"), Allow: allPort, Stop: stop, Buffer: 1})
	must(t, err)
	defer port.Close()

	p := &plane{ends: &ends{stop: stop, dev: dev, ports: [][2]*tunnel.Port{{port}}, lost: make([][2]uint32, 1)}, down: make([][2]counters, 1)}
	p.sample()
	if got := p.Drops(); len(got) != 0 {
		t.Errorf("before anything was lost: %v", got)
	}
	out, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.168.50.1:0")))
	must(t, err)
	defer out.Close()
	for range 100 {
		for _, to := range []netip.AddrPort{port.Local(), netip.MustParseAddrPort("10.5.2.2:9")} {
			_, err := out.WriteToUDPAddrPort(make([]byte, 1000), to)
			must(t, err)
		}
	}
	p.sample()
	p.sample()
	got := p.Drops()
	for _, reason := range []encap.Drop{encap.SockRecvFull, encap.TunQueueFull} {
		if n := got[reason.String()]; n < 50 || n > 100 {
			t.Errorf("%d packets of 100 counted as %v", n, reason)
		}
	}
}
