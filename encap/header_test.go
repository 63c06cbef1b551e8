package encap

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
)

// set returns a copy of p with the bytes at offset at replaced.
func set(p []byte, at int, b ...byte) []byte {
	p = slices.Clone(p)
	copy(p[at:], b)
	return p
}

// chained returns an IPv6 TCP packet behind n extension headers of size bytes.
func chained(n, size int, kinds ...byte) []byte {
	q := tcp4.six()
	q.first, q.options = extensions(6, size, slices.Repeat(kinds, n)...)
	return q.with(10, 1).build()
}

func TestParse(t *testing.T) {
	t4, t6 := tcp4.with(100, 1).build(), tcp4.six().with(100, 1).build()
	opts := tcp4
	opts.options = bytes.Repeat([]byte{1}, 40)
	huge := udp4.with(65507-28, 1).build()
	jumbo := udp4.six().with(65535-8, 1).build()
	none := tcp4.six()
	none.proto = 59
	f6 := chained(1, 8, 44)
	for _, c := range []struct {
		name string
		p    []byte
		want Header
		drop Drop
	}{
		{"nothing", nil, Header{}, Runt},
		{"one byte", t4[:1], Header{}, Runt},
		{"19 bytes of IPv4", t4[:19], Header{}, Runt},
		{"39 bytes of IPv6", t6[:39], Header{}, Runt},
		{"20 zero bytes", make([]byte, 20), Header{}, NotIP},
		{"version 5", set(t4, 0, 0x55), Header{}, NotIP},
		{"version 15", set(t4, 0, 0xf5), Header{}, NotIP},
		{"an Ethernet frame", append(unhex("7e4df4691121667d824684ff0800"), t4...), Header{}, NotIP},
		{"IPv4", t4, Header{Version: 4, Proto: 6, L4: 20, Len: 152}, Delivered},
		{"IPv4 header only", set(t4[:20], 2, 0, 20), Header{Version: 4, Proto: 6, L4: 20, Len: 20}, Delivered},
		{"IPv4 header length 0", set(t4, 0, 0x40), Header{}, BadIPHeader},
		{"IPv4 header length 16", set(t4, 0, 0x44), Header{}, BadIPHeader},
		{"IPv4 header longer than the packet", set(t4[:40], 0, 0x4f, 0, 0, 40), Header{}, BadIPHeader},
		{"IPv4 header longer than the buffer", set(t4[:40], 0, 0x4f, 0, 0, 60), Header{}, IPLenMismatch},
		{"IPv4 options", opts.build(), Header{Version: 4, Proto: 6, L4: 60, Len: 92}, Delivered},
		{"IPv4 total length 0", set(t4, 2, 0, 0), Header{}, BadIPHeader},
		{"IPv4 total length 19", set(t4, 2, 0, 19), Header{}, BadIPHeader},
		{"IPv4 one byte missing", t4[:151], Header{}, IPLenMismatch},
		{"IPv4 with padding", append(slices.Clone(t4), 0, 0, 0), Header{Version: 4, Proto: 6, L4: 20, Len: 152}, Delivered},
		{"IPv4 of 65507 bytes", huge, Header{Version: 4, Proto: 17, L4: 20, Len: 65507}, Delivered},
		{"65507 zero bytes", make([]byte, 65507), Header{}, NotIP},
		{"IPv4 with DF", set(t4, 6, 0x40), Header{Version: 4, Proto: 6, L4: 20, Len: 152}, Delivered},
		{"IPv4 with the reserved bit", set(t4, 6, 0x80), Header{Version: 4, Proto: 6, L4: 20, Len: 152}, Delivered},
		{"IPv4 first fragment", set(t4, 6, 0x20), Header{Version: 4, Proto: 6, Frag: true, L4: 20, Len: 152}, Delivered},
		{"IPv4 middle fragment", set(t4, 6, 0x20, 5), Header{Version: 4, Proto: 6, Frag: true, Later: true, L4: 20, Len: 152}, Delivered},
		{"IPv4 last fragment", set(t4, 6, 0x1f, 0xff), Header{Version: 4, Proto: 6, Frag: true, Later: true, L4: 20, Len: 152}, Delivered},
		{"IPv6", t6, Header{Version: 6, Proto: 6, L4: 40, Len: 172}, Delivered},
		{"IPv6 one byte missing", t6[:171], Header{}, IPLenMismatch},
		{"IPv6 with padding", append(slices.Clone(t6), 0), Header{Version: 6, Proto: 6, L4: 40, Len: 172}, Delivered},
		{"IPv6 payload length 0", set(t6, 4, 0, 0), Header{Version: 6, Proto: 6, L4: 40, Len: 40}, Delivered},
		{"IPv6 of 65575 bytes", jumbo, Header{Version: 6, Proto: 17, L4: 40, Len: 65575}, Delivered},
		{"IPv6 jumbogram", set(set(t6, 4, 0, 0), 6, 0), Header{}, BadIPHeader},
		{"IPv6 no next header", none.build(), Header{Version: 6, Proto: 59, L4: 40, Len: 40}, Delivered},
		{"IPv6 hop-by-hop, routing, destination", chained(1, 16, 0, 43, 60), Header{Version: 6, Proto: 6, L4: 88, Len: 130}, Delivered},
		{"IPv6 longest chain", chained(8, 8, 60), Header{Version: 6, Proto: 6, L4: 104, Len: 146}, Delivered},
		{"IPv6 chain of longest headers", chained(8, 2048, 60), Header{Version: 6, Proto: 6, L4: 40 + 8*2048, Len: 40 + 8*2048 + 42}, Delivered},
		{"IPv6 chain too long", chained(9, 8, 60), Header{}, BadIPHeader},
		{"IPv6 endless chain", chained(200, 8, 0), Header{}, BadIPHeader},
		{"IPv6 chain cut before a header", set(chained(2, 8, 60)[:48], 4, 0, 8), Header{}, BadIPHeader},
		{"IPv6 chain cut within a header", set(chained(1, 16, 60)[:52], 4, 0, 12), Header{}, BadIPHeader},
		{"IPv6 chain ends with the packet", set(chained(1, 8, 60)[:48], 4, 0, 8), Header{Version: 6, Proto: 6, L4: 48, Len: 48}, Delivered},
		{"IPv6 header that points outside", set(chained(1, 8, 60), 41, 255), Header{}, BadIPHeader},
		{"IPv6 first fragment", set(f6, 43, 1), Header{Version: 6, Proto: 6, Frag: true, L4: 48, Len: 90}, Delivered},
		{"IPv6 atomic fragment", f6, Header{Version: 6, Proto: 6, Frag: true, L4: 48, Len: 90}, Delivered},
		{"IPv6 later fragment", set(f6, 43, 8), Header{Version: 6, Proto: 6, Frag: true, Later: true, L4: 48, Len: 90}, Delivered},
		{"IPv6 later fragment of a chain", set(f6, 40, 60, 0, 0, 8, 9, 9, 9, 9, 6, 255),
			Header{Version: 6, Proto: 60, Frag: true, Later: true, L4: 48, Len: 90}, Delivered},
		{"IPv6 fragment header cut", set(f6[:44], 4, 0, 4), Header{}, BadIPHeader},
	} {
		if h, drop := Parse(c.p); h != c.want || drop != c.drop {
			t.Errorf("%s: %+v, %v; want %+v, %v", c.name, h, drop, c.want, c.drop)
		}
	}
}

func TestAddressesAndDF(t *testing.T) {
	p4, p6 := tcp4.build(), tcp4.six().build()
	h4, h6 := parsed(t, p4), parsed(t, p6)
	for got, want := range map[netip.Addr]string{
		h4.Src(p4): "10.5.1.2", h4.Dst(p4): "10.5.2.9", h6.Src(p6): "fd00:5:1::2", h6.Dst(p6): "fd00:5:2::9",
	} {
		if got.String() != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	if !h4.DF(p4) || h4.DF(set(p4, 6, 0xa0)) || !h6.DF(p6) {
		t.Error("DF: want true with the bit, false with all other bits, true for IPv6")
	}
}

// The edge cases of the checksum, and a header captured from a live run on its
// way through both ends of the tunnel.
func TestDecrementTTLUpdatesTheChecksum(t *testing.T) {
	p := unhex("45000024000140003f0124cb0a0501020a050202 0800543512340001 6162636465666768")
	for _, want := range []string{"3e0125cb", "3d0126cb"} {
		if !DecrementTTL(p) || !bytes.Equal(p[8:12], unhex(want)) {
			t.Errorf("TTL, protocol and checksum are %x, want %s", p[8:12], want)
		}
		if !refSound(p) {
			t.Errorf("the packet's checksums are wrong: %x", p)
		}
	}
	captured := unhex("45000054cce240003e0158b90a0501020a050202")
	before := set(captured, 8, 0x40, 1, 0x56, 0xb9)
	DecrementTTL(before)
	DecrementTTL(before)
	if !bytes.Equal(before, captured) {
		t.Errorf("%x, want %x", before, captured)
	}
	for sum, want := range map[uint16]uint16{0xfe00: 0xff00, 0xfefe: 0xfffe, 0xfeff: 0xffff, 0xff00: 0x0001, 0xffff: 0x0100} {
		b := tcp4.build()
		binary.BigEndian.PutUint16(b[10:], sum)
		DecrementTTL(b)
		if got := binary.BigEndian.Uint16(b[10:]); got != want {
			t.Errorf("%04x became %04x, want %04x", sum, got, want)
		}
	}
}

// For every checksum there is: what was right stays right, nothing but TTL and
// checksum changes.
func TestDecrementTTLKeepsEveryChecksumRight(t *testing.T) {
	for id := range 1 << 16 {
		q := packet{v: 4, proto: 6, id: uint16(id), ttl: byte(id>>8 | 2)}
		p := q.network()
		refFix4(p)
		was := slices.Clone(p)
		if !DecrementTTL(p) || p[8] != was[8]-1 || !refIPSound(p) {
			t.Fatalf("%x became %x", was, p)
		}
		if !bytes.Equal(set(p, 8, was[8:12]...), was) {
			t.Fatalf("%x became %x: other bytes changed", was, p)
		}
	}
}

func TestDecrementTTLStopsAtTheEnd(t *testing.T) {
	for _, q := range []packet{tcp4, tcp4.six()} {
		for ttl, want := range map[byte]bool{0: false, 1: false, 2: true, 255: true} {
			q.ttl = ttl
			p := q.build()
			was := slices.Clone(p)
			at := map[int]int{4: 8, 6: 7}[q.v]
			switch got := DecrementTTL(p); {
			case got != want:
				t.Errorf("IPv%d with %d: %v", q.v, ttl, got)
			case !got && !bytes.Equal(p, was):
				t.Errorf("IPv%d with %d: refused and changed", q.v, ttl)
			case got && (p[at] != ttl-1 || !refSound(p)):
				t.Errorf("IPv%d with %d: became %d, sound %v", q.v, ttl, p[at], refSound(p))
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(tcp4.with(20, 1).build())
	f.Add(chained(2, 16, 0, 43, 60))
	f.Add(chained(1, 8, 44, 60))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		p, untouched := guarded(data)
		h, drop := Parse(p)
		if !untouched() || !bytes.Equal(p, data) {
			t.Fatal("the packet was changed")
		}
		switch drop {
		case Delivered:
		case Runt, NotIP, BadIPHeader, IPLenMismatch:
			if h != (Header{}) {
				t.Fatalf("%v with %+v", drop, h)
			}
			return
		default:
			t.Fatalf("Parse says %v", drop)
		}
		if h.Version != p[0]>>4 || h.Len > len(p) || h.L4 > h.Len || h.L4 < 20 || h.Later && !h.Frag {
			t.Fatalf("%+v of %d bytes", h, len(p))
		}
		l := refWalk(p)
		if l.version != int(h.Version) || l.proto != int(h.Proto) || l.l4 != h.L4 || l.end != h.Len || l.fragment != h.Frag {
			t.Fatalf("%+v, the model says %+v", h, l)
		}
		if same, _ := Parse(p[:h.Len]); same != h {
			t.Fatalf("with padding %+v, without %+v", h, same)
		}
		_, _, _ = h.Src(p), h.Dst(p), h.DF(p)
		if ok := h.Version == 6 || refIPSound(p); ok && DecrementTTL(p) && !refIPSound(p) {
			t.Fatal("DecrementTTL broke the checksum")
		}
	})
}
