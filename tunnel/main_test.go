package tunnel

import (
	"errors"
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
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds how long a test waits for an event before it fails.
const patience = 20 * time.Second

// childEnv tells a test that it runs inside the user namespace made by
// TestUserNS.
const childEnv = "WEFT_TUNNEL_TEST_CHILD"

// TestUserNS runs the tests that need a network namespace as the root of a
// user namespace, which is all that a plain user can be.
func TestUserNS(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		t.Skip("this is the child")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^Test(TUN|Plain|Port|Assume|KernelAssumption)", "-test.v", "-test.count=1", "-test.timeout="+childLimit(t).String())
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWNET | unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Fatalf("%v\n%s", err, out)
	case err != nil:
		t.Skipf("no user namespaces here: %v", err)
	case !strings.Contains(string(out), "--- PASS: TestTUN"):
		t.Skipf("no TUN device in a user namespace here:\n%s", out)
	}
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

// namespace puts the test's thread into a network namespace of its own, with
// loopback up.
func namespace(t testing.TB) {
	t.Helper()
	if !ownNamespace(t) {
		t.Skip("needs a network namespace: run as root, or see TestUserNS")
	}
}

// ownNamespace is namespace for tests that can do without.
func ownNamespace(t testing.TB) bool {
	t.Helper()
	runtime.LockOSThread()
	old, err := netns.Get()
	must(t, err)
	ns, err := netns.New()
	if errors.Is(err, unix.EPERM) {
		old.Close()
		runtime.UnlockOSThread()
		return false
	}
	must(t, err)
	t.Cleanup(func() {
		if err := netns.Set(old); err == nil { // otherwise the thread ends with the test
			runtime.UnlockOSThread()
		}
		ns.Close()
		old.Close()
	})
	must(t, netlink.LinkSetUp(link(t, "lo")))
	return true
}

func link(t testing.TB, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	return l
}

// dummy makes a device that swallows packets, so that there is a link with an
// MTU and a neighbour on it.
func dummy(t testing.TB, mtu int, addrs ...string) netlink.Link {
	t.Helper()
	attrs := netlink.LinkAttrs{Name: "wire0", MTU: mtu}
	// A veth whose other end nobody looks at: the dummy driver is a module
	// that is often missing.
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wire1"}))
	for _, name := range []string{"wire0", "wire1"} {
		must(t, netlink.LinkSetUp(link(t, name)))
	}
	assign(t, "wire0", addrs...)
	return link(t, "wire0")
}

func assign(t testing.TB, dev string, addrs ...string) {
	t.Helper()
	for _, a := range addrs {
		must(t, netlink.AddrAdd(link(t, dev), &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD}))
	}
}

func ipNet(s string) *net.IPNet {
	p := netip.MustParsePrefix(s)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func sysctl(t testing.TB, name, value string) {
	t.Helper()
	must(t, os.WriteFile("/proc/sys/net/"+name, []byte(value), 0))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// stopper makes a Stopper that ends the test's waiting when patience is over.
func stopper(t testing.TB) *Stopper {
	t.Helper()
	s, err := NewStopper()
	must(t, err)
	watchdog := time.AfterFunc(patience, s.Stop)
	t.Cleanup(func() {
		watchdog.Stop()
		s.Stop()
		must(t, s.Close())
	})
	return s
}

// await waits for an answer from a goroutine.
func await(t testing.TB, what string, ch <-chan error) error {
	t.Helper()
	select {
	case err := <-ch:
		return err
	case <-time.After(patience):
		t.Fatalf("%s: still waiting", what)
		return nil
	}
}
