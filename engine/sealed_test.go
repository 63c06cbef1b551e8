package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/encap"
	"weft/lease"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// sealedLease is the lease of node n as a node that encrypts writes it.
func sealedLease(n int) lease.Lease {
	l := leaseOf(n, "")
	l.Attrs.BackendType = "wireguard"
	l.Attrs.BackendData = json.RawMessage(`{"PublicKey":"bm9ib2R5J3Mga2V5LCB3aGljaCBpcyB3aHkgaXQgaXM="}`)
	return l
}

// believe puts leases in force, of which the sealed ones, and no others, are to
// be reported.
func (r *rig) believe(leases ...lease.Lease) {
	r.t.Helper()
	reported := map[string]bool{}
	r.table.Store(r.build.build(slices.Values(leases), func(l lease.Lease, err error) {
		reported[l.Key()] = true
		want := fmt.Sprintf("BackendType: %q: this node speaks %s and sends it nothing in the clear", "wireguard", r.build.framings[0].kind)
		if !l.Attrs.Sealed() || err.Error() != want {
			r.t.Errorf("lease %s refused: %v", l.Key(), err)
		}
	}))
	for _, l := range leases {
		if l.Attrs.Sealed() && !reported[l.Key()] {
			r.t.Errorf("sealed lease %s is not reported", l.Key())
		}
	}
}

// sealedCluster is node 1 of a kind, and nodes 2 and 3, which receive in both
// framings and both families. Node 3's lease says wireguard.
func sealedCluster(t *testing.T, kind string, check SourceCheck) (us, clear, sealed *rig) {
	t.Helper()
	o := rigOptions{wire: tunneltest.NewWire(), tun: allTUN, port: allPort, check: check}
	us = newNode(t, 1, kind, o)
	clear, sealed = newNode(t, 2, "vxlan", o), newNode(t, 3, "vxlan", o)
	us.believe(leaseOf(2, kind), sealedLease(3))
	return us, clear, sealed
}

// received is all that the ports of r have got.
func (r *rig) received() (out [][]byte) {
	out = append(arrived(r.t, r.ports[0]), arrived(r.t, r.ports[1])...)
	for _, in := range r.others {
		out = append(out, arrived(r.t, in.port)...)
	}
	return out
}

// What is for a sealed peer's pods is dropped and its sender told, whatever the
// lease says of addresses and keys. No port of the peer sees a byte.
func TestSealedUp(t *testing.T) {
	v4, v6 := leaseOf(3, "").Attrs.PublicIP, leaseOf(3, "").Attrs.PublicIPv6
	for _, kind := range []string{"udp", "vxlan"} {
		us, clear, sealed := sealedCluster(t, kind, Strict)
		for name, change := range map[string]func(*lease.Lease){
			"as it is":     func(*lease.Lease) {},
			"without data": func(l *lease.Lease) { l.Attrs.BackendData = nil },
			"by IPv4":      func(l *lease.Lease) { l.Attrs.PublicIP, l.Attrs.PublicIPv6 = v4, netip.Addr{} },
			"by IPv6":      func(l *lease.Lease) { l.Attrs.PublicIP, l.Attrs.PublicIPv6 = netip.Addr{}, v6 },
		} {
			l := sealedLease(3)
			change(&l)
			us.t = t
			us.believe(leaseOf(2, kind), l)
			for _, tc := range []struct {
				name   string
				packet tunnel.Packet
				answer string
				lost   uint64
			}{
				{"IPv4", one(udpFrom(pod(1, 2), pod(3, 2), pattern(1, 100))), "3/0", 1},
				{"IPv6", one(udpFrom(pod6(1, 2), pod6(3, 2), pattern(1, 100))), "1/0", 1},
				{"IPv4, a superpacket", superpacket(tcpFrom(pod(1, 2), pod(3, 2), 1, pattern(0, 3000)), 1000), "3/0", 3},
				{"IPv6, a superpacket", superpacket(tcpFrom(pod6(1, 2), pod6(3, 2), 1, pattern(0, 3000)), 1000), "1/0", 3},
			} {
				t.Run(fmt.Sprintf("%s, %s, %s", kind, name, tc.name), func(t *testing.T) {
					us.t, clear.t, sealed.t = t, t, t
					before, after := udpFrom(pod(1, 2), pod(2, 2), []byte("before")), udpFrom(pod(1, 2), pod(2, 2), []byte("after"))
					us.sendUp(one(before), tc.packet, one(after))
					us.wantDrops(map[encap.Drop]uint64{encap.WantsWireGuard: tc.lost})
					checkAnswer(t, us.dev.Take(), tc.answer, tc.packet.Data, 0)
					if got := clear.received(); len(got) != 2 {
						t.Errorf("the other peer received %d packets, want 2", len(got))
					}
					if got := sealed.received(); len(got) != 0 {
						t.Errorf("the sealed peer received % x", got)
					}
				})
			}
		}
	}
}

// A peer that changes its backend is served, or not, from the next table on,
// though the addresses of the latest packets were good ones.
func TestSealedChanges(t *testing.T) {
	rubbish := map[string]encap.Drop{"udp": encap.Runt, "vxlan": encap.VXLANHeader} // looked at, that is
	for _, kind := range []string{"udp", "vxlan"} {
		for _, check := range []SourceCheck{Strict, Report, Off} {
			us, peer, _ := sealedCluster(t, kind, check)
			out, in := udpFrom(pod(1, 2), pod(2, 2), []byte("out")), toUs(2, 1, 20)
			from := netip.AddrPortFrom(leaseOf(2, "").Attrs.PublicIP, 40001)
			data := bytes.Clone(in)
			if kind == "vxlan" {
				data = frame(in)
			}
			for round := range 4 {
				clear := round%2 == 0
				if clear {
					us.believe(leaseOf(2, kind))
				} else {
					us.believe(sealedLease(2))
				}
				us.sendUp(one(bytes.Clone(out)))
				sent, answers := len(peer.received()), len(us.dev.Take())
				for _, d := range [][]byte{bytes.Clone(data), {0xff}} {
					us.ports[0].Inject(tunnel.Received{Data: d, Size: len(d), From: from})
				}
				us.drain()
				came := len(us.dev.Take())
				if clear && (sent != 1 || answers != 0 || came != 1) || !clear && (sent != 0 || answers != 1 || came != 0) {
					t.Errorf("%s, check %d, round %d: %d sent, %d answers, %d came in", kind, check, round, sent, answers, came)
				}
				if clear {
					us.wantDrops(map[encap.Drop]uint64{rubbish[kind]: 1})
				} else {
					us.wantDrops(map[encap.Drop]uint64{encap.WantsWireGuard: 1, encap.ClearFromWireGuard: 2})
				}
			}
		}
	}
}

// A sealed peer stands in the routes and nowhere else, in the order of prefixes
// that all routes have.
func TestSealedTable(t *testing.T) {
	b := newNode(t, 1, "vxlan", rigOptions{wire: tunneltest.NewWire(), tun: allTUN, port: allPort}).build
	wide := sealedLease(3)
	wide.Subnet, wide.Subnet6 = netip.MustParsePrefix("10.5.0.0/17"), netip.Prefix{}
	only6 := sealedLease(4)
	only6.Subnet = netip.Prefix{}
	leases := []lease.Lease{wide, leaseOf(2, "vxlan"), only6}
	tab, refused := buildTable(b, leases...)
	if len(refused) != 2 || len(tab.peers) != 2 || len(b.ways) != 2 || tab.slots != tab.peers[0].out.n+tab.peers[1].out.n {
		t.Errorf("%d refused, %d peers with %d slots, %d ways", len(refused), len(tab.peers), tab.slots, len(b.ways))
	}
	if got := tab.reached(leases); len(got) != 1 || got[0].Key() != leaseOf(2, "").Key() {
		t.Errorf("reached: %v", got)
	}
	for a, want := range map[string]bool{"10.5.2.2": false, "10.5.3.2": true, "fd00:10:5:2::2": false, "fd00:10:5:4::2": true} {
		if p := tab.lookup(netip.MustParseAddr(a)); p == nil || p.sealed != want || p.sealed != (p.out.n == 0) {
			t.Errorf("%s belongs to %+v, want sealed %v", a, p, want)
		}
	}
	for a, want := range map[string]bool{"192.168.50.2": false, "192.168.50.3": true, "fd50::3": true, "fd50::4": true, "192.168.50.9": false} {
		if got := tab.sealed[netip.MustParseAddr(a)]; got != want {
			t.Errorf("%s is sealed: %v", a, got)
		}
	}
}

// Where one address holds leases of both sorts, in either order, it may speak
// for the one in the clear and for that alone.
func TestSealedSharedAddress(t *testing.T) {
	shared := sealedLease(3)
	shared.Attrs.PublicIP = leaseOf(2, "").Attrs.PublicIP
	for _, leases := range [][]lease.Lease{{leaseOf(2, ""), shared}, {shared, leaseOf(2, "")}} {
		for _, check := range []SourceCheck{Strict, Report, Off} {
			us, _, _ := sealedCluster(t, "udp", check)
			us.believe(leases...)
			good := toUs(2, 1, 10)
			us.takes("192.168.50.2:8285", tunnel.Received{Data: bytes.Clone(good)})
			us.takes("192.168.50.2:8285", tunnel.Received{Data: toUs(3, 1, 10)})
			us.wantDrops(map[encap.Drop]uint64{encap.ClearFromWireGuard: 1})
			samePackets(t, written(us.dev.Take()), [][]byte{hops(good, 1)})
		}
	}
}

// However often the table is made anew, one line tells of a sealed peer.
func TestSealedIsLoggedOnce(t *testing.T) {
	var text bytes.Buffer
	b, log := udpBuilder(node(1), &nullPort{}), newKnown(slog.New(slog.NewTextHandler(&text, nil)))
	for range 3 {
		var refusals []lease.Refusal
		tab := b.build(slices.Values([]lease.Lease{node(2), sealedLease(3)}), func(l lease.Lease, err error) {
			refusals = append(refusals, lease.Refusal{Lease: l, Err: err})
		})
		log.usable(tab.reached([]lease.Lease{node(2), sealedLease(3)}))
		log.refused(refusals)
	}
	if got := text.String(); strings.Count(got, "lease not used") != 1 || strings.Count(got, "peer added") != 1 ||
		!strings.Contains(got, "sends it nothing in the clear") || !strings.Contains(got, "peer=192.168.50.3") {
		t.Errorf("the log is\n%s", got)
	}
}
