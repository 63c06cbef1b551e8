package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
	"weft/cmd/weft/lab/probe"
	"weft/lease"
)

// Two weft nodes and one whose kernel does the work, as stock flannel sets it
// up: every pair, both families, both wires.
func TestVXLAN(t *testing.T) {
	kernel := map[int]bool{3: true}
	l := newLabUp(t, withKernel(t, lab.Options{Nodes: 3, Store: lab.StoreEtcd, NetConf: conf("46", `{"Type":"vxlan"}`)}, kernel))
	v := vxlanLab{l, l.Nodes[0], l.Nodes[1], l.Nodes[2]}
	for wire, like := range map[string]bool{"superpackets": false, "wire-like": true} {
		t.Run(wire, func(t *testing.T) {
			must(t, l.SetWire(like))
			exchange(t, v.n1, v.n2, 16*mega, 61)
			exchange(t, v.n1, v.kernel, 16*mega, 1)
			exchange(t, v.kernel, v.n2, 8*mega, 61)
		})
	}
	t.Run("TTL", v.ttl)
	t.Run("traceroute", v.traceroute)
	t.Run("subnet.env, device, lease", v.files)
	t.Run("too big", v.tooBig)
	t.Run("no lease", func(t *testing.T) { testUnallocated(t, v.n1) })
	t.Run("restart", v.restart)
	t.Run("device deleted", v.deviceDeleted)
	t.Run("a kernel peer with a new address", v.newMAC)
	t.Run("a kernel peer that asks for neighbours", v.asksNeighbours)
}

type vxlanLab struct {
	*lab.Lab
	n1, n2, kernel *lab.Node
}

// exchange is everything with ICMP echo before it, which teaches the pod what
// fits: a UDP socket would be told of its first packet that does not, instead of
// sending the next one.
func exchange(t *testing.T, from, to *lab.Node, bytes int64, step int) {
	t.Helper()
	pings(t, from, to)
	everything(t, from, to, bytes, step)
}

// pings sends ICMP echo of several sizes, up to those that need fragments.
func pings(t *testing.T, from, to *lab.Node) {
	t.Helper()
	for family, a := range addrs(to) {
		if _, both := addrs(from)[family]; !both {
			continue
		}
		var p *probe.Pinger
		must(t, from.Pod.Do(func() (err error) { p, err = probe.NewPinger(a.Is6()); return }))
		defer p.Close()
		must(t, p.Await(within(t), a))
		for _, size := range []int{0, 1, 56, 1382, 1402, 1422, 1423, 4000, 20000} {
			pingSize(t, p, a, size)
		}
	}
}

// pingSize pings until a reply comes: the first packet of a size may be lost to
// the lesson that it is too big.
func pingSize(t *testing.T, p *probe.Pinger, to netip.Addr, size int) {
	t.Helper()
	for ctx := within(t); ; {
		got, err := p.Ping(ctx, probe.Echo{To: to, Count: 1, Size: size, Timeout: 100 * time.Millisecond}, nil)
		if err != nil && !errors.Is(err, unix.EMSGSIZE) {
			t.Fatalf("%s: no reply to %d bytes: %v", to, size, err)
		}
		if got.Received == 1 {
			return
		}
	}
}

// ttl: a crossing costs two hops, one at each node's kernel.
func (v vxlanLab) ttl(t *testing.T) {
	for _, way := range [][2]*lab.Node{{v.n1, v.n2}, {v.n1, v.kernel}, {v.kernel, v.n1}} {
		for family := range addrs(way[0]) {
			if got := hopsLeft(t, way[0], way[1], family); got != 62 {
				t.Errorf("%s to %s, %s: TTL 64 arrives as %d, want 62", way[0].Name, way[1].Name, family, got)
			}
		}
	}
}

// traceroute: the tunnel is no hop; the pods' gateways are.
func (v vxlanLab) traceroute(t *testing.T) {
	for _, to := range []*lab.Node{v.n2, v.kernel} {
		for family, want := range map[string][]netip.Addr{
			"IPv4": {netip.MustParseAddr("10.244.1.1"), to.Env().Subnet.Addr(), to.PodAddr()},
			"IPv6": {netip.MustParseAddr("fd00:244:0:1::1"), to.Env().IPv6Subnet.Addr(), to.PodAddr6()},
		} {
			if got := route(t, v.n1.Pod, addrs(v.n1)[family], addrs(to)[family]); !slices.Equal(got, want) {
				t.Errorf("%s: hops %v, want %v", family, got, want)
			}
		}
	}
}

func (v vxlanLab) files(t *testing.T) {
	b, err := os.ReadFile(v.n2.SubnetFile())
	must(t, err)
	want := "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.2.1/24\n" +
		"FLANNEL_IPV6_NETWORK=fd00:244::/48\nFLANNEL_IPV6_SUBNET=fd00:244:0:2::1/64\n" +
		"FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
	if string(b) != want {
		t.Errorf("subnet.env:\n%swant:\n%s", b, want)
	}
	d := flannel0(t, v.n2)
	d.index = 0
	const wantDevice = "index 0, mtu 1450, 10.244.2.0/32 fd00:244:0:2::/128; " +
		"10.244.0.0/16 gw <nil> src <nil> scope universe metric 0; fd00:244::/48 gw <nil> src <nil> scope universe metric 1024"
	if d.String() != wantDevice {
		t.Errorf("flannel0: %s\nwant %s", d, wantDevice)
	}
	value := leases(t, etcdClient(t, v.Lab))["10.244.2.0-24&fd00:244:0:2::-64"].value
	var a lease.Attrs
	must(t, json.Unmarshal([]byte(value), &a))
	v4, v6 := get(t, func() (lease.VTEP, error) { return a.VTEP(4) }), get(t, func() (lease.VTEP, error) { return a.VTEP(6) })
	for _, e := range []lease.VTEP{v4, v6} {
		if e.VNI != 1 || e.MAC[0]&3 != 2 {
			t.Errorf("endpoint %+v, want VNI 1 and a unicast address administered locally", e)
		}
	}
	if v4.MAC == v6.MAC {
		t.Errorf("both families' endpoints have the address %x, flannel gives each its own", v4.MAC)
	}
	again := get(t, a.MarshalJSON)
	if string(again) != value || a.PublicIP != v.n2.Underlay || a.PublicIPv6 != v.n2.Underlay6 {
		t.Errorf("lease %s is not as flannel writes it: %s", value, again)
	}
}

// tooBig: what does not fit comes back as an ICMP error or goes in fragments,
// and what just fits passes. The overhead is 50 bytes over IPv4 and 70 over
// IPv6, which flannel uses for inner IPv6.
func (v vxlanLab) tooBig(t *testing.T) {
	for _, n := range v.Nodes {
		must(t, errors.Join(n.Pod.MTU("eth0", 1500), n.Host.MTU("pod", 1500), n.Host.MTU("cni0", 1500)))
	}
	defer func() {
		for _, n := range v.Nodes {
			must(t, errors.Join(n.Host.MTU("cni0", 1450), n.Host.MTU("pod", 1450), n.Pod.MTU("eth0", 1450)))
		}
	}()
	for _, to := range []*lab.Node{v.n2, v.kernel} {
		for family, fits := range map[string]int{"IPv4": 1450, "IPv6": 1430} {
			t.Run(to.Name+" "+family, func(t *testing.T) {
				fitsExactly(t, v.n1, to, family, fits)
				fragmented(t, v.n1, to, family, fits)
			})
		}
	}
}

// fitsExactly checks that packets of one byte more than fit are answered with
// an ICMP error, and that those which fit arrive. They go to the gateway of the
// other pod, about which the first one's kernel has learnt nothing yet.
func fitsExactly(t *testing.T, from, to *lab.Node, family string, fits int) {
	headers := map[string]int{"IPv4": 28, "IPv6": 48}[family]
	subnet := map[string]netip.Prefix{"IPv4": to.Env().Subnet, "IPv6": to.Env().IPv6Subnet}[family]
	echo := startEcho(t, to.Host, subnet.Addr().Next())
	s := openUDP(t, from.Pod, netip.AddrPortFrom(addrs(from)[family], 0))
	s.discover(t, unix.IP_PMTUDISC_DO)
	e := ask(t, s, echo.addr, fits+1-headers)
	if e.fromKernel || e.errno != unix.EMSGSIZE || e.mtu != uint32(fits) {
		t.Errorf("%s, want EMSGSIZE by ICMP with MTU %d", e, fits)
	}
	b := payload(fits - headers)
	if err := s.sendTo(b, echo.addr); err != nil { // what the error queue was told may be told once more
		must(t, s.sendTo(b, echo.addr))
	}
	buf := make([]byte, 2048)
	n, _, err := s.receive(within(t), buf)
	if err != nil || string(buf[:n]) != string(b) {
		t.Errorf("of %d bytes %d came back, or changed: %v", len(b), n, err)
	}
}

// restart: the endpoint keeps its addresses, so a kernel peer has nothing to
// change; under traffic, gently and by force.
func (v vxlanLab) restart(t *testing.T) {
	c := etcdClient(t, v.Lab)
	key := lease.Key(v.n1.Env().Subnet, v.n1.Env().IPv6Subnet)
	for _, end := range []string{"SIGTERM", "SIGKILL"} {
		t.Run(end, func(t *testing.T) {
			was, value, device, m := entries(t, v.kernel), leases(t, c)[key].value, flannel0(t, v.n1), markLog(t, v.kernel)
			tr := begin(t, v.kernel, v.n1, v.n1.PodAddr(), 0)
			tr.progress(t, 4*mega)
			if end == "SIGTERM" {
				must(t, v.n1.Stop(within(t)))
			} else {
				must(t, v.n1.Kill())
			}
			must(t, v.n1.Start(within(t)))
			tr.progress(t, 8*mega)
			t.Logf("TCP stood still for %s", tr.end(t))
			reach(t, v.n1, v.kernel)
			if now := leases(t, c)[key].value; now != value {
				t.Errorf("lease %s, was %s", now, value)
			}
			if now := entries(t, v.kernel); !slices.Equal(now, was) {
				t.Errorf("the kernel peer has now\n%s\nhad\n%s", strings.Join(now, "\n"), strings.Join(was, "\n"))
			}
			if changed := m.find(t, "peer"); changed != nil {
				t.Errorf("the kernel peer had to act: %v", changed)
			}
			if now := flannel0(t, v.n1); now.String() != device.String() {
				t.Errorf("flannel0 %s, was %s", now, device)
			}
		})
	}
}

func (v vxlanLab) deviceDeleted(t *testing.T) {
	was := entries(t, v.kernel)
	testDeviceDeleted(t, v.kernel, v.n1)
	reach(t, v.n1, v.n2)
	if now := entries(t, v.kernel); !slices.Equal(now, was) {
		t.Errorf("the kernel peer has now\n%s\nhad\n%s", strings.Join(now, "\n"), strings.Join(was, "\n"))
	}
}

// newMAC: a kernel node comes back from a reboot with other endpoint addresses.
func (v vxlanLab) newMAC(t *testing.T) {
	must(t, v.kernel.Stop(within(t)))
	was := kernelVTEP(t, v.kernel, "IPv4").HardwareAddr.String()
	for _, family := range []string{"IPv4", "IPv6"} {
		must(t, v.kernel.Host.Netlink().LinkDel(kernelVTEP(t, v.kernel, family)))
	}
	must(t, v.kernel.Start(within(t)))
	if now := kernelVTEP(t, v.kernel, "IPv4").HardwareAddr.String(); now == was {
		t.Fatalf("the device still has the address %s", was)
	}
	reach(t, v.n1, v.kernel)
	reach(t, v.n2, v.kernel)
	exchange(t, v.n1, v.kernel, mega, 499)
}

// asksNeighbours takes from a kernel node what flannel gave it about n1 but the
// way to broadcast, so that it must ask who has n1's addresses, and checks what
// it has learnt.
func (v vxlanLab) asksNeighbours(t *testing.T) {
	own := leaseOf(t, leases(t, etcdClient(t, v.Lab)), v.n1)
	nl := v.kernel.Host.Netlink()
	for i, family := range []string{"IPv4", "IPv6"} {
		dev, gateway := kernelVTEP(t, v.kernel, family), subnets(own)[i].Addr()
		outer := [2]netip.Addr{v.n1.Underlay, v.n1.Underlay6}[i]
		must(t, nl.NeighDel(&netlink.Neigh{LinkIndex: dev.Index, IP: gateway.AsSlice()}))
		must(t, nl.NeighAppend(&netlink.Neigh{LinkIndex: dev.Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF,
			State: netlink.NUD_PERMANENT, IP: outer.AsSlice(), HardwareAddr: make([]byte, 6)}))
		awaitPing(t, v.kernel.Pod, addrs(v.n1)[family])
		want := get(t, func() (lease.VTEP, error) { return own.Attrs.VTEP([...]uint8{4, 6}[i]) }).MAC
		learnt := ""
		for _, e := range get(t, func() ([]netlink.Neigh, error) {
			return nl.NeighList(dev.Index, [...]int{unix.AF_INET, unix.AF_INET6}[i])
		}) {
			if e.IP.Equal(gateway.AsSlice()) {
				learnt = e.HardwareAddr.String()
			}
		}
		if text := fmt.Sprintf("% x", want); strings.ReplaceAll(text, " ", ":") != learnt {
			t.Errorf("%s: %s is at %q by the answer, want %s", family, gateway, learnt, text)
		}
	}
}
