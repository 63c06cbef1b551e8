package e2e

import (
	"testing"

	"weft/cmd/weft/lab"
	"weft/cmd/weft/trace"
	"weft/engine/control"
)

// vniConf is a network whose VXLAN frames bear a VNI.
func vniConf(vni string) []byte {
	return []byte(`{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":` + vni + `}}`)
}

// Somebody changes the VNI in the store, and one node of two restarts. Its
// kernel then frames with the new one, and the other node takes no such frame.
func TestFailureWrongVNI(t *testing.T) {
	t.Parallel()
	l := newLab(t, withKernel(t, lab.Options{Nodes: 2, Store: lab.StoreEtcd, NetConf: vniConf("1")}, map[int]bool{2: true}))
	must(t, l.StartEtcd(within(t)))
	n1, n2 := l.Nodes[0], l.Nodes[1]
	must(t, n1.Start(within(t)))
	_, err := etcdClient(t, l).Put(within(t), "/coreos.com/network/config", string(vniConf("2")))
	must(t, err)
	must(t, n2.Start(within(t)))

	at := n2.Underlay.String()
	pods := startPinger(t, n1.Pod, n2.PodAddr())
	droppedVNI(t, n1, n2)
	tracedVNI(t, n1, n2)
	awaitPeer(t, n1, n2, control.PeerDown)
	screen(t, n1, "drops", "--group", "--reason=vxlan_vni_not_found", "--last=3")
	screen(t, n1, "doctor", "--quiet")
	r := doctor(t, n1)
	found(t, finding(t, r, "wrong-vni", ""), control.Warn, "VNI that is not 1", "VNI 2 from "+at, "same Backend.VNI in net-conf.json")
	found(t, finding(t, r, "peer-state", at), control.Fail, "what it sends is dropped here: vxlan_vni_not_found (VNI 2)")
	screen(t, n1, "ping", "--count=1", at)
	ping := pingLayers(t, n1, "--count=1", at)
	if last := ping[len(ping)-1]; last.Layer != control.LayerEngine || layer(t, ping, control.LayerUnderlay).Answered == 0 {
		t.Errorf("%q fails, want the engine, with a good underlay: %s", last.Layer, last.Verdict)
	}
	says(t, "the verdict", ping[len(ping)-1].Verdict, "the VNI is another there")
	if _, lost := pods.end(t); lost == 0 {
		t.Error("the pods reached each other all the time")
	}

	restart(t, n1) // which reads the configuration again
	reach(t, n1, n2)
	awaitPeer(t, n1, n2, control.PeerOK)
	found(t, finding(t, doctor(t, n1), "wrong-vni", ""), control.Pass)
}

// droppedVNI checks that a node keeps frames of another with their VNI and their
// sender.
func droppedVNI(t *testing.T, n, from *lab.Node) {
	t.Helper()
	const reason = "vxlan_vni_not_found"
	var kept []trace.Packet
	await(t, "a frame with another VNI is kept", func() bool {
		kept = drops(t, n, reason)
		return len(kept) > 0
	})
	for _, p := range kept {
		if p.VNI == nil || *p.VNI != 2 || p.Remote.Addr() != from.Underlay || p.Drop.Reason != reason {
			t.Errorf("kept %+v, want VNI 2 from %s", p, from.Underlay)
		}
		if p.Peer == nil || !p.Peer.Subnet.Contains(from.PodAddr()) {
			t.Errorf("%s: the peer is %+v, want that with %s", p.Text, p.Peer, from.PodAddr())
		}
	}
}

// tracedVNI checks that the word vni shows both ways: what the node sends, by the
// peer's lease, and what comes back and is dropped. Nobody sends another VNI.
func tracedVNI(t *testing.T, n, peer *lab.Node) {
	t.Helper()
	screen(t, n, "trace", "--count=2", "--for=10s", "vni 2")
	verdicts := map[string]string{"out": "sent", "in": "drop"}
	await(t, "a trace shows frames of both directions", func() bool {
		seen := map[string]bool{}
		for _, p := range lines[trace.Packet](t, printed(t, n, "trace", "--json", "--count=10", "--for=5s", "vni 2")) {
			if p.VNI == nil || *p.VNI != 2 || p.Remote.Addr() != peer.Underlay || string(p.Verdict) != verdicts[p.Dir] {
				t.Errorf("traced %s, want VNI 2, %s and %q", p.Text, peer.Underlay, verdicts[p.Dir])
			}
			seen[p.Dir] = true
		}
		return seen["in"] && seen["out"]
	})
	if out := printed(t, n, "trace", "--json", "--for=300ms", "vni 1"); len(out) > 0 {
		t.Errorf("traced %s, but nobody sends VNI 1", out)
	}
}
