package route

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/engine/internal/nstest"
)

// More addresses than one datagram carries, of both families and all fates.
func TestFind(t *testing.T) {
	nstest.Enter(t)
	eth0 := device(t, "eth0", "192.168.0.1/16").Attrs().Index
	eth1 := device(t, "eth1", "fd00:50::1/64").Attrs().Index
	must(t, netlink.RouteAdd(to("203.0.113.0/24", "192.168.0.254")))
	var addrs []netip.Addr
	var want []int
	for i := range 2*maxAsked + 3 {
		addrs = append(addrs, addr(fmt.Sprintf("192.168.1.%d", i)), addr(fmt.Sprintf("203.0.113.%d", i)),
			addr(fmt.Sprintf("fd00:50::2:%x", i)), addr(fmt.Sprintf("fd00:60::%x", i)), addr("192.168.0.1"))
		want = append(want, eth0, 0, eth1, 0, 0)
	}
	f, err := openFinder()
	must(t, err)
	defer f.close()
	// An answer that nobody waited for is no answer to the next question.
	_, err = unix.Write(f.fd, appendRequest(nil, f.seq, addr("192.168.1.1")))
	must(t, err)
	f.seq++
	for range 2 {
		got, err := f.find(addrs)
		must(t, err)
		if !slices.Equal(got, want) {
			t.Errorf("found %v\nwant  %v", got, want)
		}
	}
	if got, err := f.find(nil); err != nil || len(got) > 0 {
		t.Errorf("find(nil) = %v, %v", got, err)
	}
}

// What is not an answer to the question is an error, and not "no route".
func TestFindError(t *testing.T) {
	nstest.Enter(t)
	f, err := openFinder()
	must(t, err)
	f.close()
	if f.fd, err = unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if _, err := f.find([]netip.Addr{addr("192.0.2.1")}); err == nil || !strings.Contains(err.Error(), "looking up 192.0.2.1: read: ") {
		t.Errorf("error %v", err)
	}
	refusal := syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.NLMSG_ERROR}, Data: make([]byte, 20)}
	for errno, none := range map[unix.Errno]bool{unix.ENETUNREACH: true, unix.ENOBUFS: false, unix.EPERM: false} {
		binary.NativeEndian.PutUint32(refusal.Data, uint32(-int32(errno)))
		if index, err := answer(refusal); index != 0 || (err == nil) != none {
			t.Errorf("%v: index %d, error %v", errno, index, err)
		}
	}
	if _, err := answer(syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_NEWROUTE}}); err == nil {
		t.Error("an empty route was an answer")
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(uint16(unix.RTM_NEWROUTE), make([]byte, unix.SizeofRtMsg+8))
	f.Add(uint16(unix.NLMSG_ERROR), []byte{1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, typ uint16, b []byte) {
		m := syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: typ}, Data: b}
		if index, err := answer(m); err != nil && index != 0 {
			t.Errorf("index %d with error %v", index, err)
		}
	})
}

// The ways to learn where 1,000 peers are, and what the checks of Run cost
// with them.
func BenchmarkLookups(b *testing.B) {
	nstest.Enter(b)
	r := thousand(b)
	defer r.Close()
	b.Run("finder", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if got, err := r.kern.onlink(r.want.asked, r.index); err != nil || len(got) != 1000 {
				b.Fatal(len(got), err)
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, via := range r.want.asked {
				if _, err := r.kern.h.RouteGetWithOptions(via.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true}); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("dump", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if list, err := r.kern.h.RouteList(nil, netlink.FAMILY_V4); err != nil || len(list) < 1000 {
				b.Fatal(len(list), err)
			}
		}
	})
	for name, depth := range map[string]depth{"check lookups": lookups, "check state": state} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r.check(b.Context(), depth) {
					b.Fatal("something was repaired")
				}
			}
		})
	}
}

// thousand installs direct routes to as many peers.
func thousand(b *testing.B) *Reconciler {
	b.Helper()
	for name, a := range map[string]string{"eth0": "172.16.0.1/16", "flannel0": ""} {
		link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
		if err := netlink.LinkAdd(link); err != nil {
			b.Fatal(err)
		}
		if a == "" {
			continue
		}
		if err := netlink.AddrAdd(link, quick(a)); err != nil {
			b.Fatal(err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			b.Fatal(err)
		}
	}
	d := udp()
	for i := range 1000 {
		via := netip.AddrFrom4([4]byte{172, 16, byte(1 + i/250), byte(i % 250)})
		d.Routes = append(d.Routes, Route{Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(6 + i/250), byte(i % 250), 0}), 24), Via: via, Direct: true})
	}
	r, err := New(nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := r.Set(b.Context(), d); err != nil {
		b.Fatal(err)
	}
	if n := len(r.Direct()); n != 1000 {
		b.Fatalf("%d direct routes", n)
	}
	return r
}
