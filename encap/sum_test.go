package encap

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// network turns a folded sum in the machine's byte order into a number.
func network(v uint16) uint16 {
	var b [2]byte
	putSum(b[:], v)
	return uint16(b[0])<<8 | uint16(b[1])
}

func TestSumAgreesWithTheModelAtEveryLength(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	data := make([]byte, 2000)
	for _, fill := range []func() byte{func() byte { return byte(r.Uint32()) }, func() byte { return 0xff }, func() byte { return 0 }} {
		for i := range data {
			data[i] = fill()
		}
		for n := range 300 {
			at := r.IntN(len(data) - n)
			b := data[at : at+n : at+n]
			if got, want := network(Fold(Sum(b, 0))), refSum(b); got != want {
				t.Fatalf("%d bytes: %04x, want %04x", n, got, want)
			}
		}
	}
}

func TestSumContinuesARunningSum(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	data := tcp4.with(1500, 1).payload
	for range 500 {
		a := 2 * r.IntN(700)
		b := a + 2*r.IntN((1500-a)/2)
		acc := Sum(data[b:], Sum(data[a:b], Sum(data[:a], 0)))
		if got, want := network(Fold(acc)), refSum(data); got != want {
			t.Fatalf("cut at %d and %d: %04x, want %04x", a, b, got, want)
		}
	}
}

// No carry is lost where the accumulator is about to overflow.
func TestSumAndFoldLoseNoCarry(t *testing.T) {
	ones := bytes.Repeat([]byte{0xff}, 256)
	for _, acc := range []uint64{0, 1, 1<<64 - 1, 1<<64 - 2, 1 << 63, 1<<32 - 1, 1 << 32, 0xffff0000ffff0000, 0x00010000_00010001} {
		// A number modulo 0xffff is what ones' complement addition keeps.
		for n := 0; n <= 256; n += 2 {
			got := Fold(Sum(ones[:n], acc))
			if uint64(got)%0xffff != acc%0xffff {
				t.Errorf("acc %#x and %d bytes of ones: %#x, want %#x modulo 0xffff", acc, n, got, acc%0xffff)
			}
			if (got == 0) != (acc == 0 && n == 0) {
				t.Errorf("acc %#x and %d bytes of ones: %#x: zero stands for an empty sum only", acc, n, got)
			}
		}
	}
}

// A finished packet sums to all ones, whatever the sum's place in the packet.
func TestPseudoHeaderAndHeaderChecksum(t *testing.T) {
	for _, q := range []packet{tcp4, udp4, tcp4.six(), udp4.six()} {
		for n := range 70 {
			p := q.with(n, 7).build()
			h := parsed(t, p)
			if !intact(p, &h) || !headerIntact(p, &h) {
				t.Fatalf("IPv%d, %d bytes of payload: found wrong", q.v, n)
			}
			for at := range p {
				bad := slices.Clone(p)
				bad[at] ^= 0x40
				bh, drop := Parse(bad)
				if drop != Delivered || bh != h {
					continue
				}
				wrong := !intact(bad, &h) || !headerIntact(bad, &h)
				if covered := q.v == 4 || at >= 8; covered != wrong { // IPv6 has no header checksum
					t.Fatalf("IPv%d, %d bytes of payload, byte %d changed: wrong %v", q.v, n, at, wrong)
				}
			}
		}
	}
}

func TestHeaderChecksumLosesNoCarry(t *testing.T) {
	for _, p := range [][]byte{
		append([]byte{0x4f}, bytes.Repeat([]byte{0xff}, 19)...),
		append(bytes.Repeat([]byte{0xff}, 10), append([]byte{0, 0}, bytes.Repeat([]byte{0xff}, 8)...)...),
		append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, make([]byte, 12)...),
	} {
		for range 2 {
			h := Header{Version: 4}
			if got, want := headerIntact(p, &h), refSum(p) == 0xffff; got != want {
				t.Errorf("%x: %v, want %v", p, got, want)
			}
			p[10], p[11] = 0, 0
			s := ^refSum(p)
			p[10], p[11] = byte(s>>8), byte(s)
		}
	}
}
