package probe

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/engine/internal/nstest"
)

// openTUN makes a device in the test's namespace that has the addresses b4 and
// b6 and behind which a4 and a6 lie: to the kernel, packets written to it come
// from a peer.
func openTUN(t *testing.T) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skip("needs /dev/net/tun: ", err)
	}
	req, err := unix.NewIfreq("peer0")
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		unix.Close(fd)
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "peer0") // only now can it be polled
	t.Cleanup(func() { f.Close() })
	l, err := netlink.LinkByName("peer0")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []netip.Addr{b4, b6} {
		addr, err := netlink.ParseAddr(fmt.Sprintf("%s/%d", a, a.BitLen()))
		if err != nil {
			t.Fatal(err)
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(l, addr); err != nil {
			t.Skip("no such addresses here: ", err)
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		t.Fatal(err)
	}
	for _, a := range []netip.Addr{a4, a6} {
		dst, err := netlink.ParseIPNet(fmt.Sprintf("%s/%d", a, a.BitLen()))
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst}); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// awaitAddress waits until dst answers: the kernel makes an IPv6 address its own
// some time after it was told to.
func awaitAddress(ctx context.Context, t *testing.T, p *Prober, src, dst netip.Addr) {
	t.Helper()
	for {
		soon, cancel := context.WithTimeout(ctx, 100*ms)
		_, _, err := p.Ping(soon, "b", src, dst, 0)
		if cancel(); err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%s: %v", dst, err)
		}
	}
}

// A kernel echoes what we send it, up to its device's MTU, and refuses questions
// in the way that shows that it is no weft node.
func TestKernelAnswers(t *testing.T) {
	nstest.Enter(t)
	tun := openTUN(t)
	p := New(Options{Send: func(_ string, b []byte) error { _, err := tun.Write(b); return err }})
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	running.Go(func() {
		for b := make([]byte, 65536); ; {
			n, err := tun.Read(b)
			if err != nil {
				return // closed
			}
			p.Input(b[:n], themAt, "b") // what is not ours is the kernel's own talk
		}
	})
	defer func() {
		stop()
		tun.Close()
		running.Wait()
	}()
	for _, at := range [][2]netip.Addr{{a4, b4}, {a6, b6}} {
		awaitAddress(ctx, t, p, at[0], at[1])
		for _, size := range []int{0, MinEcho(at[1]), 576, 1301, 1500} {
			if rtt, from, err := p.Ping(ctx, "b", at[0], at[1], size); err != nil || rtt <= 0 || from != themAt.Addr() {
				t.Errorf("%s, %d bytes: %v from %v, %v", at[1], size, rtt, from, err)
			}
		}
		if _, err := p.Ask(ctx, "b", at[0], at[1], at[0]); err != ErrNotWeft {
			t.Errorf("%s: %v", at[1], err)
		}
	}
}
