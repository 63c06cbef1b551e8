package encap

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
)

// Offsets in a datagram with ARP, and with a neighbour solicitation.
const (
	atARP  = vxlanOverhead
	atIP6  = vxlanOverhead
	atICMP = atIP6 + 40
)

// questions are datagrams that B answers.
func questions() map[string][]byte {
	return map[string][]byte{
		"ARP":               arp(nil),
		"ARP to our MAC":    arp(func(d []byte) { copy(d[atDst:], macB4[:]) }),
		"ARP probe":         arp(func(d []byte) { clear(d[atARP+14 : atARP+18]) }),
		"ARP with padding":  append(arp(nil), make([]byte, 18)...),
		"ARP for another's": arp(func(d []byte) { copy(d[atARP+8:], macB6[:]) }), // a proxy asks
		"NS":                solicitation(nil),
		"NS to our MAC":     solicitation(func(d []byte) { copy(d[atDst:], macB6[:]) }),
		"NS to broadcast":   solicitation(func(d []byte) { copy(d[atDst:], "\xff\xff\xff\xff\xff\xff") }),
		"NS to our address": solicitation(func(d []byte) { copy(d[atIP6+24:], self[1].AsSlice()) }),
		"NS without option": solicit(nil, nil),
		"NS with others":    solicit(unhex("0e01 112233445566 0101 8201518e00a1"), nil),
		"NS with a label":   solicitation(func(d []byte) { d[atIP6+3] = 9 }),
		"NS with padding":   append(solicitation(nil), make([]byte, 18)...),
		"DAD":               solicit(nil, func(d []byte) { clear(d[atIP6+8 : atIP6+24]) }),
		"DAD with nonce":    solicit(unhex("0e01 112233445566"), func(d []byte) { clear(d[atIP6+8 : atIP6+24]) }),
	}
}

// answered returns B's answer, and checks that neither the question nor
// anything around the buffer was touched.
func answered(t testing.TB, v *VXLAN, d []byte, self [2]netip.Addr) []byte {
	t.Helper()
	buf, intact := guarded(make([]byte, MaxNeighbour))
	question, untouched := guarded(d)
	n := v.Answer(buf, question, self)
	if n < 0 || n > MaxNeighbour || !intact() || !untouched() || !bytes.Equal(question, d) {
		t.Fatalf("%d bytes, guards %v and %v", n, intact(), untouched())
	}
	if n == 0 && !bytes.Equal(buf, make([]byte, MaxNeighbour)) {
		t.Fatal("nothing to answer, and yet something was written")
	}
	return buf[:n]
}

// The answers byte for byte, but for those that gopacket reads.
func TestAnswer(t *testing.T) {
	arpReply := unhex("0800000000000100 667d824684ff 7e4df4691121 0806" +
		"0001 0800 06 04 0002  7e4df4691121 0a050200  667d824684ff 0a050100")
	advert := unhex("0800000000000100 8201518e00a1 eae22d40ed9e 86dd  60000000 0020 3a ff" +
		"fd000005000200000000000000a1b2c3 fd000005000100000000000000000000" +
		"88 00 0000 e0000000 fd000005000200000000000000a1b2c3 0201 eae22d40ed9e")
	refFix(advert[vxlanOverhead:])
	toAll := slices.Clone(advert)
	copy(toAll[atIP6+24:], netip.MustParseAddr("ff02::1").AsSlice())
	toAll[atICMP+4] = 0xa0
	refFix(toAll[vxlanOverhead:])
	want := map[string][]byte{
		"ARP probe":         set(arpReply, atARP+24, 0, 0, 0, 0),
		"ARP for another's": set(arpReply, atARP+18, macB6[:]...),
		"DAD":               toAll, "DAD with nonce": toAll,
	}
	for name, d := range questions() {
		expected := want[name]
		switch {
		case expected != nil:
		case name[0] == 'A':
			expected = arpReply
		default:
			expected = advert
		}
		got := answered(t, vtepB, d, self)
		if !bytes.Equal(got, expected) {
			t.Errorf("%s:\n%x, want\n%x", name, got, expected)
		}
		if _, drop := vtepB.Open(d); drop != Neighbour {
			t.Errorf("%s: %v", name, drop)
		}
	}
	if len(advert) != MaxNeighbour {
		t.Errorf("MaxNeighbour is %d, the largest answer %d", MaxNeighbour, len(advert))
	}
}

// A policy is no reason not to say where we are, but the header must be right.
func TestAnswerWithGroupPolicies(t *testing.T) {
	v := withGBP(vtepB, "7")
	for name, d := range questions() {
		for _, d := range [][]byte{d, set(d, 0, 0x88, 0, 0, 9)} {
			if got := answered(t, v, d, self); len(got) == 0 || got[0] != 0x08 || !bytes.Equal(got[1:4], []byte{0, 0, 0}) {
				t.Errorf("%s: %x", name, got)
			}
		}
		if got := answered(t, vtepB, set(d, 0, 0x88), self); len(got) != 0 {
			t.Errorf("%s, G with GBP off: %x", name, got)
		}
	}
}

// unanswered are questions that B does not answer; each differs in one thing
// from one that it does.
func unanswered() map[string][]byte {
	group := unhex("ff02 0000 0000 0000 0000 0001 ffa1 b2c3")
	other := netip.MustParseAddr("fd00:5:2::1:a1:b2c3").AsSlice() // of the same group
	badSum := solicitation(nil)
	badSum[atICMP+2] ^= 1
	behind := slices.Insert(solicitation(nil), atICMP, 58, 0, 1, 4, 0, 0, 0, 0) // hop-by-hop options
	behind[atIP6+5] += 8
	behind[atIP6+6] = 0
	return map[string][]byte{
		"nothing":                       nil,
		"a packet":                      fromA(tcp4.with(20, 1).build()),
		"ARP for another address":       arp(func(d []byte) { d[atARP+27]++ }),
		"ARP of another network":        arp(func(d []byte) { d[atVNI+2]++ }),
		"ARP to another MAC":            arp(func(d []byte) { copy(d[atDst:], macA6[:]) }),
		"ARP from a group address":      arp(func(d []byte) { d[atSrc] |= 1 }),
		"ARP from no address":           arp(func(d []byte) { clear(d[atSrc : atSrc+6]) }),
		"ARP from ourselves":            arp(func(d []byte) { copy(d[atSrc:], macB4[:]) }),
		"ARP that is cut":               arp(nil)[:atARP+27],
		"ARP over IEEE 802":             arp(func(d []byte) { d[atARP+1] = 6 }),
		"ARP for another protocol":      arp(func(d []byte) { d[atARP+3] = 6 }),
		"ARP with other lengths":        arp(func(d []byte) { d[atARP+4], d[atARP+5] = 4, 6 }),
		"ARP reply":                     arp(func(d []byte) { d[atARP+7] = 2 }),
		"ARP of operation 257":          arp(func(d []byte) { d[atARP+6] = 1 }),
		"gratuitous ARP":                arp(func(d []byte) { copy(d[atARP+14:], self[0].AsSlice()) }),
		"NS for another address":        solicitation(func(d []byte) { copy(d[atICMP+8:], other) }),
		"NS with hop limit 254":         solicitation(func(d []byte) { d[atIP6+7] = 254 }),
		"NS with code 1":                solicitation(func(d []byte) { d[atICMP+1] = 1 }),
		"NS with a wrong checksum":      badSum,
		"NS behind an extension":        behind,
		"NS that is cut":                solicitation(nil)[:atICMP+31],
		"NS without target":             shortened(solicitation(nil), 16),
		"NS with half a target":         shortened(solicitation(nil), 23),
		"NS with half an option":        shortened(solicitation(nil), 31),
		"NS with one byte of option":    shortened(solicitation(nil), 25),
		"NS with an option of length 0": solicit(unhex("0100 8201518e00a1"), nil),
		"NS with an option too long":    solicit(unhex("0102 8201518e00a1"), nil),
		"NS from a group":               solicitation(func(d []byte) { copy(d[atIP6+8:], group) }),
		"NS from our address":           solicitation(func(d []byte) { copy(d[atIP6+8:], self[1].AsSlice()) }),
		"NS to another group":           solicitation(func(d []byte) { d[atIP6+39]++ }),
		"NS to all nodes":               solicitation(func(d []byte) { copy(d[atIP6+24:], netip.MustParseAddr("ff02::1").AsSlice()) }),
		"NS to another address":         solicitation(func(d []byte) { copy(d[atIP6+24:], other) }),
		"NS from a group MAC":           solicitation(func(d []byte) { d[atSrc] |= 1 }),
		"NS to another MAC":             solicitation(func(d []byte) { copy(d[atDst:], macA4[:]) }),
		"NS of another network":         solicitation(func(d []byte) { d[atVNI]++ }),
		"advertisement":                 solicitation(func(d []byte) { d[atICMP] = 136 }),
		"DAD to one address": solicit(nil, func(d []byte) {
			clear(d[atIP6+8 : atIP6+24])
			copy(d[atIP6+24:], self[1].AsSlice())
		}),
		"DAD with a source option": solicitation(func(d []byte) { clear(d[atIP6+8 : atIP6+24]) }),
	}
}

// shortened returns a solicitation whose IPv6 header speaks of n bytes.
func shortened(d []byte, n int) []byte {
	d = d[:atICMP+n]
	d[atIP6+5] = byte(n)
	refFix(d[vxlanOverhead:])
	return d
}

func TestNoAnswer(t *testing.T) {
	for name, d := range unanswered() {
		if got := answered(t, vtepB, d, self); len(got) != 0 {
			t.Errorf("%s: %x", name, got)
		}
	}
	for name, d := range questions() {
		family := 0
		if d[atType] == 0x86 {
			family = 1
		}
		nobody, homeless := self, *vtepB
		nobody[family] = netip.Addr{}
		homeless.MACs[family] = [6]byte{}
		if got := answered(t, vtepB, d, nobody); len(got) != 0 {
			t.Errorf("%s, without an address: %x", name, got)
		}
		if got := answered(t, vtepB, d, [2]netip.Addr{self[1], self[0]}); len(got) != 0 {
			t.Errorf("%s, with addresses of the wrong family: %x", name, got)
		}
		if got := answered(t, &homeless, d, self); len(got) != 0 {
			t.Errorf("%s, without a VTEP: %x", name, got)
		}
	}
}

// An address that is none, or of IPv4, is not taken for the IPv6 address of the
// same bytes.
func TestNoAnswerForWhatIsNotIPv6(t *testing.T) {
	for addr, target := range map[netip.Addr]string{{}: "::", self[0]: "::ffff:10.5.2.0"} {
		to := netip.MustParseAddr(target).As16()
		d := solicitation(func(d []byte) {
			copy(d[atIP6+24+13:], to[13:])
			copy(d[atICMP+8:], to[:])
		})
		if got := answered(t, vtepB, d, [2]netip.Addr{self[0], addr}); len(got) != 0 {
			t.Errorf("%s, our address is %v: %x", target, addr, got)
		}
	}
}

// Which frames are neighbours' talk, and which of them are for us.
func TestNeighbourVerdict(t *testing.T) {
	toMAC := func(d []byte, m ...byte) []byte { return set(d, atDst, m...) }
	ns, broadcast := solicitation(nil), bytes.Repeat([]byte{0xff}, 6)
	for _, c := range []struct {
		name string
		d    []byte
		want Drop
	}{
		{"ARP", arp(nil), Neighbour},
		{"ARP reply to our MAC", toMAC(arp(func(d []byte) { d[atARP+7] = 2 }), macB4[:]...), Neighbour},
		{"ARP of one byte", arp(nil)[:atARP+1], Neighbour},
		{"ARP to our IPv6 MAC", toMAC(arp(nil), macB6[:]...), VXLANMAC},
		{"ARP to another", toMAC(arp(nil), macA6[:]...), VXLANMAC},
		{"ARP to a group", toMAC(arp(nil), 0x33, 0x33, 0, 0, 0, 1), VXLANMAC},
		{"RARP", set(toMAC(arp(nil), macB4[:]...), atType+1, 0x35), VXLANEtherType},
		{"NS", ns, Neighbour},
		{"NS to our MAC", toMAC(ns, macB6[:]...), Neighbour},
		{"NS to broadcast", toMAC(ns, broadcast...), Neighbour},
		{"NS to all nodes", toMAC(ns, 0x33, 0x33, 0, 0, 0, 1), Neighbour},
		{"NS to 33:32", toMAC(ns, 0x33, 0x32), VXLANMAC},
		{"NS to 32:33", toMAC(ns, 0x32, 0x33), VXLANMAC},
		{"NS to our IPv4 MAC", toMAC(ns, macB4[:]...), VXLANMAC},
		{"NS called IPv4", set(toMAC(ns, macB4[:]...), atType, 8, 0), VXLANEtherType},
		{"NS with version 4", set(toMAC(ns, macB6[:]...), atIP6, 0x40), VXLANEtherType},
		{"NS with version 4 to all nodes", set(ns, atIP6, 0x40), VXLANMAC},
		{"NA", set(ns, atICMP, 136), Neighbour},
		{"router solicitation to all", set(ns, atICMP, 133), VXLANMAC},
		{"router advertisement to us", set(toMAC(ns, macB6[:]...), atICMP, 134), Delivered},
		{"redirect to us", set(toMAC(ns, macB6[:]...), atICMP, 137), Delivered},
		{"UDP from port 34560", set(toMAC(ns, macB6[:]...), atIP6+6, 17), Delivered},
		{"the header alone of an NS", set(toMAC(ns, macB6[:]...), atIP6+5, 0)[:atICMP], Delivered},
	} {
		if _, got := vtepB.Open(c.d); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seeds := range []map[string][]byte{questions(), unanswered()} {
		for _, d := range seeds {
			f.Add(d)
		}
	}
	f.Fuzz(func(t *testing.T, d []byte) {
		for _, v := range []*VXLAN{vtepB, withGBP(vtepB, "7")} {
			b := answered(t, v, d, self)
			if len(b) == 0 {
				continue
			}
			if _, drop := v.Open(d); drop != Neighbour {
				t.Fatalf("answered what is %v", drop)
			}
			if !bytes.Equal(b[:atDst], unhex("0800000000000100")) || !bytes.Equal(b[atDst:atSrc], d[atSrc:atSrc+6]) || b[atDst]&1 != 0 ||
				!bytes.Equal(b[atType:vxlanOverhead], d[atType:vxlanOverhead]) {
				t.Fatalf("%x answers %x", b, d)
			}
			if p := b[vxlanOverhead:]; b[atType] == 0x86 && (!refSound(p) || p[7] != 255 || parsed(t, p).Len != len(p)) {
				t.Fatalf("%x", p)
			}
		}
	})
}
