package encap

import (
	"encoding/binary"
	"testing"
)

// This file is the slow twin of the package: the same arithmetic written so
// that a reader sees at once that it is right. It shares no code with the
// package; the fast versions are compared with it byte for byte.

// refSum is the Internet checksum of RFC 1071 before it is inverted: 16-bit
// words in network byte order, one after the other, carries brought round.
// An odd last byte is the high byte of its word.
func refSum(parts ...[]byte) uint16 {
	var all []byte
	for _, b := range parts {
		all = append(all, b...)
	}
	sum := uint32(0)
	for i := 0; i < len(all); i += 2 {
		word := uint32(all[i]) << 8
		if i+1 < len(all) {
			word |= uint32(all[i+1])
		}
		sum += word
		if sum > 0xffff {
			sum -= 0xffff
		}
	}
	return uint16(sum)
}

// refLayout is where the parts of a packet lie.
type refLayout struct {
	version, proto   int
	l4, end          int  // transport header, end of packet
	fragment, hasSum bool // hasSum: TCP, UDP or ICMPv6, whole
	sumAt            int  // absolute offset of the transport checksum
}

// refWalk finds the parts of a packet that is known to be well-formed.
func refWalk(p []byte) refLayout {
	var l refLayout
	l.version = int(p[0] >> 4)
	if l.version == 4 {
		l.l4 = int(p[0]&15) * 4
		l.end = int(p[2])<<8 | int(p[3])
		l.proto = int(p[9])
		l.fragment = (int(p[6])<<8|int(p[7]))&0x3fff != 0
	} else {
		l.l4, l.end, l.proto = 40, 40+(int(p[4])<<8|int(p[5])), int(p[6])
		for l.proto == 0 || l.proto == 43 || l.proto == 60 || l.proto == 44 {
			at := l.l4
			later := false
			if l.proto == 44 {
				l.fragment = true
				later = p[at+2] != 0 || p[at+3]&0xf8 != 0
				l.l4 += 8
			} else {
				l.l4 += 8 + 8*int(p[at+1])
			}
			l.proto = int(p[at])
			if later {
				break
			}
		}
	}
	field := map[int]int{6: 16, 17: 6, 58: 2}
	at, known := field[l.proto]
	l.sumAt = l.l4 + at
	l.hasSum = known && !l.fragment && l.sumAt+2 <= l.end && !(l.proto == 58 && l.version == 4)
	return l
}

// refPseudo is the sum of the pseudo header of p for the given length.
func refPseudo(p []byte, l refLayout, length int) uint16 {
	rest := []byte{0, byte(l.proto), byte(length >> 8), byte(length)}
	if l.version == 4 {
		return refSum(p[12:20], rest)
	}
	return refSum(p[8:40], rest)
}

// refFix computes all checksums of a well-formed packet.
func refFix(p []byte) {
	l := refWalk(p)
	if l.version == 4 {
		refFix4(p)
	}
	if !l.hasSum {
		return
	}
	p[l.sumAt], p[l.sumAt+1] = 0, 0
	pseudo := refPseudo(p, l, l.end-l.l4)
	sum := ^refSum(binary.BigEndian.AppendUint16(nil, pseudo), p[l.l4:l.end])
	if l.proto == 17 && sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(p[l.sumAt:], sum)
}

// refFix4 computes the checksum of an IPv4 header alone.
func refFix4(p []byte) {
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], ^refSum(p[:int(p[0]&15)*4]))
}

// refPartial puts the pseudo header's sum alone into the checksum field.
func refPartial(p []byte) {
	l := refWalk(p)
	binary.BigEndian.PutUint16(p[l.sumAt:], refPseudo(p, l, l.end-l.l4))
}

// refIsPartial tells whether the checksum field holds just that.
func refIsPartial(p []byte) bool {
	l := refWalk(p)
	return l.hasSum && l.proto != 58 &&
		binary.BigEndian.Uint16(p[l.sumAt:]) == refPseudo(p, l, l.end-l.l4)
}

// refIsUnfinished is refIsPartial, and true also if the length was left out of
// the sum.
func refIsUnfinished(p []byte) bool {
	l := refWalk(p)
	return refIsPartial(p) || l.hasSum && l.proto != 58 &&
		binary.BigEndian.Uint16(p[l.sumAt:]) == refPseudo(p, l, 0)
}

// refIPSound tells whether the IP header's checksum is right.
func refIPSound(p []byte) bool {
	return p[0]>>4 == 6 || refSum(p[:int(p[0]&15)*4]) == 0xffff
}

// refSound tells whether both checksums are right. A packet without a
// transport checksum passes.
func refSound(p []byte) bool {
	l := refWalk(p)
	if !refIPSound(p) {
		return false
	}
	if !l.hasSum || l.proto == 17 && p[l.sumAt] == 0 && p[l.sumAt+1] == 0 {
		return true
	}
	pseudo := refPseudo(p, l, l.end-l.l4)
	return refSum(binary.BigEndian.AppendUint16(nil, pseudo), p[l.l4:l.end]) == 0xffff
}

// refCut returns the packets that a superpacket stands for, each in its own
// memory: RFC 793 and 768 headers, payload copied byte by byte.
func refCut(super []byte, size int) [][]byte {
	l := refWalk(super)
	hdr := l.l4 + 8
	if l.proto == 6 {
		hdr = l.l4 + int(super[l.l4+12]>>4)*4
	}
	var out [][]byte
	for off := hdr; off < l.end; off += size {
		var p []byte
		for i := 0; i < hdr; i++ {
			p = append(p, super[i])
		}
		for i := off; i < off+size && i < l.end; i++ {
			p = append(p, super[i])
		}
		refNumber(p, l, len(out), off-hdr, off+size >= l.end)
		refFix(p)
		out = append(out, p)
	}
	return out
}

// refNumber sets what makes packet i of a superpacket different from the
// others: lengths, IPv4 ID, TCP sequence number and flags.
func refNumber(p []byte, l refLayout, i, off int, last bool) {
	if l.version == 4 {
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		binary.BigEndian.PutUint16(p[4:], binary.BigEndian.Uint16(p[4:])+uint16(i))
	} else {
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	}
	t := p[l.l4:]
	if l.proto == 17 {
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
		return
	}
	binary.BigEndian.PutUint32(t[4:], binary.BigEndian.Uint32(t[4:])+uint32(off))
	if !last {
		t[13] &= 0xff - 0x01 - 0x08 // FIN, PSH
	}
	if i > 0 {
		t[13] &= 0xff - 0x80 // CWR
	}
}

// The model is itself held against the vectors of RFC 1071 section 3 and a
// captured header.
func TestReferenceChecksumAgreesWithPublishedVectors(t *testing.T) {
	for _, c := range []struct {
		data []byte
		want uint16
	}{
		{nil, 0},
		{unhex("0001f203f4f5f6f7"), 0xddf2},
		{unhex("ff"), 0xff00},
		{unhex("ffffffff"), 0xffff},
		{unhex("45000054cce240003e0158b90a0501020a050202"), 0xffff},
	} {
		if got := refSum(c.data); got != c.want {
			t.Errorf("refSum(%x) = %04x, want %04x", c.data, got, c.want)
		}
	}
}
