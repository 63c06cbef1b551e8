package route

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"weft/engine/route/rtmon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds how long a test waits for an event before it fails.
const patience = 20 * time.Second

// device makes a link (a bridge, which every kernel that runs pods has), up if
// addresses are given.
func device(t *testing.T, name string, addrs ...string) netlink.Link {
	t.Helper()
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}); err != nil {
		t.Fatal(err)
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		must(t, netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(pfx(a)), Flags: unix.IFA_F_NODAD}))
		must(t, netlink.LinkSetUp(l))
	}
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reconciler opens one that logs into the test's output, and text.
func reconciler(t *testing.T, text *strings.Builder) *Reconciler {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if text != nil {
		log = slog.New(slog.NewTextHandler(text, nil))
	}
	r, err := New(log)
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	return r
}

// running starts Run and stops it at the end of the test. Only events wake it.
func running(t *testing.T, r *Reconciler) {
	t.Helper()
	r.every = 1000 * patience
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
}

// await waits for events until what cond describes has come true.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	mon, err := rtmon.Open(rtmon.Links | rtmon.Addrs | rtmon.Routes)
	must(t, err)
	defer mon.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for !cond() {
		if _, err := mon.Next(ctx); err != nil && !errors.Is(err, rtmon.ErrLost) {
			t.Fatalf("waiting for %s: %v", what, err)
		}
	}
}

// differs returns what the kernel's state lacks, in words; empty is good.
func differs(t *testing.T, d Desired) []string {
	t.Helper()
	n, err := d.normal()
	must(t, err)
	k, err := openKernel()
	must(t, err)
	defer k.close()
	l, missing, err := k.link(n.Link)
	if missing {
		return []string{"no link"}
	}
	must(t, err)
	a, err := k.snapshot(n, l)
	must(t, err)
	var out []string
	changes, _ := plan(n, a)
	for _, c := range changes {
		out = append(out, c.String())
	}
	return out
}

// table lists the main table as text.
func table(t *testing.T, family int) []string {
	t.Helper()
	k, err := openKernel()
	must(t, err)
	defer k.close()
	list, err := k.h.RouteList(nil, family)
	must(t, err)
	var out []string
	for _, r := range list {
		e, ok := fromWire(r, map[int]string{}, func(key) bool { return true })
		if ok {
			e.Link = k.name(e.Link, map[int]string{})
			out = append(out, e.String())
		}
	}
	return out
}

func has(t *testing.T, family int, route string) bool {
	t.Helper()
	return slices.Contains(table(t, family), route)
}

func dual() Desired {
	d := udp()
	d.Addrs = append(d.Addrs, pfx("fd00:10:5:1::/128"))
	d.Routes = append(d.Routes,
		Route{Dst: pfx("fd00:10:5::/48")},
		Route{Dst: pfx("10.5.1.0/24"), Blackhole: true, Metric: 4096},
		Route{Dst: pfx("fd00:10:5:1::/64"), Blackhole: true, Metric: 4096},
		Route{Dst: pfx("10.5.2.0/24"), Via: addr("10.5.2.0"), Onlink: true, Src: addr("10.5.1.0")},
		Route{Dst: pfx("fd00:10:5:2::/64"), Via: addr("fd00:10:5:2::"), Onlink: true})
	return d
}

func sysctl(t *testing.T, name string) string {
	t.Helper()
	runtime.LockOSThread() // the thread is already; this says why it matters
	defer runtime.UnlockOSThread()
	b, err := os.ReadFile("/proc/sys/" + name)
	must(t, err)
	return strings.TrimSpace(string(b))
}

func linkOf(t *testing.T, name string) *netlink.LinkAttrs {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	return l.Attrs()
}

func addrsOf(t *testing.T, name string) (out []netip.Prefix) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	must(t, err)
	for _, a := range list {
		p, _ := prefix(a.IPNet)
		out = append(out, p)
	}
	return out
}

func isUp(a *netlink.LinkAttrs) bool { return a.Flags&net.FlagUp != 0 }
