package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
	"weft/lease"
)

// conf is a net-conf.json for the families in "4", "6" or "46", with a Backend
// object.
func conf(families, backend string) []byte {
	return fmt.Appendf(nil, `{"Network":"10.244.0.0/16","EnableIPv4":%t,"EnableIPv6":%t,"IPv6Network":"fd00:244::/48","Backend":%s}`,
		strings.Contains(families, "4"), strings.Contains(families, "6"), backend)
}

// withKernel lets those nodes of a lab whose index is in the set be kernel
// nodes instead of weft. It is looked at whenever a node starts.
func withKernel(t *testing.T, o lab.Options, kernel map[int]bool) lab.Options {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	at := "-etcd-endpoints=http://" + switchAddr.String() + ":2379"
	if o.Store == lab.StoreDir {
		o.LeaseDir = t.TempDir()
		must(t, os.WriteFile(filepath.Join(o.LeaseDir, "net-conf.json"), o.NetConf, 0o644))
		at = "-leases=" + o.LeaseDir
	}
	o.Command = func(n *lab.Node) []string {
		if !kernel[n.Index] {
			return nil
		}
		return []string{self, kernelNodeName, at, "-node-name=" + n.Name, "-iface=eth0", "-subnet-file=" + n.SubnetFile(),
			"-public-ip=" + n.Underlay.String(), "-public-ipv6=" + n.Underlay6.String()}
	}
	return o
}

// kernelVTEP returns a node's kernel device for inner packets of a family; nil
// if there is none.
func kernelVTEP(t testing.TB, n *lab.Node, family string) *netlink.Vxlan {
	t.Helper()
	links := get(t, n.Host.Netlink().LinkList)
	for _, l := range links {
		if v, ok := l.(*netlink.Vxlan); ok && strings.HasPrefix(v.Name, "flannel-v6.") == (family == "IPv6") {
			return v
		}
	}
	return nil
}

// entries lists what a kernel node has programmed for its peers: neighbours,
// FDB entries and routes of both devices.
func entries(t testing.TB, n *lab.Node) (list []string) {
	t.Helper()
	nl := n.Host.Netlink()
	for _, family := range []string{"IPv4", "IPv6"} {
		v := kernelVTEP(t, n, family)
		if v == nil {
			continue
		}
		for _, af := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_BRIDGE} {
			for _, e := range get(t, func() ([]netlink.Neigh, error) { return nl.NeighList(v.Index, af) }) {
				if e.State == netlink.NUD_PERMANENT {
					list = append(list, fmt.Sprintf("%s %s lladdr %s", v.Name, e.IP, e.HardwareAddr))
				}
			}
		}
		filter := &netlink.Route{LinkIndex: v.Index, Table: unix.RT_TABLE_MAIN}
		for _, r := range get(t, func() ([]netlink.Route, error) {
			return nl.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
		}) {
			if r.Gw != nil {
				list = append(list, fmt.Sprintf("%s %s via %s flags %v metric %d", v.Name, r.Dst, r.Gw, r.ListFlags(), r.Priority))
			}
		}
	}
	slices.Sort(list)
	return list
}

// programmed is what entries should list on a node for leases of peers.
func programmed(t testing.TB, peers ...lease.Lease) (list []string) {
	t.Helper()
	for _, l := range peers {
		outer := [2]netip.Addr{l.Attrs.PublicIP, l.Attrs.PublicIPv6}
		for i, subnet := range subnets(l) {
			if !subnet.IsValid() {
				continue
			}
			name, metric := vtepName(i, 1), [...]int{0, 1024}[i]
			v := get(t, func() (lease.VTEP, error) { return l.Attrs.VTEP([...]uint8{4, 6}[i]) })
			mac := fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", v.MAC[0], v.MAC[1], v.MAC[2], v.MAC[3], v.MAC[4], v.MAC[5])
			list = append(list, fmt.Sprintf("%s %s lladdr %s", name, subnet.Addr(), mac),
				fmt.Sprintf("%s %s lladdr %s", name, outer[i], mac),
				fmt.Sprintf("%s %s via %s flags [onlink] metric %d", name, subnet, subnet.Addr(), metric))
		}
	}
	slices.Sort(list)
	return list
}

// hopsLeft sends a datagram with TTL 64 and returns with what TTL it arrives.
func hopsLeft(t testing.TB, from, to *lab.Node, family string) int {
	t.Helper()
	in := openUDP(t, to.Pod, netip.AddrPortFrom(addrs(to)[family], 0))
	if in.is4() {
		in.set(t, unix.IPPROTO_IP, unix.IP_RECVTTL, 1)
	} else {
		in.set(t, unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
	}
	out := openUDP(t, from.Pod, netip.AddrPortFrom(addrs(from)[family], 0))
	out.hops(t, 64)
	must(t, out.sendTo([]byte("ttl"), in.addr))
	must(t, in.wait(within(t), unix.POLLIN))
	buf, oob := make([]byte, 64), make([]byte, 128)
	_, n, _, _, err := unix.Recvmsg(in.fd, buf, oob, 0)
	must(t, err)
	msgs := get(t, func() ([]unix.SocketControlMessage, error) { return unix.ParseSocketControlMessage(oob[:n]) })
	if len(msgs) != 1 || len(msgs[0].Data) < 4 {
		t.Fatalf("%s: control messages %+v, want the TTL alone", family, msgs)
	}
	return int(msgs[0].Data[0])
}

// leaseOf reads a node's lease from etcd.
func leaseOf(t testing.TB, list map[string]stored, n *lab.Node) (l lease.Lease) {
	t.Helper()
	e := n.Env()
	l.Subnet, l.Subnet6 = e.Subnet, e.IPv6Subnet
	must(t, l.Attrs.UnmarshalJSON([]byte(list[l.Key()].value)))
	return l
}

// The stand-in for stock flannel is what the contract says flannel is: without
// that, no other test here would show anything.
func TestKernelNodes(t *testing.T) {
	kernel := map[int]bool{1: true, 2: true}
	l := newLabUp(t, withKernel(t, lab.Options{Nodes: 2, Store: lab.StoreEtcd, NetConf: conf("46", `{"Type":"vxlan"}`)}, kernel))
	n1, n2 := l.Nodes[0], l.Nodes[1]
	c := etcdClient(t, l)
	t.Run("lease", func(t *testing.T) {
		v4, v6 := kernelVTEP(t, n1, "IPv4"), kernelVTEP(t, n1, "IPv6")
		want := fmt.Sprintf(`{"PublicIP":"10.99.0.1","PublicIPv6":"fd99::1","BackendType":"vxlan",`+
			`"BackendData":{"VNI":1,"VtepMAC":%q},"BackendV6Data":{"VNI":1,"VtepMAC":%q}}`, v4.HardwareAddr, v6.HardwareAddr)
		if got := leases(t, c)["10.244.1.0-24&fd00:244:0:1::-64"].value; got != want {
			t.Errorf("lease %s\nwant  %s", got, want)
		}
	})
	t.Run("devices", func(t *testing.T) {
		for family, want := range map[string]string{
			"IPv4": "flannel.1 id 1 port 8472 mtu 1450 learning false gbp false zero6 false false csum true local 10.99.0.1 10.244.1.0/32",
			"IPv6": "flannel-v6.1 id 1 port 8472 mtu 1430 learning false gbp false zero6 false false csum true local fd99::1 fd00:244:0:1::/128",
		} {
			v := kernelVTEP(t, n1, family)
			got := fmt.Sprintf("%s id %d port %d mtu %d learning %t gbp %t zero6 %t %t csum %t local %s", v.Name, v.VxlanId, v.Port, v.MTU,
				v.Learning, v.GBP, v.UDP6ZeroCSumTx, v.UDP6ZeroCSumRx, v.UDPCSum, v.SrcAddr)
			for _, a := range get(t, func() ([]netlink.Addr, error) { return n1.Host.Netlink().AddrList(v, netlink.FAMILY_ALL) }) {
				if !a.IP.IsLinkLocalUnicast() {
					got += " " + a.IPNet.String()
				}
			}
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
	})
	t.Run("entries", func(t *testing.T) {
		list := leases(t, c)
		if got, want := entries(t, n1), programmed(t, leaseOf(t, list, n2)); !slices.Equal(got, want) {
			t.Errorf("entries\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
	t.Run("traffic", func(t *testing.T) {
		for _, like := range []bool{false, true} {
			must(t, l.SetWire(like))
			exchange(t, n1, n2, 4*mega, 311)
		}
		for family := range addrs(n1) {
			if got := hopsLeft(t, n1, n2, family); got != 62 {
				t.Errorf("%s: TTL 64 arrives as %d, want 62", family, got)
			}
		}
	})
	t.Run("a peer leaves", func(t *testing.T) {
		m := markLog(t, n1)
		put(t, c, "10.244.9.0-24", vxlanLease("10.99.0.9", "02:00:00:00:00:09"))
		m.await(t, "peer programmed", "10.244.9.0-24")
		remove(t, c, "10.244.9.0-24")
		m.await(t, "peer forgotten", "10.244.9.0-24")
		if got, want := entries(t, n1), programmed(t, leaseOf(t, leases(t, c), n2)); !slices.Equal(got, want) {
			t.Errorf("entries\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
	t.Run("what it leaves behind", func(t *testing.T) {
		was := entries(t, n2)
		must(t, n2.Stop(within(t)))
		reach(t, n1, n2) // the kernel goes on
		must(t, n2.Start(within(t)))
		if now := entries(t, n2); !slices.Equal(now, was) {
			t.Errorf("entries\n%s\nwere\n%s", strings.Join(now, "\n"), strings.Join(was, "\n"))
		}
	})
}

// vxlanLease is a lease as flannel's vxlan backend writes it.
func vxlanLease(publicIP, mac string) string {
	return fmt.Sprintf(`{"PublicIP":%q,"PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":%q}}`, publicIP, mac)
}
