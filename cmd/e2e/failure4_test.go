package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
	"weft/engine/control"
)

// A router on the way is narrow, and what it says of it is filtered out: long
// packets vanish. Echoes find out how long they may be.
func TestFailureMTUBlackHole(t *testing.T) {
	t.Parallel()
	const narrow, inner = 1400, 1350 // bytes of the outer packet, and what VXLAN leaves of them
	l := newLab(t, failing(2, "vxlan"))
	n1, n2 := l.Nodes[0], l.Nodes[1]
	at := n2.Underlay.String()
	throughRouter(t, l, n1, n2, narrow)
	open := nft(t, l.Switch, "ip gagged", "chain out { type filter hook output priority 0; icmp type destination-unreachable drop; }")
	must(t, l.Up(within(t)))

	p := peerOf(t, n1, n2)
	await(t, "n1 finds the path's MTU", func() bool { p = peerOf(t, n1, n2); return p.MTU < n1.Env().MTU })
	if p.MTU != inner || p.PathMTU != narrow || p.State != control.PeerOK || p.Probed.IsZero() {
		t.Errorf("peer %+v, want ok, MTU %d, path MTU %d", p, inner, narrow)
	}
	says(t, "the peer's reason", p.Reason, "the path carries 1400 bytes only, and nobody says so", "held to 1350")
	transfer(t, n1, n2, n2.PodAddr(), 16*mega)
	tooLong(t, n1, n2, inner)

	screen(t, n1, "status")
	screen(t, n1, "doctor", "--quiet")
	screen(t, n1, "drops", "--reason", "too_big")
	screen(t, n1, "ping", at, "--sweep", "--layer", "underlay,engine")
	screen(t, n1, "explain", n1.PodAddr().String(), n2.PodAddr().String(), "tcp", "80", "1450")
	report, sweep := examining(t, n1), pinging(t, n1, at, "--sweep", "--layer", "engine", "-c", "1")
	found(t, finding(t, report(), "peer-mtu", at), control.Warn, "of 1450 bytes do not", "held to 1350", "black hole", "ICMP type 3 code 4")
	if largest := layer(t, sweep(), control.LayerEngine).Largest; largest != inner {
		t.Errorf("the sweep finds %d bytes, want %d", largest, inner)
	}

	open()
	throughRouter(t, l, n1, n2, 1500)
	// Both hold a limit, and neither may take the other's for the path's. Each
	// tries again by itself within minutes, and at once when the doctor has found
	// that long packets pass.
	examining(t, n1)()
	await(t, "n1 finds the path as wide as its own link", func() bool {
		p = peerOf(t, n1, n2)
		return p.PathMTU == 1500 && p.MTU == n1.Env().MTU && p.Reason == ""
	})
}

// tooLong: a packet that is longer than the path is answered, counted, kept and
// foreseen.
func tooLong(t *testing.T, from, to *lab.Node, limit int) {
	t.Helper()
	src, dst := from.PodAddr().String(), to.PodAddr().String()
	forget(t, from.Pod)
	s := openUDP(t, from.Pod, netip.AddrPortFrom(from.PodAddr(), 0))
	s.discover(t, unix.IP_PMTUDISC_DO)
	e := ask(t, s, netip.AddrPortFrom(to.PodAddr(), 9), from.Env().MTU-28)
	if e.fromKernel || e.errno != unix.EMSGSIZE || int(e.mtu) != limit {
		t.Errorf("the pod is told %s, want EMSGSIZE by ICMP with MTU %d", e, limit)
	}
	kept := drops(t, from, "too_big")
	if len(kept) == 0 {
		t.Fatal("no dropped packet is kept")
	}
	k := kept[len(kept)-1]
	if k.Verdict != "too_big" || int(k.Limit) != limit || k.Peer == nil || k.Peer.Public != to.Underlay || k.Inner.Dst != to.PodAddr() {
		t.Errorf("kept is %+v (%s), want a packet to %s, too big for %d bytes", k, k.Text, to.PodAddr(), limit)
	}
	for size, want := range map[int]string{1450: "too_big", limit + 1: "too_big", limit: "deliver"} {
		e := explain(t, from, src, dst, "tcp", "80", fmt.Sprint(size))
		if e.Verdict != want || e.MaxSize != limit {
			t.Errorf("%d bytes: foreseen is %s, at most %d bytes: %s; want %s, %d", size, e.Verdict, e.MaxSize, e.Text, want, limit)
		}
	}
}
