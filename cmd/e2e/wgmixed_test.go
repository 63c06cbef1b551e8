package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
)

// A node that encrypts sends nothing to one that does not, and takes nothing
// from it. The pods are told that there is no way.
func TestWireGuardMixed(t *testing.T) {
	l := newLabUp(t, lab.Options{Nodes: 2, Env: quiet, Store: lab.StoreEtcd, NetConf: wgConf("4", "")})
	n, other, c := l.Nodes[0], l.Nodes[1], etcdClient(t, l)
	at := plug(t, l, "clear", framePeerAddr)
	in := openUDP(t, n.Pod, netip.AddrPortFrom(n.PodAddr(), 0))
	out := openUDP(t, at, netip.AddrPortFrom(framePeerAddr, 0))
	pod := netip.MustParseAddrPort("10.244.202.2:7")
	for i, value := range []string{udpLease(framePeerAddr.String()), vxlanLease(framePeerAddr.String(), "02:00:00:00:02:02")} {
		m := markLog(t, n)
		put(t, c, framePeerKey, value)
		if line := m.await(t, "lease not used", framePeerKey); line.Level != "WARN" {
			t.Errorf("%s", line.Text)
		}
		w := tapWire(t, at)
		for _, size := range []int{1, 1000, 5000} {
			if e := ask(t, in, pod, size); e.typ != 3 || e.code != 0 || e.fromKernel {
				t.Errorf("%d bytes: %s, want unreachable", size, e)
			}
		}
		const last = 9
		must(t, openUDP(t, n.Host, netip.AddrPortFrom(n.Underlay, 0)).sendTo([]byte("the end"), netip.AddrPortFrom(framePeerAddr, last)))
		if port := w.next(t, n); port != last {
			t.Errorf("lease %d: a datagram for port %d left the node", i, port)
		}
		packet := inner4(pod, in.addr, 62, []byte("in the clear"))
		for _, port := range []uint16{8285, 8472, 51820} {
			if err := out.sendTo(packet, netip.AddrPortFrom(n.Underlay, port)); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
				t.Error(err)
			}
		}
		end := openUDP(t, other.Pod, netip.AddrPortFrom(other.PodAddr(), 0))
		must(t, end.sendTo([]byte("sealed"), in.addr))
		expect(t, in, "sealed")
		remove(t, c, framePeerKey)
	}
	if drops := stopped(t, n); drops["peer_not_wireguard"] < 6 || drops["wg_not_a_message"] == 0 {
		t.Errorf("drops %v, want at least 6 peer_not_wireguard, and wg_not_a_message", drops)
	}
}

// A node that comes back with another backend leaves no device of the one
// before, whose routes would lead astray.
func TestWireGuardLeftovers(t *testing.T) {
	l := newLabUp(t, lab.Options{Nodes: 2, Store: lab.StoreEtcd, NetConf: conf("46", `{"Type":"udp"}`)})
	n1, n2, c := l.Nodes[0], l.Nodes[1], etcdClient(t, l)
	all := []string{"flannel0", "flannel-wg", "flannel-wg-v6"}
	for _, step := range []struct {
		conf []byte
		has  string
	}{
		{wgConf("46", ""), "flannel-wg flannel-wg-v6"},
		{wgConf("46", `,"Mode":"auto"`), "flannel-wg"},
		{conf("46", `{"Type":"vxlan"}`), "flannel0"},
		{wgConf("46", `,"Mode":"ipv6"`), "flannel-wg"},
		{conf("46", `{"Type":"udp"}`), "flannel0"},
	} {
		_, err := c.Put(within(t), "/coreos.com/network/config", string(step.conf))
		must(t, err)
		restart(t, n1, n2)
		reach(t, n1, n2)
		for _, n := range l.Nodes {
			has := ""
			for _, name := range all {
				_, err := n.Host.Netlink().LinkByName(name)
				if err == nil {
					has += " " + name
				} else if !errors.As(err, new(netlink.LinkNotFoundError)) {
					t.Error(err)
				}
			}
			if has != " "+step.has {
				t.Errorf("%s: devices%s with %s, want %s", n.Name, has, step.conf, step.has)
			}
		}
		exchange(t, n1, n2, mega, 499)
	}
}

// Two nodes with WireGuard, as anybody may have them: neither root nor a module
// is needed.
func TestUserNSWireGuard(t *testing.T) {
	p := newPerson(t)
	p.lab(t, "up", "-d", "--backend=wireguard", "2")
	down := false
	defer func() {
		if !down {
			p.lab(t, "down")
		}
	}()
	for i := range 2 {
		from, to := fmt.Sprint("n", 1+i), fmt.Sprint("n", 2-i)
		p.lab(t, "exec", from, "--", weft, "lab", "tool", "ping", "-c3", "-s1400", "-i1ms", to)
		p.stream(t, from, to)
	}
	p.lab(t, "kill", "n2")
	p.lab(t, "start", "n2")
	p.stream(t, "n2", "n1")
	p.lab(t, "down")
	down = true
}
