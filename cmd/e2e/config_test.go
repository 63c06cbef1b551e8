package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weft/cmd/weft/lab"
)

// The options of the udp backend, and an underlay with large frames.
func TestBackendOptions(t *testing.T) {
	for _, c := range []struct {
		name, backend string
		underlay      int // MTU
		mtu           int // of pods
	}{
		{"port and MTU", `{"Type":"UDP","Port":9285,"MTU":1400}`, 1500, 1372},
		{"MTU above the link's", `{"Type":"udp","MTU":9000}`, 1500, 1472},
		{"large frames", `{"Type":"udp"}`, 9000, 8972},
		{"no backend named", ``, 1460, 1432},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := `{"Network":"10.244.0.0/16","Unknown":{"key":1}`
			if c.backend != "" {
				conf += `,"Backend":` + c.backend
			}
			l := newLab(t, lab.Options{Nodes: 2, Store: lab.StoreDir, NetConf: []byte(conf + "}")})
			n1, n2 := l.Nodes[0], l.Nodes[1]
			must(t, n1.SetMTU(c.underlay))
			must(t, n2.SetMTU(c.underlay))
			must(t, l.Up(within(t)))
			if got := n1.Env().MTU; got != c.mtu || flannel0(t, n1).mtu != c.mtu {
				t.Errorf("MTU %d in subnet.env, %d of flannel0, want %d", got, flannel0(t, n1).mtu, c.mtu)
			}
			mark{n1, 0}.await(t, "WARN", `"key":"Unknown"`)
			for _, like := range []bool{false, true} {
				must(t, l.SetWire(like))
				everything(t, n1, n2, 8*mega, 499)
			}
		})
	}
}

// The ways of naming the underlay interface, in a dual-stack network.
func TestInterfaceChoice(t *testing.T) {
	leases := t.TempDir()
	var flags []string
	l := newLab(t, lab.Options{Nodes: 2, Store: lab.StoreDir, LeaseDir: leases, IPv6: true, Command: func(n *lab.Node) []string {
		argv := []string{weft, "up", "--log-format=json", "--node-name=" + n.Name, "--leases=" + leases,
			"--net-config-path=" + filepath.Join(filepath.Dir(n.SubnetFile()), "..", "net-conf.json"), "--subnet-file=" + n.SubnetFile()}
		if n.Index == 1 {
			return append(argv, flags...)
		}
		return append(argv, "--iface=eth0", "--public-ipv6=fd99::2")
	}})
	n1, n2 := l.Nodes[0], l.Nodes[1]
	must(t, n1.Host.Addresses("eth0", netip.MustParsePrefix("10.99.0.1/24"), netip.MustParsePrefix("fd99::1/64"),
		netip.MustParsePrefix("10.99.0.61/24"), netip.MustParsePrefix("fd99::61/64")))
	must(t, n1.Host.Default("eth0", switchAddr))
	must(t, n2.Start(within(t)))
	for _, c := range []struct{ flags, addr, addr6 string }{
		{"", "10.99.0.1", ""},
		{"-iface=10.99.0.61", "10.99.0.61", ""},
		{"-iface=fd99::61", "", "fd99::61"},
		{"--iface=nope --iface eth0", "", ""},
		{"-iface-regex=^eth.$", "", ""},
		{`-iface-regex=^10\.99\.0\.61$`, "10.99.0.61", ""},
		{"-iface-can-reach=10.99.0.2", "", ""},
		{"-iface-can-reach=fd99::2", "", ""},
		{"-public-ip=10.99.0.61 -public-ipv6=fd99::61", "10.99.0.61", "fd99::61"},
		{"-public-ipv6=fd99::61", "", "fd99::61"},
	} {
		t.Run("flags "+c.flags, func(t *testing.T) {
			flags = strings.Fields(c.flags)
			m := mark{n: n1}
			if n1.PID() != 0 {
				m = markLog(t, n1)
			}
			must(t, n1.Start(within(t)))
			// The next case may bring another address under the same name; with
			// the lease still there, the node would first watch for half a
			// minute whether that is another machine.
			defer func() {
				must(t, n1.Stop(within(t)))
				must(t, os.Remove(filepath.Join(leases, "subnets", n1.Env().Lease().Key()+".json")))
			}()
			chosen := m.await(t, "underlay chosen").Text
			for key, addr := range map[string]string{"iface": "eth0", "addr": c.addr, "addr6": c.addr6} {
				if addr != "" && !strings.Contains(chosen, fmt.Sprintf(`%q:%q`, key, addr)) {
					t.Errorf("want %s %s, chosen was %s", key, addr, chosen)
				}
			}
			must(t, l.Reach(within(t)))
		})
	}
	for _, c := range []struct{ flags, why string }{
		{"-iface=nope", "nope"}, {"-iface=10.1.2.3", "10.1.2.3"}, {"-iface-can-reach=10.1.2.x", "10.1.2.x"},
		{"-iface-regex=^nope$", "nope"}, {"-public-ip=fd99::1", "fd99::1"},
	} {
		t.Run("in vain "+c.flags, func(t *testing.T) {
			flags = strings.Fields(c.flags)
			if err := n1.Start(within(t)); err == nil {
				t.Error("the node started")
				must(t, n1.Stop(within(t)))
			} else if !strings.Contains(err.Error(), c.why) || !strings.Contains(err.Error(), "exit status") {
				t.Errorf("%v, want it to name %s", err, c.why)
			}
		})
	}
}

// The etcd inside a node goes away with the node, under traffic between the
// others, and comes back with it.
func TestEmbeddedEtcd(t *testing.T) {
	l := newLabUp(t, lab.Options{Nodes: 3, Store: lab.StoreNode})
	n1, n2, n3 := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	tr := begin(t, n2, n3, n3.PodAddr(), 0)
	tr.progress(t, 8*mega)
	must(t, n1.Stop(within(t)))
	tr.progress(t, 32*mega)
	must(t, n1.Start(within(t)))
	tr.progress(t, 8*mega)
	tr.end(t)
	must(t, l.Reach(within(t)))
	if n1.PodAddr().String() != "10.244.1.2" {
		t.Errorf("the pod of n1 is now %s", n1.PodAddr())
	}
}
