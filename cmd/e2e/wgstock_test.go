package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"

	"weft/cmd/weft/lab"
)

// withStock lets those nodes of a lab whose index is in the set be nodes as
// stock flanneld sets them up: with wireguard-go's devices, or the kernel's if
// no program is named.
func withStock(t *testing.T, o lab.Options, program string, stock map[int]bool) lab.Options {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	o.Store = lab.StoreEtcd
	o.Command = func(n *lab.Node) []string {
		if !stock[n.Index] {
			return nil
		}
		return []string{self, withSocketsName, nodeDir(n), self, wgNodeName, "-program=" + program,
			"-etcd-endpoints=http://" + switchAddr.String() + ":2379", "-subnet-file=" + n.SubnetFile(), "-key-file=" + wgKeyFile(n),
			"-public-ip=" + n.Underlay.String(), "-public-ipv6=" + n.Underlay6.String()}
	}
	return o
}

// Against wireguard-go, which is told by wg(8) what flanneld would tell the
// kernel. The program is $WG_GO_BIN, or built from the module that weft uses.
func TestStockWireGuard(t *testing.T) {
	if _, err := exec.LookPath("wg"); err != nil {
		t.Skip("needs wg, of wireguard-tools:", err)
	}
	program := os.Getenv("WG_GO_BIN")
	if program == "" {
		program = filepath.Join(t.TempDir(), "wireguard-go")
		cmd := exec.CommandContext(within(t), "go", "build", "-o", program, "golang.zx2c4.com/wireguard")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("wireguard-go cannot be built: %v\n%s", err, out)
		}
	}
	stockWireGuard(t, program)
}

// Against the kernel's own WireGuard.
func TestKernelWireGuard(t *testing.T) {
	if _, err := exec.LookPath("wg"); err != nil {
		t.Skip("needs wg, of wireguard-tools:", err)
	}
	at := newLab(t, lab.Options{Nodes: 1, Store: lab.StoreDir}).Nodes[0].Host
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "wg"
	if err := at.Netlink().LinkAdd(&netlink.Wireguard{LinkAttrs: attrs}); err != nil {
		t.Skip("this kernel makes no WireGuard device:", err)
	}
	stockWireGuard(t, "")
}

// stockWireGuard is what weft and a stock node must do together. flannel names
// ListenPortV6 in IPv6 data even where it listens on ListenPort alone, so in
// modes with one device the two must be the same.
func stockWireGuard(t *testing.T, program string) {
	const samePort = `,"ListenPortV6":51820`
	for _, c := range []struct {
		families, mode, more string
		drills               bool // restarts, keys and addresses as well
	}{
		{"46", "separate", "", true},
		{"46", "auto", samePort + fmt.Sprintf(`,"PSK":%q`, presharedKey()), true},
		{"46", "ipv4", `,"PersistentKeepaliveInterval":1`, false},
		{"46", "ipv6", samePort, true},
		{"4", "separate", `,"ListenPort":7001`, false},
		{"6", "separate", "", false},
	} {
		t.Run(c.mode+" "+c.families, func(t *testing.T) {
			if slowness > 1 && c.families != "46" {
				t.Skip("an emulated machine is too slow for what is next to the same")
			}
			o := lab.Options{Nodes: 2, NetConf: wgConf(c.families, fmt.Sprintf(`,"Mode":%q%s`, c.mode, c.more))}
			l := newLabUp(t, withStock(t, o, program, map[int]bool{2: true}))
			s := stockPair{l, l.Nodes[0], l.Nodes[1], "flannel-wg", 0}
			if c.families == "6" {
				s.device = "flannel-wg-v6"
			}
			if c.families == "6" || c.mode == "ipv6" {
				s.outer = 1
			}
			t.Run("traffic", s.traffic)
			if c.drills && (slowness == 1 || c.mode == "separate") {
				t.Run("weft restarts", s.weftRestarts)
				t.Run("a new key", s.newKeys)
				t.Run("another port", s.roamsPort)
				t.Run("another address", s.roamsAddress)
			}
		})
	}
}

// A stockPair is a weft node and one that is not.
type stockPair struct {
	l           *lab.Lab
	weft, stock *lab.Node
	device      string // that the tests look at
	outer       int    // in which family its datagrams travel
}

func (s stockPair) traffic(t *testing.T) {
	for _, like := range []bool{false, true} {
		must(t, s.l.SetWire(like))
		exchange(t, s.weft, s.stock, mega, 311)
		exchange(t, s.stock, s.weft, mega, 311)
	}
	p, ok := interfaceOf(t, s.weft, s.device).peers[publicKey(t, s.stock)]
	if !ok || p.handshake == 0 {
		t.Errorf("no session with the stock peer %s: %+v", publicKey(t, s.stock), p)
	}
}

func (s stockPair) weftRestarts(t *testing.T) {
	tr := begin(t, s.stock, s.weft, s.weft.PodAddr(), 0)
	tr.progress(t, mega/4)
	restart(t, s.weft)
	tr.progress(t, mega)
	t.Logf("TCP stood still for %s", tr.end(t))
	reach(t, s.stock, s.weft)
}

// newKeys: each of the two comes back with another key.
func (s stockPair) newKeys(t *testing.T) {
	for _, n := range []*lab.Node{s.stock, s.weft} {
		was := publicKey(t, n)
		must(t, n.Stop(within(t)))
		must(t, os.Remove(wgKeyFile(n)))
		must(t, n.Start(within(t)))
		reach(t, s.weft, s.stock)
		if now := publicKey(t, n); now == was {
			t.Errorf("%s: the key is still %s", n.Name, was)
		}
	}
	exchange(t, s.weft, s.stock, mega, 499)
}

// roamsPort lets the stock peer send from another port than its lease says.
func (s stockPair) roamsPort(t *testing.T) {
	wg(t, s.stock, "set", s.device, "listen-port", "9999")
	s.found(t, "9999")
}

// roamsAddress takes the stock peer's address away and gives it another one.
func (s stockPair) roamsAddress(t *testing.T) {
	v4, v6 := netip.PrefixFrom(s.stock.Underlay, 24), netip.PrefixFrom(s.stock.Underlay6, 64)
	addr := [2]netip.Addr{netip.MustParseAddr("10.99.0.77"), netip.MustParseAddr("fd99::77")}[s.outer]
	if s.outer == 0 {
		v4 = netip.PrefixFrom(addr, 24)
	} else {
		v6 = netip.PrefixFrom(addr, 64)
	}
	must(t, s.stock.Host.Addresses("eth0", v4, v6))
	s.found(t, netip.AddrPortFrom(addr, 9999).String())
}

// found waits until the stock peer is heard, and checks that weft knows where
// it is and reaches it there.
func (s stockPair) found(t *testing.T, at string) {
	t.Helper()
	to := s.weft.PodAddr()
	if s.device == "flannel-wg-v6" {
		to = s.weft.PodAddr6()
	}
	awaitPing(t, s.stock.Pod, to)
	got := interfaceOf(t, s.weft, s.device).peers[publicKey(t, s.stock)].endpoint
	if len(got) < len(at) || got[len(got)-len(at):] != at {
		t.Errorf("weft sends to %s, want %s", got, at)
	}
	reach(t, s.weft, s.stock)
	exchange(t, s.weft, s.stock, mega, 499)
}
