package engine

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"weft/encap"
	"weft/tunnel"
)

// A clearCase is a message in the clear that concerns a sealed peer: node 3.
type clearCase struct {
	name   string
	from   int    // node; 9 is a stranger
	packet []byte // inner
	copies int    // in one message
	strict encap.Drop
	other  encap.Drop // reason where the source check is report or off
}

func clearCases() []clearCase {
	const sealed = encap.ClearFromWireGuard
	us4, us6 := pod(1, 2), pod6(1, 2)
	return []clearCase{
		{"a sealed peer's own pod", 3, udpFrom(pod(3, 2), us4, nil), 1, sealed, sealed},
		{"a sealed peer's own pod, IPv6", 3, udpFrom(pod6(3, 2), us6, nil), 1, sealed, sealed},
		{"a run of them", 3, udpFrom(pod(3, 2), us4, pattern(1, 64)), 5, sealed, sealed},
		{"from a sealed peer in another's name", 3, udpFrom(pod(2, 2), us4, nil), 1, sealed, sealed},
		{"from a sealed peer in nobody's name", 3, udpFrom("10.6.0.1", us4, nil), 1, sealed, sealed},
		{"rubbish from a sealed peer", 3, []byte{0xff}, 1, sealed, sealed},
		{"from a sealed peer, for elsewhere", 3, udpFrom(pod(3, 2), "192.0.2.1", nil), 1, sealed, sealed},
		{"a peer in a sealed one's name", 2, udpFrom(pod(3, 2), us4, nil), 1, sealed, sealed},
		{"a peer in a sealed one's name, IPv6", 2, udpFrom(pod6(3, 2), us6, nil), 1, sealed, sealed},
		// Strict, nothing of a stranger's is looked at.
		{"a stranger in a sealed one's name", 9, udpFrom(pod(3, 2), us4, nil), 1, encap.OuterSrcUnknown, sealed},
		{"a stranger in a sealed one's name, IPv6", 9, udpFrom(pod6(3, 2), us6, nil), 1, encap.OuterSrcUnknown, sealed},
	}
}

// Nothing in the clear comes in from a sealed peer's address, nor with one of
// its pods' addresses: in no framing, by neither outer family, and whatever the
// source check. What others send in the same batch comes in.
func TestSealedDown(t *testing.T) {
	for _, kind := range []string{"udp", "vxlan"} {
		for _, check := range []SourceCheck{Strict, Report, Off} {
			us, _, _ := sealedCluster(t, kind, check)
			for _, in := range append([]inlet{{us.ports[0], us.down}, {us.ports[1], us.down6}}, us.others...) {
				for _, tc := range clearCases() {
					t.Run(fmt.Sprintf("%s, check %d, at %s: %s", kind, check, in.port.Local(), tc.name), func(t *testing.T) {
						us.t = t
						us.clearCase(in, tc)
					})
				}
			}
		}
	}
}

func (r *rig) clearCase(in inlet, tc clearCase) {
	wrap := func(p []byte) []byte {
		if in.down.framing.kind == "vxlan" {
			return frame(p)
		}
		return bytes.Clone(p)
	}
	send := func(n int, p []byte, copies int) {
		from := leaseOf(n, "").Attrs.PublicIP
		if in.port.Local().Addr().Is6() {
			from = leaseOf(n, "").Attrs.PublicIPv6
		}
		d := wrap(p)
		in.port.Inject(tunnel.Received{Data: bytes.Repeat(d, copies), Size: len(d), From: netip.AddrPortFrom(from, 40001)})
	}
	before, after := toUs(2, 2, 33), toUs(2, 3, 44)
	send(2, before, 1)
	send(tc.from, tc.packet, tc.copies)
	send(2, after, 1)
	r.drain()
	drop := tc.other
	if in.down.check == Strict {
		drop = tc.strict
	}
	r.wantDrops(map[encap.Drop]uint64{drop: uint64(tc.copies)})
	want := [][]byte{before, after}
	if in.down.framing.codec.Routes() {
		want = hopsAll(want, 1)
	}
	samePackets(r.t, written(r.dev.Take()), want)
}

// A question for our link-layer address is answered in the clear as well: a
// sealed peer that asks gets no answer, where others do.
func TestSealedNeighbour(t *testing.T) {
	for _, check := range []SourceCheck{Strict, Report, Off} {
		us, clear, sealed := sealedCluster(t, "vxlan", check)
		asker := vtep(2, 4).MAC
		ask := append([]byte{8, 0, 0, 0, 0, 0, 1, 0, 255, 255, 255, 255, 255, 255}, asker[:]...)
		ask = append(append(ask, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1), asker[:]...)
		ask = append(ask, 10, 5, 2, 0, 0, 0, 0, 0, 0, 0, 10, 5, 1, 0)
		us.takes("192.168.50.3:8472", tunnel.Received{Data: bytes.Clone(ask)})
		us.takes("192.168.50.2:8472", tunnel.Received{Data: ask})
		us.wantDrops(map[encap.Drop]uint64{encap.ClearFromWireGuard: 1})
		if got, other := len(sealed.received()), len(clear.received()); got != 0 || other != 1 {
			t.Errorf("source check %d: %d answers to the sealed peer, %d to the other", check, got, other)
		}
	}
}
