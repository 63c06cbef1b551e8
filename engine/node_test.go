package engine

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/engine/iface"
	"weft/lease"
)

// A node belongs to a whole process, whose threads must all be in one network
// namespace. So these tests run in a child process that was born in its own.

// childEnv tells a test that it is that child.
const childEnv = "WEFT_ENGINE_TEST_CHILD"

func inChild(t *testing.T, flags uintptr, f func(t *testing.T)) {
	if os.Getenv(childEnv) != "" {
		f(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1", "-test.timeout=120s")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | flags}
	if flags != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Fatalf("%v\n%s", err, out)
	case err != nil:
		t.Skipf("no namespaces here: %v", err)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("skipped in the child:\n%s", out)
	case !bytes.Contains(out, []byte("--- PASS")):
		t.Fatalf("the child ran nothing:\n%s", out)
	}
}

// TestNodeLife follows a node from its start over a few mishaps to its end.
func TestNodeLife(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a network namespace without a user namespace needs root; see TestUserNSNodeLife")
	}
	inChild(t, 0, testNodeLife)
}

// TestUserNSNodeLife is the same as the root of a user namespace.
func TestUserNSNodeLife(t *testing.T) { inChild(t, unix.CLONE_NEWUSER, testNodeLife) }

const dualConf = `{"Network": "10.5.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:10:5::/48", "Backend": {"Type": "udp"}}`

// underlay makes a wire with our address at one end and node 2's at the other.
func underlay(t *testing.T) {
	t.Helper()
	if f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
		t.Skipf("no TUN devices here: %v", err)
	} else {
		f.Close()
	}
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wire0"}, PeerName: "wire1"}))
	for dev, addrs := range map[string][]string{"lo": nil, "wire0": {"192.168.50.1/24", "fd50::1/64"}, "wire1": {"192.168.50.2/32"}} {
		l, err := netlink.LinkByName(dev)
		must(t, err)
		must(t, netlink.LinkSetUp(l))
		for _, a := range addrs {
			p := netip.MustParsePrefix(a)
			must(t, netlink.AddrAdd(l, &netlink.Addr{Flags: unix.IFA_F_NODAD,
				IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}))
		}
	}
}

// A living is a node that runs, and what a test sees of it.
type living struct {
	*script
	*journal
	t    *testing.T
	node *Node
	dir  string
	stop context.CancelFunc
	done chan error
	peer *net.UDPConn // node 2's socket
}

// live starts node 1 and waits until it is ready.
func live(t *testing.T, dir string) *living {
	t.Helper()
	l := &living{script: newScript(t, dualConf, node(1)), journal: newJournal(t), t: t, dir: dir, done: make(chan error, 1)}
	ready := make(chan struct{})
	var err error
	l.node, err = New(Options{Registrar: l.script, Source: l.script, Iface: iface.Options{Iface: []string{"wire0"}},
		ProbeInterval: -1, SubnetFile: filepath.Join(dir, "subnet.env"), Blackhole: true, Log: l.logger(), OnReady: func() { close(ready) }})
	must(t, err)
	if ok, why := l.node.Ready(); ok || why != "starting" {
		t.Errorf("before Run: ready %v, %q", ok, why)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	go func() { l.done <- l.node.Run(ctx) }()
	// Packets could flow, but nobody is known to whom: that is not ready yet.
	l.await("data plane open")
	if ok, _ := l.node.Ready(); ok {
		t.Error("ready before the peers were listed")
	}
	l.tell(lease.Update{Full: true}, nil)
	select {
	case <-ready:
	case err := <-l.done:
		t.Fatalf("Run: %v", err)
	case <-time.After(patience):
		t.Fatal("the node does not become ready")
	}
	return l
}

// end stops the node and waits for it.
func (l *living) end() {
	l.t.Helper()
	l.stop()
	select {
	case err := <-l.done:
		if err != nil {
			l.t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		l.t.Fatal("the node does not stop")
	}
}

// kernel holds the kernel to what a node needs, and returns the device.
func (l *living) kernel() netlink.Link {
	l.t.Helper()
	dev, err := netlink.LinkByName(Device)
	must(l.t, err)
	if a := dev.Attrs(); a.MTU != 1472 || a.Flags&net.FlagUp == 0 {
		l.t.Errorf("the device has an MTU of %d and flags %v", a.MTU, a.Flags)
	}
	var addrs, routes []string
	list, err := netlink.AddrList(dev, netlink.FAMILY_ALL)
	must(l.t, err)
	for _, a := range list {
		addrs = append(addrs, a.IPNet.String())
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := netlink.RouteList(nil, family)
		must(l.t, err)
		for _, r := range list {
			if r.LinkIndex == dev.Attrs().Index || r.Type == unix.RTN_BLACKHOLE {
				routes = append(routes, r.Dst.String())
			}
		}
	}
	for _, want := range []string{"10.5.1.0/32", "fd00:10:5:1::/128"} {
		if !slices.Contains(addrs, want) {
			l.t.Errorf("addresses %v lack %s", addrs, want)
		}
	}
	for _, want := range []string{"10.5.0.0/16", "10.5.1.0/24", "fd00:10:5::/48", "fd00:10:5:1::/64"} {
		if !slices.Contains(routes, want) {
			l.t.Errorf("routes %v lack %s", routes, want)
		}
	}
	return dev
}

// traffic sends a packet each way and waits for it at the other end.
func (l *living) traffic() {
	l.t.Helper()
	if l.peer == nil {
		var err error
		l.peer, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(outer(2)))
		must(l.t, err)
		l.t.Cleanup(func() { l.peer.Close() })
	}
	pod, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.5.1.0:5000")))
	must(l.t, err)
	defer pod.Close()
	for _, c := range []*net.UDPConn{l.peer, pod} {
		must(l.t, c.SetReadDeadline(time.Now().Add(patience)))
	}
	_, err = pod.WriteToUDPAddrPort([]byte("up"), netip.MustParseAddrPort("10.5.2.9:4000"))
	must(l.t, err)
	buf := make([]byte, 2000)
	n, from, err := l.peer.ReadFromUDPAddrPort(buf)
	must(l.t, err)
	want := finished(ip("10.5.1.0", "10.5.2.9", udp, udpDatagram(5000, 4000, []byte("up"))))
	if from != outer(1) {
		l.t.Errorf("the datagram comes from %v", from)
	}
	samePackets(l.t, [][]byte{buf[:n]}, [][]byte{hops(want, 1)})

	_, err = l.peer.WriteToUDPAddrPort(finished(ip("10.5.2.9", "10.5.1.0", udp, udpDatagram(4000, 5000, []byte("down")))), outer(1))
	must(l.t, err)
	n, from, err = pod.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != "down" || from.String() != "10.5.2.9:4000" {
		l.t.Errorf("%q from %v, %v", buf[:n], from, err)
	}
}

func (l *living) wantReady(want bool, cause string) {
	l.t.Helper()
	eventually(l.t, cause, func() bool {
		ok, why := l.node.Ready()
		return ok == want && strings.Contains(why, cause)
	})
}

func testNodeLife(t *testing.T) {
	underlay(t)
	dir := t.TempDir()
	l := live(t, dir)
	l.wantReady(true, "")
	env, err := os.ReadFile(filepath.Join(dir, "subnet.env"))
	must(t, err)
	if want := "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.1.1/24\nFLANNEL_IPV6_NETWORK=fd00:10:5::/48\n" +
		"FLANNEL_IPV6_SUBNET=fd00:10:5:1::1/64\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n"; string(env) != want {
		t.Errorf("subnet.env is\n%swant\n%s", env, want)
	}
	if c := <-l.claims; c.Attrs.PublicIP.String() != "192.168.50.1" || c.Attrs.PublicIPv6.String() != "fd50::1" || c.Previous.Subnet.IsValid() {
		t.Errorf("the claim is %+v", c)
	}
	first := l.kernel()

	l.tell(lease.Update{Full: true, Events: []lease.Event{{Type: lease.Added, Lease: node(2)}}}, nil)
	l.await("peer added")
	l.traffic()

	// A store that errs, or brings leases that cannot be used, changes nothing.
	l.tell(lease.Update{}, errors.New("etcd is away"))
	l.await("etcd is away")
	foreign := node(3)
	foreign.Subnet = netip.MustParsePrefix("192.0.2.0/24")
	l.tell(lease.Update{Events: []lease.Event{{Type: lease.Added, Lease: foreign}}}, nil)
	l.await("lease not used")
	l.wantReady(true, "")
	l.traffic()

	// Somebody deletes the device: it comes back, with all that belongs to it.
	must(t, netlink.LinkDel(first))
	l.await("data plane lost")
	l.await("data plane open")
	l.wantReady(true, "")
	if again := l.kernel(); again.Attrs().Index == first.Attrs().Index {
		t.Error("the device was not deleted")
	}
	l.traffic()

	// Somebody takes our subnet: we say so and carry on.
	l.keep <- errors.Join(errors.New("key 10.5.1.0-24"), lease.ErrTaken)
	l.await("another node holds this node's subnet")
	l.wantReady(false, "another node holds")
	l.traffic()
	if n := len(l.node.plane.(*plane).table.Load().peers); n != 1 {
		t.Errorf("%d peers, want 1", n)
	}
	l.end()

	// The device, its addresses and routes outlive the node; the next one
	// finds them and claims the same subnet.
	before := l.kernel()
	must(t, l.peer.Close())
	next := live(t, dir)
	if after := next.kernel(); after.Attrs().Index != before.Attrs().Index {
		t.Error("a restart makes another device")
	}
	if c := <-next.claims; c.Previous.Subnet != node(1).Subnet || c.Previous.Subnet6 != node(1).Subnet6 {
		t.Errorf("the claim after a restart names %+v", c.Previous)
	}
	next.end()
}
