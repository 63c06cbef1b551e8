package encap

import (
	"bytes"
	"slices"
	"testing"
)

// A UDP datagram and a TCP SYN as a kernel hands them to a VXLAN device on a
// veth pair: fold(addresses + protocol + length), not inverted, and nothing
// else in the checksum field.
func TestPartialRecognisesUnfinishedChecksums(t *testing.T) {
	for _, c := range []struct {
		name string
		p    []byte
		want Offload
	}{
		// 0a05 0102 0a05 0202 0011 000d: sum 172c
		{"UDP", unhex("45000021773f40003f11627f0a0501020a050202 b5c8270f000d172c 68656c6c6f"), Offload{Flags: NeedsCsum, CsumStart: 20, CsumOffset: 6}},
		// 0a05 0102 0a05 0202 0006 0014: sum 1728
		{"TCP SYN", unhex("4500002800014000400624c10a0501020a050202 b5c81451 00000001 00000000 5002ffff 17280000"), Offload{Flags: NeedsCsum, CsumStart: 20, CsumOffset: 16}},
	} {
		h := parsed(t, c.p)
		if o, ok := Partial(c.p, &h); !ok || o != c.want {
			t.Errorf("%s: %+v, %v", c.name, o, ok)
		}
	}
	for _, q := range []packet{tcp4, udp4, tcp4.six(), udp4.six()} {
		for _, n := range []int{0, 1, 2, 63, 1400, 65000} {
			q := q.with(n, 1)
			finished := q.build()
			p := slices.Clone(finished)
			refPartial(p)
			p = append(p, 1, 2, 3) // padding is not data
			h := parsed(t, p)
			o, ok := Partial(p, &h)
			if want := (Offload{Flags: NeedsCsum, CsumStart: uint16(h.L4), CsumOffset: map[byte]uint16{6: 16, 17: 6}[q.proto]}); !ok || o != want {
				t.Fatalf("IPv%d, protocol %d, %d bytes: %+v, %v", q.v, q.proto, n, o, ok)
			}
			if !Finish(p[:h.Len], &o) || !bytes.Equal(p[:h.Len], finished) {
				t.Fatalf("IPv%d, protocol %d, %d bytes: finished, it is not the finished packet", q.v, q.proto, n)
			}
		}
	}
}

func TestPartialLeavesOthersAlone(t *testing.T) {
	partial := func(q packet) []byte { p := q.build(); refPartial(p); return p }
	zero := udp4.with(10, 1).build()
	zero[26], zero[27] = 0, 0
	frag := partial(udp4.with(10, 1))
	frag[6] = 0x20
	first, chain := extensions(17, 8, 44)
	frag6 := udp4.six()
	frag6.first, frag6.options = first, chain
	for name, p := range map[string][]byte{
		"finished TCP":               tcp4.with(100, 1).build(),
		"finished UDP over IPv6":     udp4.six().with(100, 1).build(),
		"UDP without a checksum":     zero,
		"a fragment":                 frag,
		"an IPv6 fragment":           frag6.with(10, 1).build(),
		"one off":                    func() []byte { p := partial(tcp4); p[37]++; return p }(),
		"the inverted sum":           func() []byte { p := partial(tcp4); p[36], p[37] = ^p[36], ^p[37]; return p }(),
		"ICMP":                       packet{v: 4, proto: 1, ttl: 9}.with(16, 1).build(),
		"TCP cut before the field":   set(tcp4.build()[:37], 2, 0, 37),
		"UDP cut within the field":   set(udp4.build()[:27], 2, 0, 27),
		"nothing behind the header":  set(udp4.build()[:20], 2, 0, 20),
		"UDP cut within it, in IPv6": set(udp4.six().build()[:47], 4, 0, 7),
	} {
		h := parsed(t, p)
		if o, ok := Partial(p, &h); ok || o != (Offload{}) {
			t.Errorf("%s: %+v, %v", name, o, ok)
		}
	}
}

// Some finished checksums equal the pseudo header's sum. To take one for
// unfinished does no harm: finishing it gives the same bytes again.
func TestPartialIsRightEvenWhenItErrs(t *testing.T) {
	for _, q := range []packet{tcp4, udp4, tcp4.six()} {
		p := q.with(2, 1).build()
		for fill := range 1 << 16 {
			copy(p[len(p)-2:], []byte{byte(fill >> 8), byte(fill)})
			refFix(p)
			if refIsPartial(p) {
				break
			}
		}
		h := parsed(t, p)
		o, ok := Partial(p, &h)
		if !ok {
			t.Fatalf("IPv%d, protocol %d: not the special packet", q.v, q.proto)
		}
		was := slices.Clone(p)
		if !Finish(p, &o) || !bytes.Equal(p, was) {
			t.Errorf("%x became %x", was, p)
		}
	}
}
