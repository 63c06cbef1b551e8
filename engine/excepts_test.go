package engine

import (
	"testing"

	"weft/encap"
	"weft/tunnel"
)

// echoFrom is an ICMP message of a kind between two IPv4 addresses, which may be
// fragmented.
func echoFrom(src, dst string, kind byte, size int) []byte {
	l4 := make([]byte, size)
	l4[0] = kind
	p := ip(src, dst, icmp, l4)
	p[6] = 0
	return seal4(p)
}

// Our kernel's replies to echoes of a peer's prober are held to what the network
// has told about the path, and not to what our own prober found: else two probers
// would confirm each other's limits for ever.
func TestUpEchoReply(t *testing.T) {
	const limit, long = 1000, 1200
	for name, tc := range map[string]struct {
		src, dst       string
		kind           byte
		learnt, probed int32
		whole          bool
	}{
		"a reply of ours":                 {"10.5.1.0", "10.5.2.0", 0, 0, limit, true},
		"a reply of a pod":                {pod(1, 2), "10.5.2.0", 0, 0, limit, false},
		"an echo of ours":                 {"10.5.1.0", "10.5.2.0", 8, 0, limit, false},
		"a reply, and the network knows":  {"10.5.1.0", "10.5.2.0", 0, limit, limit, false},
		"a reply that the network allows": {"10.5.1.0", "10.5.2.0", 0, long, limit, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, usual())
			on := r.table.Load().lookup(node(2).Subnet.Addr()).path
			on.learnt.Store(tc.learnt)
			on.probed.Store(tc.probed)
			on.limit()
			peer := newRig(t, peerOptions(r, 2))
			r.sendUp(tunnel.Packet{Data: echoFrom(tc.src, tc.dst, tc.kind, long-20)})
			got := arrived(t, peer.ports[0])
			if whole := len(got) == 1 && len(got[0]) == long; whole != tc.whole {
				t.Errorf("%d datagrams, whole: %v, want %v", len(got), whole, tc.whole)
			}
			r.wantDrops(map[encap.Drop]uint64{})
		})
	}
}
