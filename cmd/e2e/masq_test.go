package e2e

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
)

// seen sends a datagram from one place to another until it arrives, and
// returns what source it has there.
func seen(t testing.TB, from *lab.Place, src netip.Addr, to *lab.Place, dst netip.Addr) netip.Addr {
	t.Helper()
	in := openUDP(t, to, netip.AddrPortFrom(dst, 0))
	out := openUDP(t, from, netip.AddrPortFrom(src, 0))
	must(t, out.sendTo([]byte("who"), in.addr))
	_, at, err := in.receive(within(t), make([]byte, 16))
	if err != nil {
		t.Fatalf("%s to %s: %v", src, dst, err)
	}
	return at.Addr()
}

// masqueraded waits until a pod speaks to the outside in its node's name. The
// rules may come a moment after the node is ready.
func masqueraded(t testing.TB, l *lab.Lab, n *lab.Node) {
	t.Helper()
	for ctx := within(t); ; {
		got := seen(t, n.Pod, n.PodAddr(), l.Switch, switchAddr)
		if got == n.Underlay {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("outside the overlay the pod on %s is seen as %s, want %s", n.Name, got, n.Underlay)
		}
	}
}

// Masquerading, by either kind of rules.
func TestMasquerade(t *testing.T) {
	for name, conf := range map[string]string{
		"iptables": `{"Network":"10.244.0.0/16","Backend":{"Type":"udp"}}`,
		"nftables": `{"Network":"10.244.0.0/16","Backend":{"Type":"udp"},"EnableNFTables":true}`,
	} {
		t.Run(name, func(t *testing.T) {
			l := newLabUp(t, lab.Options{Nodes: 2, Store: lab.StoreDir, NetConf: []byte(conf), UpArgs: []string{"--ip-masq"}})
			n1, n2 := l.Nodes[0], l.Nodes[1]
			for _, n := range l.Nodes {
				mark{n, 0}.await(t, "traffic rules written", name)
				masqueraded(t, l, n)
			}
			if got := seen(t, n1.Pod, n1.PodAddr(), n2.Pod, n2.PodAddr()); got != n1.PodAddr() {
				t.Errorf("pod to pod is seen as %s, want %s", got, n1.PodAddr())
			}
			s := openUDP(t, n1.Host, netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
			in := openUDP(t, n2.Pod, netip.AddrPortFrom(n2.PodAddr(), 0))
			must(t, s.sendTo([]byte("who"), in.addr))
			_, from, err := in.receive(within(t), make([]byte, 16))
			must(t, err)
			if want := n1.Env().Subnet.Addr(); from.Addr() != want {
				t.Errorf("node to pod is seen as %s, want %s", from.Addr(), want)
			}
			everything(t, n1, n2, 8*mega, 397)
			b, err := os.ReadFile(n1.SubnetFile())
			must(t, err)
			if !strings.HasSuffix(string(b), "FLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n") {
				t.Errorf("subnet.env:\n%s", b)
			}
		})
	}
}

// A node behind one-to-one NAT: peers know it by an address that it does not
// have. Its packets leave from the interface's address. If no NAT gives them
// the public one, strict peers drop them, for no lease names their source.
func TestPublicIPBehindNAT(t *testing.T) {
	const public = "10.98.0.1"
	leases := t.TempDir()
	l := newLab(t, lab.Options{Nodes: 2, Store: lab.StoreDir, LeaseDir: leases, Env: quiet, Extra: func(n *lab.Node) (args, env []string) {
		if n.Index == 1 {
			args = []string{"--public-ip=" + public}
		}
		return args, nil
	}})
	n1, n2 := l.Nodes[0], l.Nodes[1]
	must(t, n1.Start(within(t)))
	must(t, n2.Start(within(t)))
	published, err := os.ReadFile(filepath.Join(leases, "subnets", "10.244.1.0-24.json"))
	must(t, err)
	if !strings.HasPrefix(string(published), `{"PublicIP":"`+public+`"`) {
		t.Errorf("n1's lease: %s", published)
	}
	natBox(t, l, n1, n2, public, false)
	out := openUDP(t, n1.Pod, netip.AddrPortFrom(n1.PodAddr(), 0))
	in := openUDP(t, n2.Pod, netip.AddrPortFrom(n2.PodAddr(), 0))
	const some = 10
	for range some {
		must(t, out.sendTo([]byte("unknown"), in.addr))
	}
	// The way back works without NAT of sources; what n1 gets was sent after.
	back := openUDP(t, n1.Pod, netip.AddrPortFrom(n1.PodAddr(), 0))
	must(t, in.sendTo([]byte("back"), back.addr))
	if _, from, err := back.receive(within(t), make([]byte, 16)); err != nil || from != in.addr {
		t.Errorf("from n2 to n1: from %s, %v", from, err)
	}
	if drops := stopped(t, n2); drops["outer_src_unknown"] != some {
		t.Errorf("drops of the strict peer: %v, want %d outer_src_unknown", drops, some)
	}
	if n, _, err := unix.Recvfrom(in.fd, make([]byte, 16), 0); err != unix.EAGAIN {
		t.Errorf("%d bytes of an unknown source were delivered (%v)", n, err)
	}
	natBox(t, l, n1, n2, public, true)
	must(t, n2.Start(within(t)))
	must(t, l.Reach(within(t)))
	everything(t, n1, n2, 8*mega, 397)
}

// natBox makes the switch a NAT in front of a node: what is for its public
// address goes to it, and with both, what comes from it bears the public one.
func natBox(t *testing.T, l *lab.Lab, inside, outside *lab.Node, public string, both bool) {
	t.Helper()
	must(t, l.Switch.Router(false))
	for _, dev := range []string{"all", "underlay"} {
		must(t, l.Switch.Sysctl("net/ipv4/conf/"+dev+"/send_redirects", "0"))
	}
	// What the switch only bridges is none of its NAT's business.
	if err := l.Switch.Sysctl("net/bridge/bridge-nf-call-iptables", "0"); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	must(t, outside.Host.Route("eth0", netip.PrefixFrom(netip.MustParseAddr(public), 32), switchAddr))
	rules := "add table ip nat; flush table ip nat;" +
		"add chain ip nat pre { type nat hook prerouting priority dstnat; };" +
		"add rule ip nat pre ip daddr " + public + " dnat to " + inside.Underlay.String() + ";" +
		"add chain ip nat post { type nat hook postrouting priority srcnat; };"
	if both {
		rules += "add rule ip nat post ip saddr " + inside.Underlay.String() + " snat to " + public + ";"
		must(t, inside.Host.Route("eth0", netip.PrefixFrom(outside.Underlay, 32), switchAddr))
	}
	if _, err := l.Switch.Exec(within(t), "nft", rules); err != nil {
		t.Skip("needs nft:", err)
	}
	_, err := l.Switch.Exec(within(t), "nft", "list", "ruleset")
	must(t, err)
}
