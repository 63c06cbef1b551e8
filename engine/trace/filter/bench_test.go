package filter

import (
	"net/netip"
	"testing"
)

// tcpSYN is a packet of the kind that is traced most: 10.244.1.2:40000 to
// 10.244.2.2:80, with a way back to the node that it goes to.
func tcpSYN() *Packet {
	return &Packet{
		Inner: []byte{
			0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 244, 1, 2, 10, 244, 2, 2,
			0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0,
		},
		InnerLen: 40,
		Outer: []byte{
			0x45, 0, 0, 76, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 168, 0, 1, 192, 168, 0, 2,
			0xc0, 0, 0x21, 0x18, 0, 56, 0, 0, 8, 0, 0, 0, 0, 0, 1, 0,
		},
		OuterLen: 76,
		Remote:   netip.MustParseAddr("192.168.0.2"),
		Other:    netip.MustParseAddr("fd00::2"),
		Subnets:  [2]netip.Prefix{netip.MustParsePrefix("10.244.2.0/24"), netip.MustParsePrefix("fd00:0:0:2::/64")},
		VNI:      1, HasVNI: true,
	}
}

var benchmarks = []struct{ name, text string }{
	{"empty", ""},
	{"host-port", "host 10.244.2.2 and tcp port 80"},
	{"nothing", "udp port 53"},
	{"nothing-own", "peer 192.168.0.9"},
	{"drop", "drop"},
	{"flags", "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0"},
	{"lease", "lease 10.244.3.0/24"},
	{"six", "host fd00::1 or net fe80::/10"},
}

func BenchmarkMatch(b *testing.B) {
	for _, bm := range benchmarks {
		b.Run(bm.name, func(b *testing.B) {
			f, err := Compile(bm.text)
			if err != nil {
				b.Fatal(err)
			}
			p := tcpSYN()
			b.ReportAllocs()
			for b.Loop() {
				f.Match(p)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		if _, err := Compile("host 10.244.2.2 and tcp port 80"); err != nil {
			b.Fatal(err)
		}
	}
}
