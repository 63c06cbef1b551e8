package encap

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/lease"
)

// Two nodes, as flannel's vxlan backend wrote their leases: a MAC for each
// family.
var (
	macA4, macA6 = mac("66:7d:82:46:84:ff"), mac("82:01:51:8e:00:a1")
	macB4, macB6 = mac("7e:4d:f4:69:11:21"), mac("ea:e2:2d:40:ed:9e")

	vtepA = &VXLAN{VNI: 1, MACs: [2][6]byte{macA4, macA6}}
	vtepB = &VXLAN{VNI: 1, MACs: [2][6]byte{macB4, macB6}}

	leaseB = lease.Lease{
		Subnet:  netip.MustParsePrefix("10.5.2.0/24"),
		Subnet6: netip.MustParsePrefix("fd00:5:2::/64"),
		Attrs: lease.Attrs{
			PublicIP:      netip.MustParseAddr("192.168.50.2"),
			PublicIPv6:    netip.MustParseAddr("fd00:50::2"),
			BackendType:   "vxlan",
			BackendData:   json.RawMessage(`{"VNI":1,"VtepMAC":"7e:4d:f4:69:11:21"}`),
			BackendV6Data: json.RawMessage(`{"VNI":1,"VtepMAC":"ea:e2:2d:40:ed:9e"}`),
		},
	}
)

// Offsets in a datagram.
const (
	atVNI, atDst, atSrc, atType = 4, 8, 14, 20
)

// mac reads an Ethernet address.
func mac(s string) [6]byte { return [6]byte(unhex(strings.ReplaceAll(s, ":", ""))) }

// withGBP returns v with group policies on, those of accept alone.
func withGBP(v *VXLAN, accept string) *VXLAN {
	gbp := *v
	gbp.GBP = true
	set, err := ParsePolicies(accept)
	if err != nil {
		panic(err)
	}
	gbp.Accept = set
	return &gbp
}

// fromA returns A's datagram to B with the inner packet p.
func fromA(p []byte) []byte {
	prefix, err := vtepA.Prefix(leaseB, p[0]>>4)
	if err != nil {
		panic(err)
	}
	return slices.Concat(prefix, p)
}

// The prefix byte for byte, and where each part of it comes from.
func TestVXLANPrefix(t *testing.T) {
	other := leaseB
	other.Attrs.BackendData = json.RawMessage(`{"VNI":16711935,"VtepMAC":"7e:4d:f4:69:11:21"}`)
	old := leaseB
	old.Attrs.BackendData = json.RawMessage(`{"VtepMAC":"7e:4d:f4:69:11:21"}`)
	big := *vtepA
	big.VNI = 0x123456
	for _, c := range []struct {
		name    string
		v       *VXLAN
		peer    lease.Lease
		version uint8
		want    string
	}{
		{"IPv4", vtepA, leaseB, 4, "0800000000000100 7e4df4691121 667d824684ff 0800"},
		{"IPv6", vtepA, leaseB, 6, "0800000000000100 eae22d40ed9e 8201518e00a1 86dd"},
		{"the VNI of the lease", &big, other, 4, "08000000ff00ff00 7e4df4691121 667d824684ff 0800"},
		{"a lease without VNI", &big, old, 4, "0800000012345600 7e4df4691121 667d824684ff 0800"},
		{"with GBP on, still no G", withGBP(vtepA, "7"), leaseB, 4, "0800000000000100 7e4df4691121 667d824684ff 0800"},
	} {
		if got, err := c.v.Prefix(c.peer, c.version); err != nil || !bytes.Equal(got, unhex(c.want)) {
			t.Errorf("%s: %x, %v; want %s", c.name, got, err, c.want)
		}
	}
}

func TestVXLANPrefixRefuses(t *testing.T) {
	with := func(data, data6 string) lease.Lease {
		l := leaseB
		l.Attrs.BackendData, l.Attrs.BackendV6Data = json.RawMessage(data), json.RawMessage(data6)
		return l
	}
	noVNI := with(`{"VtepMAC":"7e:4d:f4:69:11:21"}`, "")
	for _, c := range []struct {
		name    string
		v       *VXLAN
		peer    lease.Lease
		version uint8
		err     string
	}{
		{"no data", vtepA, with("", ""), 4, "BackendData"},
		{"no IPv6 data", vtepA, noVNI, 6, "BackendV6Data"},
		{"data of another backend", vtepA, with(`{"PublicKey":"x"}`, ""), 4, "VtepMAC"},
		{"a group address", vtepA, with(`{"VtepMAC":"01:00:5e:00:00:01"}`, ""), 4, "01:00:5e:00:00:01"},
		{"our own address", vtepB, leaseB, 4, "BackendData: VtepMAC: 7e:4d:f4:69:11:21"},
		{"our own IPv6 address", vtepB, leaseB, 6, "BackendV6Data: VtepMAC"},
		{"no IPv4 address of ours", &VXLAN{VNI: 1, MACs: [2][6]byte{1: macA6}}, leaseB, 4, "our VtepMAC for IPv4: 00:00:00:00:00:00"},
		{"no IPv6 address of ours", &VXLAN{VNI: 1, MACs: [2][6]byte{macA4}}, leaseB, 6, "our VtepMAC for IPv6: 00:00:00:00:00:00"},
		{"a group address of ours", &VXLAN{VNI: 1, MACs: [2][6]byte{{0x33, 0x33}}}, leaseB, 4, "33:33:00:00:00:00"},
		{"a VNI of 25 bits", &VXLAN{VNI: 1 << 24, MACs: vtepA.MACs}, noVNI, 4, "16777216"},
	} {
		if got, err := c.v.Prefix(c.peer, c.version); err == nil || got != nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %x, %v; want an error with %q", c.name, got, err, c.err)
		}
	}
}

// deliver opens d as the data plane does.
func deliver(v *VXLAN, d []byte) Drop {
	p, drop := v.Open(d)
	if drop == Delivered {
		_, drop = Parse(p)
	}
	return drop
}

// What the kernel's VXLAN accepted and refused when it was tried (Linux 6.18,
// nolearning), case by case.
func TestVXLANAcceptance(t *testing.T) {
	d4, d6 := fromA(tcp4.with(20, 1).build()), fromA(tcp4.six().with(20, 1).build())
	zero, all := make([]byte, 6), bytes.Repeat([]byte{0xff}, 6)
	one := &VXLAN{VNI: 1, MACs: [2][6]byte{macB4, macB4}}
	only4 := &VXLAN{VNI: 1, MACs: [2][6]byte{macB4}}
	tagged := slices.Concat(d4[:atType], unhex("8100 0001"), d4[atType:])
	for _, c := range []struct {
		name string
		v    *VXLAN
		d    []byte
		want Drop
	}{
		{"IPv4", vtepB, d4, Delivered},
		{"IPv6", vtepB, d6, Delivered},
		{"source: any unicast", vtepB, set(d4, atSrc, 2, 2, 3, 4, 5, 6), Delivered},
		{"source: zero", vtepB, set(d4, atSrc, zero...), Delivered},
		{"source: zero, and no IPv6 VTEP", only4, set(d4, atSrc, zero...), Delivered},
		{"source: multicast", vtepB, set(d4, atSrc, 1, 0, 0x5e, 0, 0, 1), Delivered},
		{"source: broadcast", vtepB, set(d4, atSrc, all...), Delivered},
		{"source: the receiver", vtepB, set(d4, atSrc, macB4[:]...), VXLANMAC},
		{"source: the receiver, IPv6", vtepB, set(d6, atSrc, macB6[:]...), VXLANMAC},
		{"source: the receiver's other VTEP", vtepB, set(d4, atSrc, macB6[:]...), VXLANMAC},
		{"destination: broadcast", vtepB, set(d4, atDst, all...), VXLANMAC},
		{"destination: zero", vtepB, set(d4, atDst, zero...), VXLANMAC},
		{"destination: multicast", vtepB, set(d6, atDst, 0x33, 0x33, 0, 0, 0, 1), VXLANMAC},
		{"destination: another", vtepB, set(d4, atDst, macA4[:]...), VXLANMAC},
		{"destination: another, first byte", vtepB, set(d4, atDst, macB4[0]^2), VXLANMAC},
		{"destination: another, last byte", vtepB, set(d4, atDst+5, macB4[5]^1), VXLANMAC},
		{"destination: the IPv6 VTEP", vtepB, set(d4, atDst, macB6[:]...), VXLANMAC},
		{"destination: the IPv4 VTEP", vtepB, set(d6, atDst, macB4[:]...), VXLANMAC},
		{"destination: the only VTEP, IPv6", one, set(d6, atDst, macB4[:]...), Delivered},
		{"destination: zero, and no VTEP", &VXLAN{VNI: 1}, set(d4, atDst, zero...), VXLANMAC},
		{"destination: zero, and no IPv6 VTEP", only4, set(d6, atDst, zero...), VXLANMAC},
		{"802.1Q tag", vtepB, tagged, VXLANEtherType},
		{"802.1Q tag, for another", vtepB, set(tagged, atDst, 2), VXLANMAC},
		{"802.1Q tag, to the IPv6 VTEP", vtepB, set(tagged, atDst, macB6[:]...), VXLANEtherType},
		{"IPv4 called IPv6", one, set(d4, atType, 0x86, 0xdd), VXLANEtherType},
		{"IPv6 called IPv4", one, set(set(d6, atDst, macB4[:]...), atType, 8, 0), VXLANEtherType},
		{"IPv4 called MPLS", vtepB, set(d4, atType, 0x88, 0x47), VXLANEtherType},
		{"an EtherType that differs in its second byte", vtepB, set(d4, atType, 8, 1), VXLANEtherType},
		{"padding after the packet", vtepB, append(slices.Clone(d4), zero...), Delivered},
		{"a packet that is cut", vtepB, d4[:len(d4)-1], IPLenMismatch},
		{"one byte of packet", vtepB, d4[:vxlanOverhead+1], Runt},
		{"no packet", vtepB, d4[:vxlanOverhead], VXLANHeader},
		{"a foreign VNI and a reserved bit", vtepB, set(d4, 1, 1, 0, 0, 9), VXLANHeader},
		{"VNI 0 for 0", &VXLAN{MACs: vtepB.MACs}, set(d4, atVNI, 0, 0, 0), Delivered},
	} {
		if got := deliver(c.v, c.d); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	for n := range vxlanOverhead {
		if got := deliver(vtepB, d4[:n:n]); got != VXLANHeader {
			t.Errorf("%d bytes: %v", n, got)
		}
	}
}

// Every bit of the VXLAN header, turned over alone.
func TestVXLANHeaderBits(t *testing.T) {
	plain, gbp := vtepB, withGBP(vtepB, "any")
	for _, q := range []packet{tcp4, tcp4.six()} {
		d := fromA(q.with(20, 1).build())
		for bit := range 64 {
			at, mask := bit/8, byte(0x80)>>(bit%8)
			want, wantGBP := VXLANHeader, VXLANHeader
			switch {
			case at >= atVNI && at < atVNI+3:
				want, wantGBP = VXLANVNI, VXLANVNI
			case bit == 0, at >= 1 && at < 4: // G; flags and policy
				wantGBP = Delivered
			}
			flipped := set(d, at, d[at]^mask)
			if got := deliver(plain, flipped); got != want {
				t.Errorf("IPv%d, byte %d, bit %02x: %v, want %v", q.v, at, mask, got, want)
			}
			if got := deliver(gbp, flipped); got != wantGBP {
				t.Errorf("IPv%d, byte %d, bit %02x, with GBP: %v, want %v", q.v, at, mask, got, wantGBP)
			}
		}
		for flags := range 256 {
			if got := deliver(plain, set(d, 0, byte(flags))); (got == Delivered) != (flags == 8) {
				t.Errorf("flags %02x: %v", flags, got)
			}
			if got := deliver(gbp, set(d, 0, byte(flags))); (got == Delivered) != (flags&^0x80 == 8) {
				t.Errorf("flags %02x with GBP: %v", flags, got)
			}
		}
	}
}
