package e2e

import (
	"strings"
	"testing"

	"weft/engine/control"
)

// A firewall at the peer's host drops what is for the tunnel's port.
func TestFailureFirewall(t *testing.T) {
	t.Parallel()
	l := newLabUp(t, failing(2, "vxlan"))
	n1, n2 := l.Nodes[0], l.Nodes[1]
	at := n2.Underlay.String()
	awaitWeft(t, n1, n2)
	remove := nft(t, n2.Host, "inet firewall", "chain in { type filter hook input priority 0; udp dport 8472 drop; }")

	screen(t, n1, "ping", at)
	screen(t, n2, "doctor", "--quiet")
	echoes, near, far := pinging(t, n1, at), examining(t, n1), examining(t, n2)
	ping := echoes()
	if ways := heard(ping); ways["icmp"] != 3 || ways["port 8472"] != 0 || layer(t, ping, control.LayerEngine).Answered != 0 {
		t.Errorf("beside the tunnel %v answers, through it %d; want 3 to icmp alone", ways, layer(t, ping, control.LayerEngine).Answered)
	}
	last := ping[len(ping)-1]
	if last.Layer != control.LayerEngine {
		t.Errorf("the layer that fails is %q, want engine", last.Layer)
	}
	says(t, "the verdict", last.Verdict, "underlay ok, engine fails", "port 8472 does not", "a firewall drops UDP to that port")
	found(t, finding(t, near(), "peer", at), "", "underlay ✓", "echo ✗", "random ✗", "vxlan-shaped ✗")
	found(t, finding(t, far(), "port-policy", ""), control.Fail, "inet firewall", "drops udp port 8472")

	remove()
	reach(t, n1, n2)
	if ping := pingLayers(t, n1, "-c", "1", at); ping[len(ping)-1].Layer != "" {
		t.Errorf("without the rule: %s", ping[len(ping)-1].Verdict)
	}
}

// A device on the path takes what looks like VXLAN, and nothing else.
func TestFailureVXLANEaten(t *testing.T) {
	t.Parallel()
	l := newLabUp(t, failing(2, "vxlan"))
	n1, n2 := l.Nodes[0], l.Nodes[1]
	at := n2.Underlay.String()
	awaitWeft(t, n1, n2)
	remove := nft(t, l.Switch, "netdev hungry", "chain in { type filter hook ingress device n1 priority 0; udp dport 8472 @th,64,8 0x08 drop; }")

	screen(t, n1, "doctor", "--quiet")
	screen(t, n1, "ping", at)
	echoes, r := pinging(t, n1, at), doctor(t, n1)
	found(t, finding(t, r, "peer", at), "", "underlay ✓", "echo ✗", "random ✓", "vxlan-shaped ✗")
	found(t, finding(t, r, "peer-vxlan", at), control.Fail, "those that look like VXLAN do not", "a device on the path takes VXLAN for its own", "Backend.Port")
	ping := echoes()
	if ways := heard(ping); ways["icmp"] != 3 || ways["port 8472"] != 3 {
		t.Errorf("beside the tunnel %v answers, want 3 of each", ways)
	}
	says(t, "the verdict", ping[len(ping)-1].Verdict, "underlay ok, engine fails", "the peer's port 8472 is reached", "looks like VXLAN")

	remove()
	reach(t, n1, n2)
	if ping := pingLayers(t, n1, "-c", "1", at); ping[len(ping)-1].Layer != "" {
		t.Errorf("without the rule: %s", ping[len(ping)-1].Verdict)
	}
}

// heard counts the answers beside the tunnel by their way, which the notes tell.
func heard(replies []control.PingReply) map[string]int {
	ways := map[string]int{}
	for _, r := range replies {
		if r.Layer == control.LayerUnderlay && r.RTT != nil {
			way, _, _ := strings.Cut(r.Note, ":")
			ways[way]++
		}
	}
	return ways
}
