package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"weft/cmd/weft/lab"
	"weft/lease"
)

// wgConf is a net-conf.json with the wireguard backend; options begin with a
// comma, or are empty.
func wgConf(families, options string) []byte {
	return conf(families, `{"Type":"wireguard"`+options+`}`)
}

// A wgCase is one way to set up the wireguard backend, and what comes of it on
// each node. In devices and data, SN stands for the node's number and KEY for
// its public key.
type wgCase struct {
	families, mode string
	devices        map[string]string // by name
	data           string            // BackendData and BackendV6Data of the lease
	over           map[string]string // by device: what endpoints begin with
}

// What flannel's wireguard backend gives its devices (flannel:
// pkg/backend/wireguard/device.go).
const (
	wgRoute4 = "10.244.0.0/16 gw <nil> src <nil> scope universe metric 0"
	wgRoute6 = "fd00:244::/48 gw <nil> src <nil> scope universe metric 1024"
	wgOnly4  = "index 0, mtu 1420, 10.244.SN.0/32; " + wgRoute4
	wgOnly6  = "index 0, mtu 1420, fd00:244:0:SN::/128; " + wgRoute6
	wgBoth   = "index 0, mtu 1420, 10.244.SN.0/32 fd00:244:0:SN::/128; " + wgRoute4 + "; " + wgRoute6
	wgData4  = `,"BackendData":{"PublicKey":"KEY","Port":51820}`
	wgData6  = `,"BackendV6Data":{"PublicKey":"KEY","Port":%d}`
)

var wgCases = []wgCase{
	{"46", "separate", map[string]string{"flannel-wg": wgOnly4, "flannel-wg-v6": wgOnly6},
		wgData4 + fmt.Sprintf(wgData6, 51821), map[string]string{"flannel-wg": "10.99.0.", "flannel-wg-v6": "[fd99::"}},
	{"46", "auto", map[string]string{"flannel-wg": wgBoth},
		wgData4 + fmt.Sprintf(wgData6, 51820), map[string]string{"flannel-wg": "10.99.0."}},
	{"46", "ipv4", map[string]string{"flannel-wg": wgBoth},
		wgData4 + fmt.Sprintf(wgData6, 51820), map[string]string{"flannel-wg": "10.99.0."}},
	{"46", "ipv6", map[string]string{"flannel-wg": wgBoth},
		wgData4 + fmt.Sprintf(wgData6, 51820), map[string]string{"flannel-wg": "[fd99::"}},
	{"4", "separate", map[string]string{"flannel-wg": wgOnly4}, wgData4, map[string]string{"flannel-wg": "10.99.0."}},
	{"6", "separate", map[string]string{"flannel-wg-v6": wgOnly6},
		fmt.Sprintf(wgData6, 51821), map[string]string{"flannel-wg-v6": "[fd99::"}},
	{"6", "ipv6", map[string]string{"flannel-wg": wgOnly6},
		fmt.Sprintf(wgData6, 51820), map[string]string{"flannel-wg": "[fd99::"}},
	{"6", "auto", map[string]string{"flannel-wg": wgOnly6},
		fmt.Sprintf(wgData6, 51820), map[string]string{"flannel-wg": "[fd99::"}},
}

// Every mode, with the families that it can carry: what pods exchange, what
// hangs on the devices, what the leases say and where datagrams go.
func TestWireGuard(t *testing.T) {
	for _, c := range wgCases {
		t.Run(c.mode+" "+c.families, func(t *testing.T) {
			l := newLab(t, lab.Options{Nodes: 2, Store: lab.StoreEtcd, NetConf: wgConf(c.families, fmt.Sprintf(`,"Mode":%q`, c.mode))})
			must(t, l.Up(within(t)))
			n1, n2 := l.Nodes[0], l.Nodes[1]
			for _, like := range []bool{false, true} {
				must(t, l.SetWire(like))
				exchange(t, n1, n2, 4*mega, 113)
				exchange(t, n2, n1, mega, 499)
			}
			c.check(t, l, n2)
			for device, begin := range c.over {
				if e := interfaceOf(t, n1, device).peers[publicKey(t, n2)].endpoint; !strings.HasPrefix(e, begin) {
					t.Errorf("%s: the peer is at %q, want %s…", device, e, begin)
				}
			}
			sealedOnly(t, l, n1, n2)
		})
	}
}

// check compares devices, subnet.env and lease of a node with what they should
// be.
func (c wgCase) check(t *testing.T, l *lab.Lab, n *lab.Node) {
	fill := strings.NewReplacer("SN", fmt.Sprint(n.Index), "KEY", publicKey(t, n)).Replace
	for _, name := range []string{"flannel0", "flannel-wg", "flannel-wg-v6"} {
		want, wanted := c.devices[name]
		if _, err := n.Host.Netlink().LinkByName(name); !wanted {
			if !errors.As(err, new(netlink.LinkNotFoundError)) {
				t.Errorf("%s: %v, want no such device", name, err)
			}
			continue
		}
		d := deviceOf(t, n, name)
		d.index = 0
		if want = fill(want); d.String() != want {
			t.Errorf("%s: %s\nwant %s", name, d, want)
		}
	}
	e := n.Env()
	if e.MTU != 1420 {
		t.Errorf("FLANNEL_MTU is %d, want 1420", e.MTU)
	}
	public := [2]string{`"0.0.0.0"`, `null`} // what flannel writes for want of an address
	for i, a := range []netip.Addr{n.Underlay, n.Underlay6} {
		if strings.Contains(c.families, [...]string{"4", "6"}[i]) {
			public[i] = `"` + a.String() + `"`
		}
	}
	want := fill(`{"PublicIP":` + public[0] + `,"PublicIPv6":` + public[1] + `,"BackendType":"wireguard"` + c.data + `}`)
	if got := leases(t, etcdClient(t, l))[lease.Key(e.Subnet, e.IPv6Subnet)].value; got != want {
		t.Errorf("lease %s\nwant  %s", got, want)
	}
}

// sealedOnly checks that what a pod says is nowhere to be read on the wire, and
// that it travels.
func sealedOnly(t *testing.T, l *lab.Lab, from, to *lab.Node) {
	t.Helper()
	w := tapWire(t, to.Host)
	const text = "what nobody on the way may read"
	for family, a := range addrs(to) {
		in := openUDP(t, to.Pod, netip.AddrPortFrom(a, 0))
		say(t, openUDP(t, from.Pod, netip.AddrPortFrom(addrs(from)[family], 0)), text, in.addr)
		buf := make([]byte, 2048)
		if k, _, err := in.receive(within(t), buf); err != nil || string(buf[:k]) != text {
			t.Errorf("%s: the pod received %q: %v", family, buf[:k], err)
		}
		d := w.datagram(t, from)
		for d.kind() != 4 || len(d.data) <= 32 { // handshakes and keepalives may be in front
			d = w.datagram(t, from)
		}
		if strings.Contains(string(d.data), text[:8]) {
			t.Errorf("%s: on the wire one reads %q", family, d.data)
		}
	}
}

// wgKeyFile is where a node of a lab keeps its private key.
func wgKeyFile(n *lab.Node) string { return filepath.Join(nodeDir(n), "wgkey") }

// nodeDir is where a node of a lab has its files.
func nodeDir(n *lab.Node) string { return filepath.Dir(n.SubnetFile()) }

// The MTU option counts for outer packets, and the underlay's MTU is a limit.
func TestWireGuardOptions(t *testing.T) {
	for _, c := range []struct {
		options       string
		underlay, mtu int
	}{
		{`,"MTU":1400,"ListenPort":7001,"ListenPortV6":7002`, 1500, 1320},
		{`,"MTU":9000,"PersistentKeepaliveInterval":25`, 1500, 1420},
		{``, 9000, 8920},
	} {
		t.Run(fmt.Sprint(c.options, " over ", c.underlay), func(t *testing.T) {
			l := newLab(t, lab.Options{Nodes: 2, Store: lab.StoreDir, NetConf: wgConf("46", c.options)})
			n1, n2 := l.Nodes[0], l.Nodes[1]
			must(t, n1.SetMTU(c.underlay))
			must(t, n2.SetMTU(c.underlay))
			must(t, l.Up(within(t)))
			for _, name := range []string{"flannel-wg", "flannel-wg-v6"} {
				if got := deviceOf(t, n1, name).mtu; n1.Env().MTU != c.mtu || got != c.mtu {
					t.Errorf("MTU %d in subnet.env, %d of %s, want %d", n1.Env().MTU, got, name, c.mtu)
				}
			}
			for _, like := range []bool{false, true} {
				must(t, l.SetWire(like))
				exchange(t, n1, n2, 4*mega, 311)
			}
			d := interfaceOf(t, n1, "flannel-wg-v6")
			if strings.Contains(c.options, "7002") && (d.port != 7002 || !strings.HasSuffix(d.peers[publicKey(t, n2)].endpoint, ":7002")) {
				t.Errorf("listening on %d, peer at %s; want 7002 for both", d.port, d.peers[publicKey(t, n2)].endpoint)
			}
			if want := strings.Contains(c.options, "25"); (d.peers[publicKey(t, n2)].keepalive == 25) != want {
				t.Errorf("keepalive every %d s", d.peers[publicKey(t, n2)].keepalive)
			}
		})
	}
}

// The key is made once, is nobody else's to read, and is not told.
func TestWireGuardKeyIsSecret(t *testing.T) {
	psk := presharedKey()
	l := newLabUp(t, lab.Options{Nodes: 2, Store: lab.StoreEtcd, NetConf: wgConf("4", fmt.Sprintf(`,"PSK":%q`, psk))})
	n := l.Nodes[0]
	st, err := os.Stat(wgKeyFile(n))
	must(t, err)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("the key file has mode %v, want 0600", st.Mode())
	}
	private, public := keyPair(t, n)
	if was := publicKey(t, n); was != public {
		t.Errorf("the interface has the public key %s, the file's is %s", was, public)
	}
	restart(t, n)
	reach(t, n, l.Nodes[1])
	if again, _ := keyPair(t, n); again != private {
		t.Error("the key has changed")
	}
	stopped(t, n)
	told := ""
	for _, line := range parseLog(t, n) {
		told += line.Text
	}
	for _, l := range leases(t, etcdClient(t, l)) {
		told += l.value
	}
	for _, secret := range []string{private, psk} {
		if strings.Contains(told, secret) || strings.Contains(told, hexOf(t, secret)) {
			t.Error("log or leases tell a secret")
		}
	}
	if !strings.Contains(told, public) {
		t.Errorf("neither log nor leases tell the public key %s", public)
	}
}
