package plane

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"weft/lease"
	"weft/lease/file"
	"weft/perf/lab"
)

// store is a lease folder as weft's node of that name would open it.
func store(t *testing.T, dir, name string) *file.Store {
	t.Helper()
	s, err := file.New(file.Options{Dir: dir, NodeName: name, NoNotify: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// claim claims a subnet as weft's node of that name would.
func claim(t *testing.T, dir, name string, a lease.Attrs) lease.Lease {
	t.Helper()
	s := store(t, dir, name)
	config, err := s.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Acquire(t.Context(), lease.Claim{Config: config, Attrs: a})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// firstUpdate is what weft's node sees first of a folder.
func firstUpdate(t *testing.T, dir string) []lease.Event {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for u, err := range store(t, dir, "watcher").Watch(ctx) {
		if err != nil || !u.Full {
			t.Fatalf("first update %+v, %v, want a full one", u, err)
		}
		return u.Events
	}
	t.Fatal("no update")
	return nil
}

// TestKernelLeaseIsFound checks that weft's own store sees the kernel host's
// lease as flanneld would have written it, and takes it for one that lives.
func TestKernelLeaseIsFound(t *testing.T) {
	dir := t.TempDir()
	h := &lab.Host{Addr: netip.MustParseAddr("192.168.50.2"), Subnet: netip.MustParsePrefix("10.5.2.0/24")}
	want, err := kernelLease(h, hardwareAddr(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteLease(dir, want); err != nil {
		t.Fatal(err)
	}
	events := firstUpdate(t, dir)
	if len(events) != 1 || events[0].Type != lease.Added {
		t.Fatalf("events %+v, want one lease added", events)
	}
	got := events[0].Lease
	if got.Subnet != h.Subnet || !got.Attrs.Equal(want.Attrs) {
		t.Errorf("lease %+v, want %+v", got, want)
	}
	if !got.Expires.IsZero() {
		t.Errorf("the lease expires at %v, want never: nobody renews it", got.Expires)
	}
	const text = `{"PublicIP":"192.168.50.2","PublicIPv6":null,"BackendType":"vxlan",` +
		`"BackendData":{"VNI":1,"VtepMAC":"02:77:65:66:74:02"}}`
	if wrote, err := json.Marshal(got.Attrs); err != nil || string(wrote) != text {
		t.Errorf("attributes %s, %v, want %s", wrote, err, text)
	}
}

// TestNodeAvoidsKernelSubnets checks that a node of weft's claims a subnet
// beside those of kernel hosts, and that its endpoint can be read from its
// record.
func TestNodeAvoidsKernelSubnets(t *testing.T) {
	dir := t.TempDir()
	// A network of four subnets, three of which are kernel hosts'.
	if err := WriteConfig(dir, "10.5.0.0/22", "vxlan"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		l, err := kernelLease(&lab.Host{
			Addr:   netip.AddrFrom4([4]byte{192, 168, 50, byte(2 + i)}),
			Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, byte(i), 0}), 24),
		}, hardwareAddr(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := WriteLease(dir, l); err != nil {
			t.Fatal(err)
		}
	}
	addr := netip.MustParseAddr("192.168.50.1")
	mine := claim(t, dir, "host-a", lease.Attrs{
		PublicIP: addr, BackendType: "vxlan", BackendData: []byte(`{"VNI":1,"VtepMAC":"7e:4d:f4:69:11:21"}`),
	})
	if want := netip.MustParsePrefix("10.5.3.0/24"); mine.Subnet != want {
		t.Errorf("weft has the subnet %v, want %v, the only free one", mine.Subnet, want)
	}
	got, err := readVTEP(t.Context(), dir, "host-a", addr)
	want := lease.VTEP{VNI: 1, MAC: [6]byte{0x7e, 0x4d, 0xf4, 0x69, 0x11, 0x21}}
	if err != nil || got != want {
		t.Errorf("endpoint %+v, %v, want %+v", got, err, want)
	}
}

func TestReadVTEPErrors(t *testing.T) {
	addr := netip.MustParseAddr("192.168.50.1")
	for _, tt := range []struct {
		name  string
		attrs *lease.Attrs
		want  string
	}{
		{"no lease", nil, "host-a (192.168.50.1) has no lease"},
		{"udp", &lease.Attrs{PublicIP: addr}, `BackendType is ""`},
		{"no data", &lease.Attrs{PublicIP: addr, BackendType: "vxlan"}, "BackendData: missing"},
		{"bad address", &lease.Attrs{PublicIP: addr, BackendType: "vxlan", BackendData: []byte(`{"VtepMAC":"x"}`)}, `VtepMAC: "x"`},
	} {
		dir := t.TempDir()
		if err := WriteConfig(dir, network, "vxlan"); err != nil {
			t.Fatal(err)
		}
		if tt.attrs != nil {
			claim(t, dir, "host-a", *tt.attrs)
		}
		if v, err := readVTEP(t.Context(), dir, "host-a", addr); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %+v, error %v, want one with %q", tt.name, v, err, tt.want)
		}
	}
}
