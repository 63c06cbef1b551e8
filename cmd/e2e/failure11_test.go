package e2e

import (
	"testing"

	"weft/engine/control"
)

// Two nodes reach each other by IPv4 and, with other frames to another address, by
// IPv6. When only the latter breaks, and only one way, the node is not well, and the
// reason says of which family it is and that the peer still sends.
func TestFailureIPv6Alone(t *testing.T) {
	t.Parallel()
	o := failing(2, "vxlan")
	o.IPv6 = true
	o.NetConf = conf("46", `{"Type":"vxlan"}`)
	l := newLabUp(t, o)
	n1, n2 := l.Nodes[0], l.Nodes[1]
	awaitPeer(t, n1, n2, control.PeerOK)
	heal := nft(t, l.Switch, "netdev sixless", "chain in { type filter hook ingress device n1 priority 0; meta protocol ip6 udp dport 8472 drop; }")
	awaitPeer(t, n1, n2, control.PeerSilent)
	p := peerOf(t, n1, n2)
	says(t, "the peer's reason", p.Reason, "IPv6: it sends packets but does not answer echoes", "nothing of ours reaches it")
	if s := status(t, n1); s.Health != control.Degraded || len(s.Peers) != 1 {
		t.Errorf("n1 is %s with %d peers, want degraded with 1", s.Health, len(s.Peers))
	}
	heal()
	awaitPeer(t, n1, n2, control.PeerOK)
}
