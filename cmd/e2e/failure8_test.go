package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"

	"weft/cmd/weft/lab"
	"weft/engine/control"
)

// A machine on the underlay has the address of a node. Whoever asks for it by
// ARP gets two answers, and here the wrong one.
func TestFailureDuplicateAddress(t *testing.T) {
	t.Parallel()
	l := newLabUp(t, failing(2, "vxlan"))
	n1, n2 := l.Nodes[0], l.Nodes[1]
	at := n2.Underlay.String()
	found(t, finding(t, doctor(t, n2), "address", ""), control.Pass, "no neighbour has "+at)

	double := plug(t, l, "double", n2.Underlay)
	mac := get(t, func() (string, error) {
		link, err := double.Netlink().LinkByName("eth0")
		if err != nil {
			return "", err
		}
		return link.Attrs().HardwareAddr.String(), nil
	})
	screen(t, n2, "doctor", "--quiet")
	found(t, finding(t, doctor(t, n2), "address", ""), control.Fail,
		at+" is also the address of the host with MAC "+mac, "two hosts on one network have the same address")

	var ping []control.PingReply
	await(t, "packets go to the wrong host", func() bool {
		awaitPing(t, double, n1.Underlay) // its question puts it into the other's table
		ping = pingLayers(t, n1, "--count=1", at)
		return ping[len(ping)-1].Layer == control.LayerEngine
	})
	last := ping[len(ping)-1]
	says(t, "the verdict", last.Verdict, "underlay ok, engine fails")
	screen(t, n1, "ping", "--count=1", at)

	double.Close()
	await(t, "the node is alone with its address", func() bool {
		return finding(t, doctor(t, n2), "address", "").Verdict == control.Pass
	})
	askAnew(t, n1, n2)
	reach(t, n1, n2)
}

// askAnew has a node ask anew for another's address; as `ip neigh flush`.
func askAnew(t *testing.T, n, peer *lab.Node) {
	t.Helper()
	nl := n.Host.Netlink()
	eth0 := get(t, func() (netlink.Link, error) { return nl.LinkByName("eth0") })
	must(t, nl.NeighDel(&netlink.Neigh{LinkIndex: eth0.Attrs().Index, IP: peer.Underlay.AsSlice()}))
}

// Two nodes register one address, as machines do that each have the same one on
// their first interface.
func TestFailureDuplicatePublicIP(t *testing.T) {
	t.Parallel()
	wrong := true
	o := failing(3, "vxlan")
	o.Store, o.LeaseDir = lab.StoreDir, t.TempDir()
	o.Extra = func(n *lab.Node) (args, env []string) {
		if n.Index == 3 && wrong {
			args = []string{"--public-ip=10.99.0.2"}
		}
		return args, nil
	}
	l := newLab(t, o)
	n1, n2, n3 := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	for _, n := range l.Nodes {
		must(t, n.Start(within(t)))
	}
	reach(t, n1, n2)

	await(t, "n1 knows both leases", func() bool { return len(status(t, n1).Peers) == 2 })
	screen(t, n1, "doctor", "--quiet")
	found(t, finding(t, doctor(t, n1), "dup-public-ip", ""), control.Fail,
		"10.99.0.2 is named by 2 leases: 10.5.2.0/24, 10.5.3.0/24", "two nodes have the same address", "--iface or --public-ip")
	screen(t, n3, "doctor", "--quiet")
	r := doctor(t, n3)
	found(t, finding(t, r, "dup-public-ip", ""), control.Fail, "10.99.0.2 is named by 2 leases", "10.5.2.0/24")
	found(t, finding(t, r, "nat", ""), control.Info, "no interface has 10.99.0.2, which peers are told")

	wrong = false
	must(t, n3.Stop(within(t)))
	must(t, os.Remove(filepath.Join(o.LeaseDir, "subnets", "10.5.3.0-24.json"))) // or it waits whether another n3 lives
	must(t, n3.Start(within(t)))
	must(t, l.Reach(within(t)))
	found(t, finding(t, doctor(t, n1), "dup-public-ip", ""), control.Pass)
}
