package e2e

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"weft/cmd/weft/lab"
	"weft/cmd/weft/trace"
	"weft/engine/control"
)

// A host that holds no lease sends packets that look as a node's do.
func TestFailureStranger(t *testing.T) {
	t.Parallel()
	l := newLabUp(t, failing(2, "udp"))
	n1 := l.Nodes[0]
	s := openUDP(t, plug(t, l, "stranger", strangerAddr), netip.AddrPortFrom(strangerAddr, 0))
	forged := inner4(netip.MustParseAddrPort("10.5.2.2:7"), netip.AddrPortFrom(n1.PodAddr(), 7), 62, []byte("let me in"))
	for range 25 {
		must(t, s.sendTo(forged, tunnelOf(n1)))
	}
	await(t, "n1 has dropped all of them", func() bool { return dropped(t, n1, "outer_src_unknown").In == 25 })

	d := dropped(t, n1, "outer_src_unknown")
	says(t, "what the drops mean", d.Meaning, "the outer source holds no lease")
	says(t, "the hint", d.Hint, "a stranger", "--iface or --public-ip")
	screen(t, n1, "drops")
	screen(t, n1, "doctor", "--quiet")
	for _, k := range drops(t, n1, d.Reason) {
		if k.Drop == nil || k.Drop.Detail == "" || k.Verdict != "drop" || k.Dir != "in" || k.Remote != s.addr || k.Peer != nil {
			t.Errorf("kept is %+v (%s), want a datagram from %s", k, k.Text, s.addr)
		}
	}
	found(t, finding(t, doctor(t, n1), "stranger", ""), control.Warn, "25 packets came from hosts that hold no lease: 10.99.0.200", "keep the port closed to others")
}

// A pod has a source address that is in another node's subnet.
func TestFailureSpoofedSource(t *testing.T) {
	t.Parallel()
	l := newLabUp(t, failing(3, "vxlan"))
	n1, n2, n3 := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	const reason = "inner_src_not_in_lease"
	taken := n3.PodAddr().Next() // nobody's, in the subnet of n3
	must(t, n2.Pod.Addresses("eth0", netip.PrefixFrom(n2.PodAddr(), 24), netip.PrefixFrom(taken, 32)))
	s := openUDP(t, n2.Pod, netip.AddrPortFrom(taken, 0))
	to := netip.AddrPortFrom(n1.PodAddr(), 7)

	k := traced(t, n1, "drop "+reason, func() { must(t, s.sendTo([]byte("not mine"), to)) })
	check := func(k trace.Packet) {
		t.Helper()
		if k.Verdict != "drop" || k.Dir != "in" || k.Peer == nil || k.Peer.Public != n2.Underlay || k.Peer.Subnet != n2.Env().Subnet.Masked() ||
			k.Inner == nil || k.Inner.Src != taken || k.Inner.Dst != n1.PodAddr() || k.Drop == nil || k.Drop.Reason != reason {
			t.Errorf("it is %+v (%s), want a packet of %s from %s", k, k.Text, taken, n2.Underlay)
			return
		}
		says(t, "its detail", k.Drop.Detail, taken.String(), n2.Env().Subnet.Masked().String())
	}
	check(k)
	kept := drops(t, n1, reason)
	if len(kept) == 0 {
		t.Fatal("no dropped packet is kept")
	}
	check(kept[0])
	if d := dropped(t, n1, reason); d.In == 0 {
		t.Errorf("status counts %+v", d)
	}
	screen(t, n1, "drops", "--reason", reason)
	screen(t, n1, "doctor", "--quiet")
	screen(t, n1, "explain", n2.PodAddr().String(), taken.String())
	found(t, finding(t, doctor(t, n1), "spoof", ""), control.Warn, "had a source that is not in their sender's lease: "+taken.String()+" from "+n2.Underlay.String(), "forwards for others")
}

// dropped is how often a node dropped packets for a reason.
func dropped(t testing.TB, n *lab.Node, reason string) control.Drops {
	t.Helper()
	for _, d := range status(t, n).Drops {
		if d.Reason == reason {
			return d
		}
	}
	return control.Drops{}
}

// traced is the first packet that `weft trace` shows of a filter, while it is
// sent again and again.
func traced(t testing.TB, n *lab.Node, filter string, send func()) trace.Packet {
	t.Helper()
	type result struct {
		out  []byte
		code int
	}
	wait, done := began(t, n, "trace", "--json", "-c", "1", filter), make(chan result, 1)
	go func() {
		out, code := wait()
		done <- result{out, code}
	}()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			send()
		case r := <-done:
			var k trace.Packet
			if err := json.Unmarshal(r.out, &k); err != nil || r.code != 0 {
				t.Fatalf("weft trace %s: exit code %d, %q: %v", filter, r.code, r.out, err)
			}
			return k
		}
	}
}
