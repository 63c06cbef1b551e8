package engine

import (
	"net/netip"
	"testing"

	"weft/encap"
	"weft/engine/probe"
	"weft/tunnel"
)

// selfLoads go to the node itself, which is where the replies to its own traffic,
// and to what it masquerades, go.
func selfLoads() map[string][2][]tunnel.Packet {
	var small []tunnel.Packet
	for i := range 64 {
		small = append(small, one(udpFrom(pod(2, 2), "10.5.1.0", pattern(i, 64))))
	}
	return map[string][2][]tunnel.Packet{
		"super":    {nil, {superpacket(tcpFrom(pod(2, 2), "10.5.1.0", 1, pattern(1, 45*1420)), 1420)}},
		"64 small": {nil, small},
	}
}

// They cost no allocation either.
func TestNoAllocationsToSelf(t *testing.T) {
	for name, load := range selfLoads() {
		t.Run(name, func(t *testing.T) {
			m := newMill(load[0], load[1])
			m.goDown()
			if n := testing.AllocsPerRun(100, m.goDown); n != 0 {
				t.Errorf("%v allocations a batch", n)
			}
			if got := m.counts[1].packets.Load(); got != uint64(102*packetsOf(load[1])) {
				t.Errorf("%d packets delivered", got)
			}
		})
	}
}

func BenchmarkDownToSelf(b *testing.B) {
	for name, load := range selfLoads() {
		b.Run(name, func(b *testing.B) {
			m := newMill(load[0], load[1])
			b.ReportAllocs()
			for b.Loop() {
				m.goDown()
			}
		})
	}
}

// proberOf gives the loops of r a prober that knows its peers, and counts what it
// sends beside the tunnel.
func proberOf(t *testing.T, r *rig) *probe.Prober {
	t.Helper()
	p := probe.New(probe.Options{Passive: true, Send: func(string, []byte) error { return nil },
		SendOuter: func(string, []byte) error { return nil }})
	var targets []probe.Target
	for _, to := range r.table.Load().peers {
		targets = append(targets, probe.Target{Key: to.key, Src: netip.MustParseAddr("10.5.1.0"), Dst: tunnelAddr(to.lease.Subnet), MTU: 1400})
	}
	p.Set(targets)
	for _, d := range []*down{r.down, r.down6} {
		if d != nil {
			d.prober = p
		}
	}
	return p
}

// Datagrams beside the tunnel are the prober's in each form that a framing lets
// through, if they come from a node; no reason for a drop is counted then.
func TestConsumeOuter(t *testing.T) {
	vtepMAC := func(n int) [6]byte { return vtep(n, 4).MAC }
	udp := newRig(t, usual())
	vxlan, _ := twoVTEPs(t)
	for name, tc := range map[string]struct {
		r     *rig
		from  string
		shape probe.Shape
		drop  encap.Drop
	}{
		"udp, noise":               {udp, "192.168.50.2:8285", probe.Shape{Form: probe.Random}, encap.Delivered},
		"udp, like IP":             {udp, "192.168.50.2:8285", probe.Shape{Form: probe.IPShaped, Src: netip.MustParseAddr("10.5.2.0"), Dst: netip.MustParseAddr("10.5.1.0")}, encap.Delivered},
		"udp, noise of a stranger": {udp, "192.168.50.9:8285", probe.Shape{Form: probe.Random}, encap.OuterSrcUnknown},
		"vxlan, noise":             {vxlan, "192.168.50.2:8472", probe.Shape{Form: probe.Random}, encap.Delivered},
		"vxlan, like VXLAN":        {vxlan, "192.168.50.2:8472", probe.Shape{Form: probe.VXLANShaped, VNI: 1, SrcMAC: vtepMAC(2), DstMAC: vtepMAC(1)}, encap.Delivered},
	} {
		t.Run(name, func(t *testing.T) {
			proberOf(t, tc.r)
			b, err := (&probe.Datagram{Shape: tc.shape}).Append(nil, 77)
			must(t, err)
			tc.r.takes(tc.from, tunnel.Received{Data: b})
			want := map[encap.Drop]uint64{}
			if tc.drop != encap.Delivered {
				want[tc.drop] = 1
			}
			tc.r.wantDrops(want)
			if got := tc.r.dev.Take(); len(got) != 0 {
				t.Errorf("%d packets at the device", len(got))
			}
		})
	}
}

// A node that is reached in two ways has two names for the prober, and one else.
func TestWayKeys(t *testing.T) {
	a, _ := twoVTEPs(t)
	l := leaseOf(2, "vxlan")
	keys := map[string]bool{}
	for _, p := range a.table.Load().peers {
		keys[p.key] = true
	}
	if len(keys) != 2 || !keys[l.Key()] || !keys[l.Key()+" IPv6"] {
		t.Errorf("keys of two ways: %v", keys)
	}
	r := newRig(t, usual())
	for _, p := range r.table.Load().peers {
		if p.key != p.lease.Key() || r.table.Load().peerOf(p.key) != p {
			t.Errorf("the only way to %s is %q", p.lease.Key(), p.key)
		}
	}
}
