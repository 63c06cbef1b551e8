package engine

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/engine/iface"
	"weft/lease"
	"weft/tunnel/wg"
)

// The key pair of flannel's documents: scalar 0, 1, 2 … clamped.
func testKey() (k wg.PrivateKey) {
	for i := range k {
		k[i] = byte(i)
	}
	k[31] = 0x5f
	return k
}

const testPublic = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8="

// wgConfig is a network of these inner families with more Backend options.
func wgConfig(t *testing.T, inner, options string) *lease.Config {
	t.Helper()
	text := map[string]string{
		"4":  `"Network":"10.5.0.0/16"`,
		"6":  `"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:10:5::/48"`,
		"46": `"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:10:5::/48"`,
	}[inner]
	cfg, err := lease.ParseConfig([]byte(`{` + text + `,"Backend":{"Type":"wireguard"` + options + `}}`))
	must(t, err)
	return cfg
}

func underOf(v4, v6 string) iface.Underlay {
	u := iface.Underlay{Name: "eth0", MTU: 1500}
	if v4 != "" {
		u.Addr = netip.MustParseAddr(v4)
	}
	if v6 != "" {
		u.Addr6 = netip.MustParseAddr(v6)
	}
	return u
}

// The interfaces are flannel's, for each mode and inner family.
func TestWireGuardLinks(t *testing.T) {
	both := underOf("192.168.50.1", "2001:db8::1")
	link := func(name string, port uint16, v4, v6 bool) wgLink { return wgLink{name, port, [2]bool{v4, v6}} }
	for _, tc := range []struct {
		inner, options string
		under          iface.Underlay
		want           []wgLink
		ports          [2]uint16 // in the lease, by inner family
		err            string
	}{
		{"4", ``, both, []wgLink{link("flannel-wg", 51820, true, false)}, [2]uint16{51820, 0}, ""},
		{"6", ``, both, []wgLink{link("flannel-wg-v6", 51821, false, true)}, [2]uint16{0, 51821}, ""},
		{"46", ``, both, []wgLink{link("flannel-wg", 51820, true, false), link("flannel-wg-v6", 51821, false, true)}, [2]uint16{51820, 51821}, ""},
		{"46", `,"Mode":"auto","ListenPort":7`, both, []wgLink{link("flannel-wg", 7, true, true)}, [2]uint16{7, 7}, ""},
		{"46", `,"Mode":"ipv4"`, underOf("192.168.50.1", ""), []wgLink{link("flannel-wg", 51820, true, true)}, [2]uint16{51820, 51820}, ""},
		{"46", `,"Mode":"ipv6"`, underOf("", "2001:db8::1"), []wgLink{link("flannel-wg", 51820, true, true)}, [2]uint16{51820, 51820}, ""},
		{"6", `,"Mode":"auto"`, both, []wgLink{link("flannel-wg", 51820, false, true)}, [2]uint16{0, 51820}, ""},
		{"46", `,"ListenPort":9,"ListenPortV6":9`, both, nil, [2]uint16{}, "ListenPort and ListenPortV6 are both 9"},
		{"46", `,"ListenPort":9,"ListenPortV6":9,"Mode":"auto"`, both, []wgLink{link("flannel-wg", 9, true, true)}, [2]uint16{9, 9}, ""},
		{"4", `,"Mode":"ipv6"`, underOf("192.168.50.1", ""), nil, [2]uint16{}, `Mode: "ipv6" needs an IPv6 address, and interface eth0 has none`},
		{"4", `,"Mode":"ipv4"`, underOf("", "2001:db8::1"), nil, [2]uint16{}, `Mode: "ipv4" needs an IPv4 address`},
		{"46", ``, underOf("192.168.50.1", ""), nil, [2]uint16{}, `Mode: "separate" needs an IPv6 address`},
	} {
		cfg := wgConfig(t, tc.inner, tc.options)
		w, err := newWireGuard(cfg, tc.under, testKey())
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s %s: error %v, want %q", tc.inner, tc.options, err, tc.err)
			}
			continue
		}
		if err != nil || !slices.Equal(w.links, tc.want) {
			t.Errorf("%s %s: %+v, %v", tc.inner, tc.options, w, err)
			continue
		}
		a, err := w.attrs(cfg, lease.Attrs{PublicIP: netip.MustParseAddr("192.168.50.1")})
		must(t, err)
		for i, raw := range []json.RawMessage{a.BackendData, a.BackendV6Data} {
			want := ""
			if tc.ports[i] != 0 {
				want = `{"PublicKey":"` + testPublic + `","Port":` + string(mustJSON(t, tc.ports[i])) + `}`
			}
			if string(raw) != want {
				t.Errorf("%s %s: the lease says %s, want %s", tc.inner, tc.options, raw, want)
			}
		}
		if a.BackendType != "wireguard" || a.PublicIP.String() != "192.168.50.1" {
			t.Errorf("%+v", a)
		}
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return b
}

// wgLease is node n as a wireguard node of any kind writes it.
func wgLease(n int, v4, v6, key string, port string) lease.Lease {
	l := node(n)
	l.Attrs = lease.Attrs{BackendType: "wireguard"}
	if v4 != "" {
		l.Attrs.PublicIP = netip.MustParseAddr(v4)
	}
	if v6 != "" {
		l.Attrs.PublicIPv6 = netip.MustParseAddr(v6)
	}
	data := json.RawMessage(`{"PublicKey":"` + key + `"` + port + `}`)
	l.Attrs.BackendData, l.Attrs.BackendV6Data = data, data
	return l
}

// peerKey names node n's key.
func peerKey(n int) string { return wg.PublicKey{byte(n), 31: 0x11}.String() }

// A peer is reached where flannel would, by its rule for the mode auto.
func TestWireGuardEndpoints(t *testing.T) {
	const private4, public4, ula, public6 = "192.168.50.2", "203.0.113.2", "fd50::2", "2001:db8::2"
	own4, own6, ownULA := "192.168.50.1", "2001:db8::1", "fd50::1"
	for _, tc := range []struct {
		mode, own4, own6, theirs4, theirs6 string
		want                               string
	}{
		{"separate/0", own4, own6, private4, public6, private4},
		{"separate/1", own4, own6, private4, public6, public6},
		{"separate/1", own4, own6, public4, "", ""},
		{"separate/0", own4, own6, "0.0.0.0", public6, ""},
		{"ipv4", own4, "", public4, public6, public4},
		{"ipv4", own4, "", "", public6, ""},
		{"ipv6", "", own6, public4, ula, ula},
		{"ipv6", "", own6, public4, "", ""},
		{"auto", own4, own6, public4, "", public4},
		{"auto", own4, own6, private4, "", private4},
		{"auto", own4, own6, public4, public6, public4},
		{"auto", own4, own6, private4, public6, public6},
		{"auto", own4, own6, private4, ula, private4},
		{"auto", own4, ownULA, private4, public6, private4},
		{"auto", own4, "", private4, public6, private4},
		{"auto", "", own6, public4, public6, public6},
		{"auto", "", ownULA, public4, public6, public6}, // flannel says IPv4, and reaches nobody
		{"auto", own4, ownULA, "", public6, public6},
		{"auto", own4, own6, "", ula, ula},
	} {
		mode, link, _ := strings.Cut(tc.mode, "/")
		cfg := wgConfig(t, "46", `,"Mode":"`+mode+`","PersistentKeepaliveInterval":25`)
		under := underOf(tc.own4, tc.own6)
		w, err := newWireGuard(cfg, under, testKey())
		must(t, err)
		l := &w.links[len(link)*int(append([]byte(link), '0')[0]-'0')]
		p, err := w.peer(l, under, wgLease(2, tc.theirs4, tc.theirs6, peerKey(2), `,"Port":4000`))
		want := "invalid AddrPort"
		if tc.want != "" {
			want = netip.AddrPortFrom(netip.MustParseAddr(tc.want), 4000).String()
		}
		if p.Endpoint.String() != want || (err == nil) != (tc.want != "") {
			t.Errorf("%+v: %v, %v", tc, p.Endpoint, err)
		}
		if err == nil && (p.Key.String() != peerKey(2) || p.Keepalive != 25 || p.PSK != wg.PresharedKey{}) {
			t.Errorf("%+v: %+v", tc, p)
		}
	}
}

// Each interface takes the subnets of its families; a lease without a port is
// reached at the interface's own, as before flannel 0.26.6.
func TestWireGuardPeers(t *testing.T) {
	under := underOf("192.168.50.1", "2001:db8::1")
	separate, err := newWireGuard(wgConfig(t, "46", ""), under, testKey())
	must(t, err)
	auto, err := newWireGuard(wgConfig(t, "46", `,"Mode":"auto","ListenPort":7,"PSK":"`+testPublic+`"`), under, testKey())
	must(t, err)
	of := wgLease(2, "192.168.50.2", "2001:db8::2", peerKey(2), "")
	four, six := node(2).Subnet, node(2).Subnet6
	check := func(w *wireGuard, link int, end string, allowed ...netip.Prefix) {
		t.Helper()
		p, err := w.peer(&w.links[link], under, of)
		if err != nil || p.Endpoint.String() != end || !slices.Equal(p.Allowed, allowed) {
			t.Errorf("%+v, %v; want %s and %v", p, err, end, allowed)
		}
	}
	check(separate, 0, "192.168.50.2:51820", four)
	check(separate, 1, "[2001:db8::2]:51821", six)
	check(auto, 0, "[2001:db8::2]:7", four, six)
	if p, _ := auto.peer(&auto.links[0], under, of); p.PSK.String() != "(hidden)" || p.PSK == (wg.PresharedKey{}) {
		t.Errorf("the preshared key is %x", [32]byte(p.PSK))
	}
	of.Attrs.BackendV6Data = nil // one interface, one key
	check(auto, 0, "[2001:db8::2]:7", four, six)
	if _, err := separate.peer(&separate.links[1], under, of); err == nil {
		t.Error("a peer without a key")
	}
	of.Subnet6 = netip.Prefix{}
	check(auto, 0, "[2001:db8::2]:7", four)
	of = wgLease(2, "192.168.50.2", "2001:db8::2", testPublic, "")
	if _, err := auto.peer(&auto.links[0], under, of); err == nil || !strings.Contains(err.Error(), "this node's own") {
		t.Errorf("our own key: %v", err)
	}
	of = wgLease(2, "192.168.50.2", "2001:db8::2", peerKey(2), "")
	of.Subnet, of.Subnet6 = netip.Prefix{}, netip.Prefix{}
	if _, err := auto.peer(&auto.links[0], under, of); err != errNoSubnet {
		t.Errorf("no subnet: %v", err)
	}
}

// It listens at the underlay's addresses, so that answers come from there.
func TestWireGuardListens(t *testing.T) {
	for own, want := range map[[2]string]string{
		{"192.168.50.1", "2001:db8::1"}: "192.168.50.1 2001:db8::1", {"192.168.50.1", ""}: "192.168.50.1 invalid IP", {"", "fd50::1"}: "invalid IP fd50::1",
	} {
		local := listenAddrs(underOf(own[0], own[1]))
		if got := local[0].String() + " " + local[1].String(); got != want {
			t.Errorf("%v: %s, want %s", own, got, want)
		}
	}
}

// TestWGLimit: a path that carries the device's MTU is no limit, whatever is
// padded; on a narrower one the longest packet is padded to no more.
func TestWGLimit(t *testing.T) {
	for _, tc := range []struct{ datagram, mtu, want int }{
		{1472, 1420, 0}, {1452, 1420, 0}, {1451, 1420, 1408}, {1372, 1420, 1328}, {1360, 1420, 1328}, {1359, 1420, 1312},
	} {
		if got := wgLimit(tc.datagram, tc.mtu); got != tc.want {
			t.Errorf("datagrams of %d, MTU %d: %d, want %d", tc.datagram, tc.mtu, got, tc.want)
		}
	}
}
