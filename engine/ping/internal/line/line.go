// Package line gives a test three hosts in a row, each a network namespace of
// its own, and real kernels between them.
//
//	near                      router                        far
//	eth0 10.9.1.1  ──────  near 10.9.1.2 | far 10.9.2.2  ──────  eth0 10.9.2.1
//	     fd09:1::1              fd09:1::2      fd09:2::2              fd09:2::1
//
// The test's own thread is in near; the other two live until the test ends.
package line

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"weft/engine/internal/nstest"
)

// Addresses of the line, IPv4 and IPv6.
var (
	Near   = [2]netip.Addr{netip.MustParseAddr("10.9.1.1"), netip.MustParseAddr("fd09:1::1")}
	Router = [2]netip.Addr{netip.MustParseAddr("10.9.1.2"), netip.MustParseAddr("fd09:1::2")}
	Far    = [2]netip.Addr{netip.MustParseAddr("10.9.2.1"), netip.MustParseAddr("fd09:2::1")}
)

// A Host is one of the three.
type Host struct {
	*netlink.Handle
	t    testing.TB
	jobs chan func() error // nil: the test's own thread
	done chan error
}

// A Line is the three of them.
type Line struct{ Near, Router, Far *Host }

// New makes a line, or skips the test where that is not allowed.
func New(t testing.TB) *Line {
	t.Helper()
	nstest.Enter(t)
	l := &Line{Near: &Host{t: t}, Router: away(t), Far: away(t)}
	l.Near.check(l.Near.settle())
	l.Near.veth("eth0", l.Router, "near")
	l.Router.veth("far", l.Far, "eth0")
	l.Router.Sysctl("net.ipv4.ip_forward", "1")
	l.Router.Sysctl("net.ipv6.conf.all.forwarding", "1")
	for i, bits := range []int{24, 64} {
		last := netip.MustParsePrefix([]string{"10.9.2.2/24", "fd09:2::2/64"}[i])
		l.Near.Address("eth0", netip.PrefixFrom(Near[i], bits))
		l.Router.Address("near", netip.PrefixFrom(Router[i], bits))
		l.Router.Address("far", last)
		l.Far.Address("eth0", netip.PrefixFrom(Far[i], bits))
		l.Near.route(&netlink.Route{Gw: Router[i].AsSlice()})
		l.Far.route(&netlink.Route{Gw: last.Addr().AsSlice()})
	}
	return l
}

// away makes a host on a thread of its own.
func away(t testing.TB) *Host {
	t.Helper()
	h := &Host{t: t, jobs: make(chan func() error), done: make(chan error)}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		runtime.LockOSThread() // for good: the thread ends here
		for job := range h.jobs {
			h.done <- job()
		}
	}()
	t.Cleanup(func() { close(h.jobs); <-gone })
	h.Do(func() error {
		ns, err := netns.New()
		if err != nil {
			return err
		}
		defer ns.Close()
		return h.settle()
	})
	t.Cleanup(h.Close)
	return h
}

// settle opens the namespace's netlink socket and sets its loopback up.
func (h *Host) settle() (err error) {
	if h.Handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return err
	}
	if h.jobs == nil {
		h.t.Cleanup(h.Close)
	}
	// Link-local addresses are for use at once, too.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0); err != nil {
		return err
	}
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	return h.LinkSetUp(lo)
}

// Do runs f on the host's thread.
func (h *Host) Do(f func() error) {
	h.t.Helper()
	if h.jobs == nil {
		h.check(f())
		return
	}
	h.jobs <- f
	h.check(<-h.done)
}

func (h *Host) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// Sysctl writes below /proc/sys; dots stand for slashes.
func (h *Host) Sysctl(key, value string) {
	h.t.Helper()
	h.Do(func() error {
		return os.WriteFile("/proc/sys/"+strings.ReplaceAll(key, ".", "/"), []byte(value), 0)
	})
}

// veth joins two hosts; both ends are set up.
func (h *Host) veth(name string, peer *Host, peerName string) {
	h.t.Helper()
	var ns netns.NsHandle
	peer.Do(func() (err error) { ns, err = netns.GetFromPath("/proc/thread-self/ns/net"); return err })
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	h.check(h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peerName, PeerNamespace: netlink.NsFd(int(ns))}))
	h.check(h.LinkSetUp(h.Link(name)))
	peer.check(peer.LinkSetUp(peer.Link(peerName)))
}

// Link returns a link of the host.
func (h *Host) Link(name string) netlink.Link {
	h.t.Helper()
	l, err := h.LinkByName(name)
	if err != nil {
		h.t.Fatal(fmt.Errorf("link %s: %w", name, err))
	}
	return l
}

// Bridge makes a bridge without ports, with addresses.
func (h *Host) Bridge(name string, addresses ...netip.Prefix) {
	h.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	h.check(h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	h.check(h.LinkSetUp(h.Link(name)))
	for _, a := range addresses {
		h.Address(name, a)
	}
}

// MTU sets that of a link, in bytes of IP.
func (h *Host) MTU(link string, mtu int) {
	h.t.Helper()
	h.check(h.LinkSetMTU(h.Link(link), mtu))
}

// Address gives a link an address that can be used at once.
func (h *Host) Address(link string, a netip.Prefix) {
	h.t.Helper()
	addr := &netlink.Addr{IPNet: ipNet(a)}
	if a.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	h.check(h.AddrAdd(h.Link(link), addr))
}

// Refuse adds a route that leads nowhere: of type unix.RTN_PROHIBIT,
// RTN_UNREACHABLE, or RTN_BLACKHOLE.
func (h *Host) Refuse(dst netip.Prefix, kind int) {
	h.t.Helper()
	h.route(&netlink.Route{Dst: ipNet(dst), Type: kind})
}

// Via adds a route by way of a neighbour on the link.
func (h *Host) Via(link string, dst netip.Prefix, via netip.Addr) {
	h.t.Helper()
	h.route(&netlink.Route{LinkIndex: h.Link(link).Attrs().Index, Dst: ipNet(dst), Gw: via.AsSlice()})
}

func (h *Host) route(r *netlink.Route) {
	h.t.Helper()
	h.check(h.RouteAdd(r))
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
