package route

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/engine/internal/nstest"
	"weft/engine/route/rtmon"
)

func TestSetMakesItTrue(t *testing.T) {
	nstest.Enter(t)
	device(t, "flannel0")
	r := reconciler(t, nil)
	must(t, r.Set(t.Context(), dual()))

	if a := linkOf(t, "flannel0"); a.MTU != 1472 || !isUp(a) {
		t.Errorf("MTU %d, flags %v", a.MTU, a.Flags)
	}
	if got := addrsOf(t, "flannel0"); !slices.Equal(got, dual().Addrs) {
		t.Errorf("addresses %v, want %v: no link-local one either", got, dual().Addrs)
	}
	l, err := netlink.LinkByName("flannel0")
	must(t, err)
	list, err := netlink.AddrList(l, netlink.FAMILY_V6)
	must(t, err)
	for _, a := range list {
		if a.Flags&unix.IFA_F_NODAD == 0 {
			t.Errorf("%v is subject to duplicate address detection", a)
		}
	}
	for family, want := range map[int][]string{
		netlink.FAMILY_V4: {"10.5.0.0/16 dev flannel0 proto 241",
			"blackhole 10.5.1.0/24 metric 4096 proto 241",
			"10.5.2.0/24 via 10.5.2.0 dev flannel0 src 10.5.1.0 onlink proto 241"},
		netlink.FAMILY_V6: {"fd00:10:5::/48 dev flannel0 metric 1024 proto 241",
			"blackhole fd00:10:5:1::/64 metric 4096 proto 241",
			"fd00:10:5:2::/64 via fd00:10:5:2:: dev flannel0 metric 1024 onlink proto 241"},
	} {
		for _, w := range want {
			if !has(t, family, w) {
				t.Errorf("no %q in %q", w, table(t, family))
			}
		}
	}
	if !r.AcceptLocal() || sysctl(t, "net/ipv4/conf/flannel0/accept_local") != "1" {
		t.Error("accept_local is off")
	}
	if got := sysctl(t, "net/ipv6/conf/flannel0/accept_ra"); got != "0" {
		t.Errorf("accept_ra = %s", got)
	}
	if n := r.Repairs(); n != 0 {
		t.Errorf("Set counted %d repairs", n)
	}
}

// A second Set, and the first one of a restarted process, must change nothing.
func TestSetIsIdempotent(t *testing.T) {
	nstest.Enter(t)
	device(t, "flannel0")
	must(t, reconciler(t, nil).Set(t.Context(), dual()))

	var log strings.Builder
	again, err := New(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	must(t, err)
	defer again.Close()
	mon, err := rtmon.Open(rtmon.Routes | rtmon.Links)
	must(t, err)
	defer mon.Close()
	must(t, again.Set(t.Context(), dual()))
	must(t, again.Set(t.Context(), dual()))
	if log.Len() > 0 {
		t.Errorf("log:\n%s", &log)
	}
	device(t, "sentinel")
	for {
		events, err := mon.Next(t.Context())
		must(t, err)
		for _, ev := range events {
			if ev.Name == "sentinel" {
				return
			}
			if ev.Kind == rtmon.Route && ev.Protocol == Protocol {
				t.Errorf("the second Set caused %+v", ev)
			}
		}
	}
}

func TestSetRemovesOnlyOurs(t *testing.T) {
	nstest.Enter(t)
	eth := device(t, "eth0", "192.0.2.1/24", "10.1.0.1/16")
	device(t, "flannel0")
	old := udp()
	old.Addrs, old.Routes = append(old.Addrs, pfx("10.4.7.0/32")), append(old.Routes,
		Route{Dst: pfx("10.4.0.0/16")}, Route{Dst: pfx("10.5.9.0/24"), Via: addr("192.0.2.9"), Link: "eth0"})
	must(t, reconciler(t, nil).Set(t.Context(), old))
	must(t, netlink.RouteAdd(&netlink.Route{Dst: ipNet(pfx("10.8.0.0/16")), LinkIndex: eth.Attrs().Index}))
	must(t, netlink.RouteAdd(&netlink.Route{Dst: ipNet(pfx("10.5.8.0/24")), Gw: addr("192.0.2.8").AsSlice()}))
	before := table(t, netlink.FAMILY_V4)

	must(t, reconciler(t, nil).Set(t.Context(), udp())) // a later run
	want := slices.DeleteFunc(before, func(s string) bool {
		return strings.HasPrefix(s, "10.4.0.0/16 ") || strings.HasPrefix(s, "10.5.9.0/24 ")
	})
	if got := table(t, netlink.FAMILY_V4); !slices.Equal(got, want) {
		t.Errorf("table %q\nwant %q", got, want)
	}
	if got := addrsOf(t, "flannel0"); !slices.Equal(got, udp().Addrs) {
		t.Errorf("addresses %v", got)
	}
}

func TestSetLeavesOthersTheirPlace(t *testing.T) {
	nstest.Enter(t)
	device(t, "flannel0")
	device(t, "cni0", "10.5.1.1/24")
	eth := device(t, "eth0", "192.0.2.1/24")
	static := &netlink.Route{Dst: ipNet(pfx("10.5.0.0/16")), LinkIndex: eth.Attrs().Index,
		Gw: addr("192.0.2.9").AsSlice(), Protocol: unix.RTPROT_STATIC}
	must(t, netlink.RouteAdd(static))
	d := udp()
	d.Routes = append(d.Routes, Route{Dst: pfx("10.5.1.0/24"), Blackhole: true}, Route{Dst: pfx("10.6.0.0/16")})

	var log strings.Builder
	r := reconciler(t, &log)
	err := r.Set(t.Context(), d)
	if err == nil || !strings.Contains(err.Error(), "10.5.0.0/16 via 192.0.2.9 dev eth0 proto 4") {
		t.Errorf("error %v does not name the route in the way", err)
	}
	if err != nil && strings.Contains(err.Error(), "cni0") {
		t.Errorf("the bridge's route counts as an error: %v", err)
	}
	if !has(t, netlink.FAMILY_V4, "10.6.0.0/16 dev flannel0 proto 241") {
		t.Error("one conflict kept the other routes from being set")
	}
	r.check(t.Context(), settings)
	r.check(t.Context(), settings)
	if n := strings.Count(log.String(), "route left to another"); n != 2 {
		t.Errorf("%d log lines about two conflicts:\n%s", n, &log)
	}
	must(t, netlink.RouteDel(static))
	must(t, r.Set(t.Context(), d))
}

func TestSetReplacesStockRoute(t *testing.T) {
	nstest.Enter(t)
	eth := device(t, "eth0", "192.0.2.1/24", "fd00:50::1/64")
	device(t, "flannel0")
	d := udp()
	d.Routes = append(d.Routes, Route{Dst: pfx("fd00:10:5:2::/64"), Via: addr("fd00:50::2"), Link: "eth0"})
	for _, gw := range []string{"192.0.2.9", "fd00:50::9"} {
		dst := pfx("10.5.0.0/16")
		if addr(gw).Is6() {
			dst = pfx("fd00:10:5:2::/64")
		}
		must(t, netlink.RouteAdd(&netlink.Route{Dst: ipNet(dst), LinkIndex: eth.Attrs().Index, Gw: addr(gw).AsSlice()}))
	}
	must(t, reconciler(t, nil).Set(t.Context(), d))
	for family, stale := range map[int]string{netlink.FAMILY_V4: "192.0.2.9", netlink.FAMILY_V6: "fd00:50::9"} {
		if text := strings.Join(table(t, family), "\n"); strings.Contains(text, stale) {
			t.Errorf("still there:\n%s", text)
		}
	}
}

// Docker turns IPv6 off for devices to come unless told otherwise.
func TestSetWhereIPv6IsOff(t *testing.T) {
	nstest.Enter(t)
	must(t, os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0o644))
	device(t, "flannel0")
	must(t, reconciler(t, nil).Set(t.Context(), udp()))
	if got := sysctl(t, "net/ipv6/conf/flannel0/disable_ipv6"); got != "1" {
		t.Error("IPv6 was turned on without need")
	}
	must(t, reconciler(t, nil).Set(t.Context(), dual()))
}

func TestSetErrors(t *testing.T) {
	nstest.Enter(t)
	r := reconciler(t, nil)
	if err := r.Set(t.Context(), udp()); err == nil || !strings.Contains(err.Error(), "link flannel0") {
		t.Errorf("missing link: %v", err)
	}
	device(t, "flannel0")
	d := udp()
	d.Routes = append(d.Routes, Route{Dst: pfx("10.5.2.0/24"), Link: "nonesuch"},
		Route{Dst: pfx("10.5.3.0/24"), Via: addr("203.0.113.1")}, Route{Dst: pfx("10.5.4.0/24")})
	err := r.Set(t.Context(), d)
	for _, want := range []string{"10.5.2.0/24 dev nonesuch", "10.5.3.0/24 via 203.0.113.1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %q", err, want)
		}
	}
	if !has(t, netlink.FAMILY_V4, "10.5.4.0/24 dev flannel0 proto 241") {
		t.Error("the good route was not set")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Set(ctx, udp()); err == nil {
		t.Error("Set with an ended context succeeded")
	}
}

// In most containers /proc/sys is read-only; rtnetlink has another way.
func TestAcceptLocalWithoutProcSys(t *testing.T) {
	nstest.Enter(t)
	index := device(t, "flannel0").Attrs().Index
	root := t.TempDir()
	name := acceptLocal("flannel0")
	must(t, os.MkdirAll(filepath.Join(root, name), 0o755)) // a directory cannot be written
	_, failed := ensureSysctls(root, index, map[string]string{name: "1"})
	if len(failed) > 0 {
		t.Errorf("failed: %v", failed)
	}
	if got := sysctl(t, name); got != "1" {
		t.Errorf("accept_local = %s", got)
	}
	other := "net/ipv4/conf/flannel0/forwarding"
	must(t, os.MkdirAll(filepath.Join(root, other), 0o755))
	if _, failed := ensureSysctls(root, index, map[string]string{other: "1"}); failed[other] == nil {
		t.Error("a sysctl that could not be written was not reported")
	}
}
