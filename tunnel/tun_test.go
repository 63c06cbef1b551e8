package tunnel

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tunName is the device of these tests.
const tunName = "weft-test0"

// tunSpace is a namespace in which TUN devices can be opened.
func tunSpace(t testing.TB) {
	t.Helper()
	namespace(t)
	fd, err := openTunFD()
	if err != nil {
		t.Skipf("no TUN devices here: %v", err)
	}
	must(t, unix.Close(fd))
	// Nothing but the test shall speak on the device.
	sysctl(t, "ipv6/conf/default/accept_ra", "0")
	sysctl(t, "ipv6/conf/default/addr_gen_mode", "1")
	sysctl(t, "ipv4/conf/default/accept_local", "1")
	sysctl(t, "ipv4/conf/all/rp_filter", "0")
}

// testTUN opens a device that is closed at the end of the test.
func testTUN(t testing.TB, o TUNOptions) *TUN {
	t.Helper()
	o.Name = tunName
	d, err := OpenTUN(o)
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

// linkUp gives the device our usual addresses and the overlay's routes.
func linkUp(t testing.TB) {
	t.Helper()
	must(t, netlink.LinkSetUp(link(t, tunName)))
	assign(t, tunName, "10.5.1.0/32", "fd00:10:5:1::/128")
	for _, dst := range []string{"10.5.0.0/16", "fd00:10:5::/48"} {
		must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link(t, tunName).Attrs().Index, Dst: ipNet(dst), Scope: netlink.SCOPE_LINK}))
	}
	// The kernel makes an IPv6 address its own a little later (addrconf_wq).
	deadline := time.Now().Add(patience)
	for !isLocal(t, "fd00:10:5:1::") {
		if time.Now().After(deadline) {
			t.Fatal("the device's IPv6 address is not local")
		}
		yield()
	}
}

func isLocal(t testing.TB, addr string) bool {
	t.Helper()
	routes, err := netlink.RouteGet(netip.MustParseAddr(addr).AsSlice())
	must(t, err)
	return len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL
}

const allTUN = Vnet | TSO | USO

// A persistent device is the same one when it is opened again; one that is not
// goes with its last descriptor.
func TestTUNPersist(t *testing.T) {
	tunSpace(t)
	o := TUNOptions{Name: tunName, Persist: true, Allow: allTUN, Stop: stopper(t)}
	var index int
	for range 3 {
		d, err := OpenTUN(o)
		must(t, err)
		now := link(t, tunName).Attrs().Index
		if index != 0 && now != index {
			t.Errorf("index %d, was %d", now, index)
		}
		index = now
		must(t, d.Close())
	}
	o.Persist = false
	d, err := OpenTUN(o)
	must(t, err)
	if now := link(t, tunName).Attrs().Index; now != index {
		t.Errorf("index %d, was %d", now, index)
	}
	must(t, d.Close())
	if _, err := netlink.LinkByName(tunName); !errors.As(err, new(netlink.LinkNotFoundError)) {
		t.Errorf("the device outlives its owner: %v", err)
	}
}

// Errors of opening say what to do, and leave no descriptor behind.
func TestTUNOpenErrors(t *testing.T) {
	tunSpace(t)
	stop := stopper(t)
	testTUN(t, TUNOptions{Allow: allTUN, Stop: stop})
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "weft-test1"}}))
	before := descriptors(t)
	for _, tc := range []struct {
		name  string
		errno unix.Errno
		text  string
	}{
		{tunName, unix.EBUSY, "is flanneld or another weft running?"},
		{"weft-test1", unix.EINVAL, "of another kind"},
		{"a-name-that-is-too-long", 0, "a-name-that-is-too-long"},
	} {
		o := TUNOptions{Name: tc.name, Allow: allTUN, Stop: stop}
		_, tunErr := OpenTUN(o)
		_, plainErr := OpenPlain(o)
		for _, err := range []error{tunErr, plainErr} {
			if err == nil || !strings.Contains(err.Error(), tc.text) || !strings.Contains(err.Error(), tc.name) ||
				tc.errno != 0 && !errors.Is(err, tc.errno) {
				t.Errorf("%s: %v; want %v and %q", tc.name, err, tc.errno, tc.text)
			}
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, %d before the errors", after, before)
	}
}

func descriptors(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(d)
}

// What is allowed and what the kernel has decides about the features.
func TestTUNFeatures(t *testing.T) {
	tunSpace(t)
	stop := stopper(t)
	for _, allow := range []Feature{allTUN, Vnet | TSO, Vnet | USO, Vnet, 0, GSO | GRO} {
		d, err := OpenTUN(TUNOptions{Name: tunName, Allow: allow, Stop: stop, Persist: true})
		must(t, err)
		got := d.Features()
		if got&^allow != 0 || got.Has(Vnet) != allow.Has(Vnet) || got.Has(TSO) != allow.Has(TSO) {
			t.Errorf("%v allowed, %v offered", allow, got)
		}
		must(t, d.Close())
	}
}

// A device that another owner left in another mode serves the new owner in
// his: with offloads after a plain one, and without after one with.
func TestTUNReadopt(t *testing.T) {
	tunSpace(t)
	stop := stopper(t)
	o := TUNOptions{Name: tunName, Persist: true, Allow: allTUN, Stop: stop}
	open := map[string]func() (end, error){
		"tun":   func() (end, error) { return OpenTUN(o) },
		"raw":   func() (end, error) { p := o; p.Allow = 0; return OpenTUN(p) },
		"plain": func() (end, error) { return OpenPlain(o) },
	}
	first := true
	for _, mode := range []string{"plain", "tun", "raw", "tun", "plain", "raw", "plain"} {
		d, err := open[mode]()
		must(t, err)
		if first {
			linkUp(t)
			first = false
		}
		want := train(0, 3, 1000, 700)
		sendTrain(t, "10.5.2.9:4000", want)
		super := mode == "tun" && d.Features().Has(USO)
		var got [][]byte
		batch := NewBatch()
		for len(got) < len(want) {
			must(t, d.Read(batch))
			for _, p := range batch.Packets {
				if isSuper := p.Offload.GSO != 0; isSuper != super {
					t.Fatalf("%s: superpacket %v, want %v", mode, isSuper, super)
				}
				if mode != "tun" && p.Offload != (Offload{}) {
					t.Fatalf("%s: offload %+v", mode, p.Offload)
				}
				got = append(got, payloads(p)...)
			}
		}
		sameDatagrams(t, got, want)
		must(t, d.Close())
	}
}

// end is what TUN and Plain have in common.
type end interface {
	Read(*Batch) error
	Write(*Gather, Offload, [][]byte) error
	Features() Feature
	Probe() error
	Close() error
}
