package encap

import "testing"

func BenchmarkOpen(b *testing.B) {
	d4, d6 := fromA(tcp4.with(1400, 1).build()), fromA(tcp4.six().with(1400, 1).build())
	for _, c := range []struct {
		name string
		e    Encapsulator
		d    []byte
		want Drop
	}{
		{"udp", UDP{}, tcp4.with(1400, 1).build(), Delivered},
		{"vxlan-ipv4", vtepB, d4, Delivered},
		{"vxlan-ipv6", vtepB, d6, Delivered},
		{"vxlan-gbp-ipv4", withGBP(vtepB, "0,7"), set(d4, 0, 0x88, 0, 0, 7), Delivered},
		{"vxlan-foreign-vni", vtepB, set(d4, atVNI, 9), VXLANVNI},
		{"vxlan-foreign-mac", vtepB, set(d4, atDst, 2), VXLANMAC},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, drop := c.e.Open(c.d); drop != c.want {
					b.Fatal(drop)
				}
			}
		})
	}
}

func BenchmarkAnswer(b *testing.B) {
	buf := make([]byte, MaxNeighbour)
	for name, d := range map[string][]byte{"arp": arp(nil), "solicitation": solicitation(nil)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if vtepB.Answer(buf, d, self) == 0 {
					b.Fatal("no answer")
				}
			}
		})
	}
}

func BenchmarkDecapECN(b *testing.B) {
	for name, q := range map[string]packet{"ipv4": tcp4, "ipv6": tcp4.six()} {
		p := q.marked(ecnECT0)
		was := p[1]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p[1] = was
				DecapECN(p, ecnCE)
			}
		})
	}
}

// These run for each packet, or for each stranger's datagram.
func TestVXLANPathAllocatesNothing(t *testing.T) {
	ns, ask, d := solicitation(nil), arp(nil), fromA(tcp4.with(20, 1).build())
	p4, p6 := tcp4.marked(ecnECT0), tcp4.six().marked(ecnECT0)
	h4, h6 := parsed(t, p4), parsed(t, p6)
	buf, gbp := make([]byte, MaxNeighbour), withGBP(vtepB, "7")
	var used uint32
	if n := testing.AllocsPerRun(50, func() {
		vtepB.Answer(buf, ns, self)
		vtepB.Answer(buf, ask, self)
		gbp.Open(d)
		gbp.Policy(d)
		DecapECN(p4, ecnCE)
		DecapECN(p6, ecnCE)
		used += FlowHash(p4, &h4) + FlowHash(p6, &h6)
	}); n != 0 || used == 0 {
		t.Errorf("%v allocations", n)
	}
}
