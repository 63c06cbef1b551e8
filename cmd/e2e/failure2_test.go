package e2e

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"

	"weft/cmd/weft/lab"
	"weft/cmd/weft/lab/space"
	"weft/engine/control"
)

// natAddr is what each machine of Vagrant has on its first interface, behind an
// address translator of its own.
var natAddr = netip.MustParseAddr("10.0.2.15")

// A vagrant is a lab whose nodes have two interfaces each, as Vagrant makes them:
// eth0 leads to an address translator, eth1 to the other nodes.
type vagrant struct {
	*lab.Lab
	iface map[int]string // --iface of a node by its number; "": not given
}

func newVagrant(t *testing.T, store lab.Store) *vagrant {
	t.Helper()
	v := &vagrant{iface: map[int]string{}}
	o := failing(2, "vxlan")
	o.Store = store
	o.Command = func(n *lab.Node) []string {
		dir := filepath.Dir(filepath.Dir(n.SubnetFile()))
		argv := []string{weft, "up", "--node-name=" + n.Name, "--subnet-file=" + n.SubnetFile(), "--log-format=json", fmt.Sprintf("--healthz-port=%d", healthPort)}
		if store == lab.StoreDir {
			argv = append(argv, "--leases="+dir+"/leases", "--net-config-path="+dir+"/net-conf.json")
		} else {
			argv = append(argv, "--etcd-endpoints=http://"+switchAddr.String()+":2379")
		}
		if name := v.iface[n.Index]; name != "" {
			argv = append(argv, "--iface="+name)
		}
		return argv
	}
	v.Lab = newLab(t, o)
	if store == lab.StoreEtcd {
		must(t, v.StartEtcd(within(t)))
	}
	for _, n := range v.Nodes {
		rename(t, n.Host, "eth0", "eth1")
		nat := get(t, func() (*space.Space, error) { return space.New("nat-" + n.Name) })
		t.Cleanup(nat.Close)
		gateway := netip.MustParseAddr("10.0.2.2")
		must(t, nat.Veth("inside", n.Host.Space, "eth0"))
		must(t, nat.Addresses("inside", netip.PrefixFrom(gateway, 24)))
		must(t, n.Host.Addresses("eth0", netip.PrefixFrom(natAddr, 24)))
		must(t, nat.Up("inside"))
		must(t, n.Host.Up("eth0"))
		must(t, n.Host.Default("eth0", gateway))
	}
	return v
}

func rename(t *testing.T, at *lab.Place, from, to string) {
	t.Helper()
	nl := at.Netlink()
	link := get(t, func() (netlink.Link, error) { return nl.LinkByName(from) })
	must(t, nl.LinkSetDown(link))
	must(t, nl.LinkSetName(link, to))
	must(t, nl.LinkSetUp(link))
}

// One node takes the interface of its default route, which others cannot reach.
// To the other, which has such an interface too, the address is its own.
func TestFailureWrongInterface(t *testing.T) {
	t.Parallel()
	v := newVagrant(t, lab.StoreEtcd)
	n1, n2 := v.Nodes[0], v.Nodes[1]
	v.iface[1] = "eth1"
	must(t, n1.Start(within(t)))
	must(t, n2.Start(within(t)))
	awaitPeer(t, n1, n2, control.PeerDown)
	awaitPeer(t, n2, n1, control.PeerDown)
	screen(t, n2, "status")
	screen(t, n2, "doctor", "--quiet")
	screen(t, n1, "doctor", "--quiet")
	screen(t, n2, "ping", n1.Underlay.String())

	far, near, echoes := examining(t, n1), examining(t, n2), pinging(t, n2, "-c", "1", n1.Underlay.String())
	s := status(t, n2)
	if s.Node.Iface != "eth0" || s.Node.Public != natAddr {
		t.Errorf("n2 has chosen %s %s, want eth0 %s: is this still the failure?", s.Node.Iface, s.Node.Public, natAddr)
	}
	says(t, "why n2 chose it", s.Node.IfaceWhy, "default route through eth0")
	r := near()
	found(t, finding(t, r, "iface", ""), control.Pass, "eth0 10.0.2.15: default route through eth0", "Also seen: eth1")
	found(t, finding(t, r, "peer-route", n1.Underlay.String()), control.Warn,
		"the kernel reaches 10.99.0.1 by eth1, the node's interface is eth0", "--iface=eth1")
	ping := echoes()
	says(t, "the verdict", ping[len(ping)-1].Verdict, "underlay fails", "nothing answers at 10.99.0.1")
	found(t, finding(t, far(), "peer-route", natAddr.String()), control.Fail,
		"10.0.2.15 is this host's own, on eth0", "--iface")

	v.iface[2] = "eth1"
	restart(t, n2)
	awaitPeer(t, n1, n2, control.PeerOK)
	reach(t, n1, n2)
}

// Both nodes do, and name the same address. With leases in files each has one of
// its own and refuses the other's.
func TestFailureSamePublicIP(t *testing.T) {
	t.Parallel()
	v := newVagrant(t, lab.StoreDir)
	n1, n2 := v.Nodes[0], v.Nodes[1]
	must(t, n1.Start(within(t)))
	must(t, n2.Start(within(t)))
	await(t, "n1 has read both leases", func() bool { return len(status(t, n1).Refused) == 1 })
	screen(t, n1, "status")
	screen(t, n1, "doctor", "--quiet")
	s, code := statusCode(t, n1)
	if code != 1 || s.Causes[0] != "1 lease refused" || s.Refused[0].Public != natAddr {
		t.Errorf("exit code %d, %q, %+v, want 1 and a refused lease of %s", code, s.Causes, s.Refused, natAddr)
	}
	says(t, "the refusal", s.Refused[0].Reason, "10.0.2.15 is this node's own")
	r := doctor(t, n1)
	found(t, finding(t, r, "dup-public-ip", ""), control.Fail, "10.0.2.15 is named by 2 leases: n1, 10.5.2.0/24", "--iface")
	found(t, finding(t, r, "iface", ""), control.Pass, "Also seen: eth1")
}

// In etcd the second node takes the first one's lease over, as flanneld does, and
// both write it from then on.
func TestFailureSamePublicIPEtcd(t *testing.T) {
	t.Parallel()
	v := newVagrant(t, lab.StoreEtcd)
	n1, n2 := v.Nodes[0], v.Nodes[1]
	must(t, n1.Start(within(t)))
	must(t, n2.Start(within(t)))
	for _, n := range v.Nodes {
		await(t, n.Name+" notices the other", func() bool { return status(t, n).Store.Rival != "" })
		screen(t, n, "status")
		screen(t, n, "doctor", "--quiet")
	}
	for _, n := range v.Nodes {
		s, code := statusCode(t, n)
		if code != 1 || s.Node.Subnet != status(t, n1).Node.Subnet || len(s.Causes) == 0 {
			t.Fatalf("%s: exit code %d, subnet %s, %q, want 1 and the one lease of both", n.Name, code, s.Node.Subnet, s.Causes)
		}
		says(t, "the cause", s.Causes[0], "another process", natAddr.String(), "flanneld")
		found(t, finding(t, doctor(t, n), "dup-public-ip", ""), control.Fail, "another node with that address", "--iface")
	}

	v.iface[1], v.iface[2] = "eth1", "eth1"
	restart(t, n1)
	restart(t, n2)
	awaitPeer(t, n1, n2, control.PeerOK)
	reach(t, n1, n2)
	for _, n := range v.Nodes {
		if s := status(t, n); s.Store.Rival != "" || len(s.Causes) != 0 {
			t.Errorf("%s, put right: %q, %q", n.Name, s.Store.Rival, s.Causes)
		}
	}
}
