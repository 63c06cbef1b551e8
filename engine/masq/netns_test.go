package masq

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// childEnv tells a test that it runs in a process with a network namespace of
// its own.
const childEnv = "WEFT_MASQ_TEST_CHILD"

// inNamespaces runs f in fresh network namespaces: as root in a plain one, and
// for everybody in one that belongs to a user namespace. The test binary is
// started again for each, so that f owns a whole process and the programs it
// starts are in the namespace as well.
func inNamespaces(t *testing.T, f func(t *testing.T)) {
	if os.Getenv(childEnv) != "" {
		f(t)
		return
	}
	t.Run("root", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Skip("a network namespace without a user namespace needs root")
		}
		runChild(t, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET})
	})
	t.Run("user namespace", func(t *testing.T) {
		runChild(t, &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWNET | unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		})
	})
}

func runChild(t *testing.T, attr *syscall.SysProcAttr) {
	name, _, _ := strings.Cut(t.Name(), "/")
	cmd := exec.Command(os.Args[0], "-test.run=^"+name+"$", "-test.v", "-test.count=1", "-test.timeout="+childLimit(t).String())
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		t.Skipf("no namespaces here: %v", err)
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP: "+name+" "):
		t.Skip(string(out))
	case strings.Contains(string(out), "no tests to run"):
		t.Fatalf("the child ran nothing:\n%s", out)
	}
	t.Logf("%s", out)
}

// childLimit lets a child give up while there is time left to show what it
// said. Zero is no limit.
func childLimit(t *testing.T) time.Duration {
	end, ok := t.Deadline()
	if !ok {
		return 0
	}
	return time.Until(end) * 9 / 10
}

// run returns what a program prints, and skips the test if it is not installed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within runs f on a thread in the namespace ns; the thread ends with it.
func within(ns netns.NsHandle, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func newNamespace(t *testing.T) netns.NsHandle {
	t.Helper()
	type result struct {
		ns  netns.NsHandle
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread()
		ns, err := netns.New()
		made <- result{ns, err}
	}()
	r := <-made
	must(t, r.err)
	t.Cleanup(func() { r.ns.Close() })
	return r.ns
}

// A lab is a node, in the namespace of the process, between a pod and the
// outside, which also plays a remote pod:
//
//	pod 10.5.1.2 ── 10.5.1.1 node 192.0.2.1 ── 192.0.2.2 outside, 10.5.2.2
//
// and the same with fd00:10:5:1::/64, 2001:db8::/64 and fd00:10:5:2::/64. The
// node has 198.51.100.1 and 2001:db8:1::1 besides.
type lab struct{ pod, outside netns.NsHandle }

func newLab(t *testing.T) lab {
	t.Helper()
	l := lab{newNamespace(t), newNamespace(t)}
	here, err := netns.Get()
	must(t, err)
	defer here.Close()
	address(t, here, "lo", "198.51.100.1/32", "2001:db8:1::1/128")
	address(t, l.pod, "lo") // up, because package net looks for ::1 to know whether there is IPv6
	address(t, l.outside, "lo")
	cable(t, l.pod, "veth-pod")
	cable(t, l.outside, "veth-out")
	address(t, here, "veth-pod", "10.5.1.1/24", "fd00:10:5:1::1/64")
	address(t, here, "veth-out", "192.0.2.1/24", "2001:db8::1/64")
	address(t, l.pod, "eth0", "10.5.1.2/24", "fd00:10:5:1::2/64")
	address(t, l.outside, "eth0", "192.0.2.2/24", "2001:db8::2/64", "10.5.2.2/32", "fd00:10:5:2::2/128")
	route(t, l.pod, "0.0.0.0/0", "10.5.1.1")
	route(t, l.pod, "::/0", "fd00:10:5:1::1")
	route(t, l.outside, "0.0.0.0/0", "192.0.2.1")
	route(t, l.outside, "::/0", "2001:db8::1")
	route(t, here, "10.5.2.0/24", "192.0.2.2")
	route(t, here, "fd00:10:5:2::/64", "2001:db8::2")
	for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		must(t, os.WriteFile("/proc/sys/net/"+key, []byte("1"), 0o644))
	}
	return l
}

// cable joins the namespace of the process, by the device name, with eth0 in
// ns.
func cable(t *testing.T, ns netns.NsHandle, name string) {
	t.Helper()
	must(t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns)}))
}

func address(t *testing.T, ns netns.NsHandle, dev string, cidrs ...string) {
	t.Helper()
	h, err := netlink.NewHandleAt(ns)
	must(t, err)
	defer h.Close()
	link, err := h.LinkByName(dev)
	must(t, err)
	must(t, h.LinkSetUp(link))
	for _, cidr := range cidrs {
		a, err := netlink.ParseAddr(cidr)
		must(t, err)
		a.Flags = unix.IFA_F_NODAD
		must(t, h.AddrAdd(link, a))
	}
}

func route(t *testing.T, ns netns.NsHandle, to, via string) {
	t.Helper()
	h, err := netlink.NewHandleAt(ns)
	must(t, err)
	defer h.Close()
	_, dst, err := net.ParseCIDR(to)
	must(t, err)
	must(t, h.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)}))
}

// mirror answers each datagram to port 7 of ns with the address it came from.
func mirror(t *testing.T, ns netns.NsHandle) {
	t.Helper()
	var c *net.UDPConn
	must(t, within(ns, func() (err error) {
		c, err = net.ListenUDP("udp", &net.UDPAddr{Port: 7})
		return err
	}))
	t.Cleanup(func() { c.Close() })
	// The answer must leave from the address that was asked.
	must(t, ipPacketInfo(c))
	go func() {
		b, oob := make([]byte, 16), make([]byte, 128)
		for {
			_, n, _, from, err := c.ReadMsgUDPAddrPort(b, oob)
			if err != nil {
				return
			}
			// An error is a lost answer, which the asker notices.
			_, _, _ = c.WriteMsgUDPAddrPort([]byte(from.Addr().Unmap().String()), oob[:n], from)
		}
	}()
}

func ipPacketInfo(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	})
	return errors.Join(err, set)
}

// sourceSeen asks the mirror at dst under which address a new flow from src, in
// ns, arrives there. patience is for one datagram.
func sourceSeen(ns netns.NsHandle, src, dst string, tries int, patience time.Duration) (seen string, err error) {
	var c *net.UDPConn
	err = within(ns, func() (err error) {
		c, err = net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(src)},
			net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(dst), 7)))
		return err
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	b := make([]byte, 64)
	for range tries {
		if _, err = c.Write([]byte("?")); err != nil {
			continue
		}
		if err = c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return "", err
		}
		var n int
		if n, err = c.Read(b); err == nil {
			return string(b[:n]), nil
		}
	}
	return "", fmt.Errorf("%s to %s: %w", src, dst, err)
}
