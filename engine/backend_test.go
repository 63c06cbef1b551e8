package engine

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"weft/engine/iface"
	"weft/lease"
)

// dualUnderlay is an interface with both families.
var dualUnderlay = iface.Underlay{Name: "eth0", MTU: 1500,
	Addr: netip.MustParseAddr("192.168.50.1"), Addr6: netip.MustParseAddr("fd50::1"),
	Public: netip.MustParseAddr("192.168.50.1"), Public6: netip.MustParseAddr("fd50::1")}

// compile reads a net-conf.json with both families and the given Backend.
func compileBackend(t *testing.T, text string, under iface.Underlay, was lease.Attrs, o Options, log *slog.Logger) *backend {
	t.Helper()
	cfg, err := lease.ParseConfig([]byte(`{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":` + text + `}`))
	must(t, err)
	b, err := newBackend(cfg, under, was, &o, log)
	must(t, err)
	return b
}

var silent = slog.New(slog.DiscardHandler)

// The MTUs of the contract: what pods are told, and what each way has room for.
func TestBackendMTU(t *testing.T) {
	only6 := dualUnderlay
	only6.Addr = netip.Addr{}
	for _, tc := range []struct {
		backend    string
		under      iface.Underlay
		mtu, mtu6  int
		own, other [2]int
	}{
		{`{"Type":"udp"}`, dualUnderlay, 1472, 1472, [2]int{1472, 1452}, [2]int{1450, 1430}},
		{`{"Type":"vxlan"}`, dualUnderlay, 1450, 1430, [2]int{1450, 1430}, [2]int{1472, 1452}},
		{`{"Type":"vxlan","MTU":1400}`, dualUnderlay, 1350, 1330, [2]int{1350, 1330}, [2]int{1372, 1352}},
		{`{"Type":"vxlan","MTU":9000}`, dualUnderlay, 1450, 1430, [2]int{1450, 1430}, [2]int{1472, 1452}},
		{`{"Type":"vxlan"}`, only6, 1430, 1430, [2]int{0, 1430}, [2]int{0, 1452}},
	} {
		b := compileBackend(t, tc.backend, tc.under, lease.Attrs{}, Options{}, silent)
		if b.mtu != tc.mtu || b.mtu6() != tc.mtu6 || b.framings[0].inner != tc.own || b.framings[1].inner != tc.other {
			t.Errorf("%s: pods have %d (IPv6 %d), own framing %v, other %v", tc.backend, b.mtu, b.mtu6(), b.framings[0].inner, b.framings[1].inner)
		}
	}
}

// The lease of a vxlan node is flannel's: an endpoint for each inner family,
// with an address that is locally administered, unicast and new each time,
// unless the store still has one.
func TestBackendEndpoints(t *testing.T) {
	b := compileBackend(t, `{"Type":"vxlan","VNI":7}`, dualUnderlay, lease.Attrs{}, Options{}, silent)
	a, err := b.attrs(b.cfg)
	must(t, err)
	v4, err4 := a.VTEP(4)
	v6, err6 := a.VTEP(6)
	must(t, err4)
	must(t, err6)
	if a.BackendType != "vxlan" || v4.VNI != 7 || v6.VNI != 7 || v4.MAC == v6.MAC || v4.MAC[0]&3 != 2 || v6.MAC[0]&3 != 2 {
		t.Errorf("lease %+v: %+v and %+v", a, v4, v6)
	}
	for _, tc := range []struct {
		was  lease.Attrs
		kept [2]bool
	}{
		{a, [2]bool{true, true}},
		{lease.Attrs{BackendType: "vxlan", BackendData: a.BackendData}, [2]bool{true, false}},
		{lease.Attrs{BackendType: "vxlan", BackendData: a.BackendData, BackendV6Data: json.RawMessage(`{"VtepMAC":1}`)}, [2]bool{true, false}},
		{lease.Attrs{BackendType: "wireguard", BackendData: a.BackendData}, [2]bool{}},
	} {
		again := compileBackend(t, `{"Type":"vxlan","VNI":8}`, dualUnderlay, tc.was, Options{}, silent)
		for i, v := range [...]lease.VTEP{v4, v6} {
			if got := again.vteps[i]; (got.MAC == v.MAC) != tc.kept[i] || got.VNI != 8 || got.MAC == [6]byte{} {
				t.Errorf("after %+v endpoint %d is %+v; kept should be %v", tc.was, i, got, tc.kept[i])
			}
		}
	}
	// IPv6 off: the store keeps the key of both families, and so the lease what
	// it said of IPv6.
	cfg := *b.cfg
	cfg.EnableIPv6 = false
	was := a
	if a, err = b.attrs(&cfg); err != nil || a.BackendV6Data != nil || a.BackendData == nil {
		t.Errorf("a new node: %+v, %v", a, err)
	}
	only4 := dualUnderlay
	only4.Addr6, only4.Public6 = netip.Addr{}, netip.Addr{}
	again := compileBackend(t, `{"Type":"vxlan","VNI":7}`, only4, was, Options{}, silent)
	if a, err = again.attrs(&cfg); err != nil || !a.Equal(was) {
		t.Errorf("a node that was there before: %+v, %v; want %+v", a, err, was)
	}
}

// A udp node writes neither type nor data, and yet can send frames.
func TestBackendUDP(t *testing.T) {
	b := compileBackend(t, `{"Type":"udp","Port":9000}`, dualUnderlay, lease.Attrs{}, Options{PeerPorts: map[string]uint16{"vxlan": 4789, "udp": 1}}, silent)
	a, err := b.attrs(b.cfg)
	must(t, err)
	if a.BackendType != "" || a.BackendData != nil || a.BackendV6Data != nil {
		t.Errorf("lease %+v", a)
	}
	own, other := b.framings[0], b.framings[1]
	if own.kind != "udp" || own.port != 9000 || other.kind != "vxlan" || other.port != 4789 || other.listens || other.id != 1 {
		t.Errorf("framings %+v and %+v", own, other)
	}
	if _, err := other.codec.Prefix(leaseOf(2, "vxlan"), 4); err != nil {
		t.Errorf("a frame for a vxlan peer: %v", err)
	}
}

// Options that have no effect are named; those that are wrong end the start.
func TestBackendRemarks(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	compileBackend(t, `{"Type":"vxlan","MacPrefix":"0E-2A","Learning":true}`, dualUnderlay, lease.Attrs{}, Options{GBPPolicy: "1"}, log)
	for _, want := range []string{"Backend.MacPrefix", "value=0E-2A", "Backend.Learning", "gbp-policy has no effect"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log does not have %q:\n%s", want, out.String())
		}
	}
	cfg, err := lease.ParseConfig([]byte(`{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","GBP":true}}`))
	must(t, err)
	if _, err := newBackend(cfg, dualUnderlay, lease.Attrs{}, &Options{GBPPolicy: "70000"}, silent); err == nil || !strings.Contains(err.Error(), "gbp-policy: ") {
		t.Errorf("a policy of 17 bits: %v", err)
	}
	cfg.BackendType = "ipip"
	if _, err := newBackend(cfg, dualUnderlay, lease.Attrs{}, &Options{}, silent); err == nil || !strings.Contains(err.Error(), `"ipip" is not supported`) {
		t.Errorf("a backend we have not: %v", err)
	}
}
