package probe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"weft/encap"
)

// sizes are lengths of echoes worth trying for packets to a.
func sizes(a netip.Addr) []int {
	return []int{MinEcho(a), MinEcho(a) + 1, 84, 104, 575, 576, 1280, 1450, 1472, 8951, 65535}
}

// An echo is what golang.org/x/net takes for one, and so is its IP header.
func TestEchoIsICMP(t *testing.T) {
	for _, e := range []Echo{{Src: a4, Dst: b4, ID: 0x1234, Seq: 0xfffe, Token: 1 << 63, Seal: 77},
		{Src: a6, Dst: b6, ID: 0xffff, Seq: 1, Token: 5, Seal: 1 << 40}} {
		for _, size := range sizes(e.Src) {
			if size < MinEcho(e.Src) {
				continue
			}
			e.Size = size
			p, err := e.Append([]byte("before"))
			if err != nil || string(p[:6]) != "before" || len(p) != 6+size {
				t.Fatalf("size %d: %d bytes, %v", size, len(p), err)
			}
			p = p[6:]
			head, proto, kind := checkIP(t, p, &e)
			if got := plainSum(p, head); got != 0 {
				t.Errorf("size %d: checksum is off by %#x", size, got)
			}
			m, err := icmp.ParseMessage(proto, p[head:])
			if err != nil {
				t.Fatal(err)
			}
			body, ok := m.Body.(*icmp.Echo)
			if !ok || m.Type != kind || body.ID != int(e.ID) || body.Seq != int(e.Seq) || !bytes.HasPrefix(body.Data, []byte("weftecho")) {
				t.Errorf("size %d: %+v", size, m)
			}
			if got, ok := ParseEcho(p); !ok || got != e {
				t.Errorf("parsed as %+v, %v; want %+v", got, ok, e)
			}
			want := e
			want.Reply, want.Src, want.Dst = true, e.Dst, e.Src
			if got, ok := ParseEcho(kernel(p)); !ok || got != want {
				t.Errorf("reply parsed as %+v, %v; want %+v", got, ok, want)
			}
		}
	}
}

// checkIP holds the IP header of p against what e asks for.
func checkIP(t *testing.T, p []byte, e *Echo) (head, proto int, kind icmp.Type) {
	t.Helper()
	if e.Src.Is4() {
		h, err := ipv4.ParseHeader(p)
		if err != nil {
			t.Fatal(err)
		}
		if h.Len != 20 || h.TotalLen != e.Size || h.TTL != 64 || h.Flags != ipv4.DontFragment || h.FragOff != 0 ||
			h.Protocol != 1 || h.Src.String() != e.Src.String() || h.Dst.String() != e.Dst.String() || ones(p[:20]) != 0 {
			t.Errorf("header: %v", h)
		}
		return 20, 1, ipv4.ICMPTypeEcho
	}
	h, err := ipv6.ParseHeader(p)
	if err != nil {
		t.Fatal(err)
	}
	if h.PayloadLen != e.Size-40 || h.HopLimit != 64 || h.NextHeader != 58 || h.FlowLabel != 0 || h.TrafficClass != 0 ||
		h.Src.String() != e.Src.String() || h.Dst.String() != e.Dst.String() {
		t.Errorf("header: %v", h)
	}
	return 40, 58, ipv6.ICMPTypeEchoRequest
}

func TestEchoRefusesNonsense(t *testing.T) {
	for _, e := range []Echo{{}, {Src: a4, Size: 84}, {Src: a4, Dst: b6, Size: 84}, {Src: a6, Dst: b4, Size: 84},
		{Src: a4, Dst: b4, Size: 51}, {Src: a6, Dst: b6, Size: 71}, {Src: a4, Dst: b4, Size: 65536}} {
		if p, err := e.Append(nil); err == nil {
			t.Errorf("%+v: %d bytes", e, len(p))
		}
	}
}

// Every bit of an echo matters, but for those that routers change or that
// nobody checks: TOS, ID, TTL and checksum of the IP header.
func TestEchoEveryBit(t *testing.T) {
	e := Echo{Src: a4, Dst: b4, Reply: true, Size: 60, Token: 99}
	p, err := e.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(p) * 8 {
		q := slices.Clone(p)
		q[i/8] ^= 1 << (i % 8)
		free := slices.Contains([]int{1, 4, 5, 8, 10, 11}, i/8) || i/8 == 6 && q[6]&0x3f == 0
		got, ok := ParseEcho(q)
		if src := i/8 >= 12 && i/8 < 20; ok && !free && !src || ok && src && got == e || !ok && (free || src) {
			t.Errorf("bit %d of byte %d: %+v, %v", i%8, i/8, got, ok)
		}
	}
	for n := range len(p) {
		if _, ok := ParseEcho(p[:n]); ok {
			t.Errorf("taken with %d of %d bytes", n, len(p))
		}
	}
}

// What asks and what answers has the same length, and comes out as it went in.
func TestQueryThereAndBack(t *testing.T) {
	full := Answer{Observed: netip.MustParseAddrPort("198.51.100.7:40000"), View: View{Version: strings.Repeat("v", 32),
		Kind: "wireguard", Lease: true, Outer: netip.MustParseAddrPort("[2001:db8::1]:51820"), MTU: 1420}}
	for _, q := range []query{
		{src: a4, dst: b4, mark: mark{1, 2}, about: a6},
		{src: a6, dst: b6, mark: mark{1 << 63, 3}, about: a4},
		{src: a4, dst: b4, tell: true, mark: mark{4, 5}, about: a4, answer: full},
		{src: a6, dst: b6, tell: true, about: b6},
	} {
		p := q.append(nil)
		head := ipHead(q.src)
		if len(p) != head+8+querySize || plainUDP(p, head) != 0 {
			t.Errorf("%d bytes, checksum off by %#x", len(p), plainUDP(p, head))
		}
		ip, ok := parseIP(p, false)
		got, ok2 := parseQuery(&ip)
		if !ok || !ok2 || got != q {
			t.Errorf("%+v became %+v, %v %v", q, got, ok, ok2)
		}
	}
}

// plainUDP is the checksum of a UDP datagram, as RFC 768 has it.
func plainUDP(p []byte, head int) uint16 {
	n := len(p) - head
	addrs := p[8:40]
	if head == 20 {
		addrs = p[12:20]
	}
	return ones(slices.Concat(addrs, []byte{0, 17, byte(n >> 8), byte(n)}, p[head:]))
}

// What a peer says of itself may be anything, and is shown on terminals.
func TestQueryText(t *testing.T) {
	q := query{src: a4, dst: b4, tell: true, answer: Answer{View: View{Version: "v1\x1b[2J\n\xff\xfe", Kind: "a kind that is too long"}}}
	ip, _ := parseIP(q.append(nil), false)
	got, ok := parseQuery(&ip)
	if !ok || strings.ContainsFunc(got.answer.Version, func(r rune) bool { return r < ' ' || r > '~' }) || got.answer.Kind != "a kind that " {
		t.Errorf("%+v, %v", got, ok)
	}
}

// The answers of kernels are read, whatever they quote of our packet.
func TestRefusal(t *testing.T) {
	ask4, ask6 := query{src: a4, dst: b4, mark: mark{1, 2}}, query{src: a6, dst: b6, mark: mark{1, 2}}
	for _, p := range [][]byte{ask4.append(nil), ask6.append(nil)} {
		head := len(p) - 8 - querySize
		r := unreachable(p, head)
		ip, ok := parseIP(r, false)
		got, quoted, ok2 := ip.refusal()
		q, ok3 := quoted.query()
		if !ok || !ok2 || !ok3 || !got.noPort() || got.tooBig() || q.mark != (mark{1, 2}) {
			t.Errorf("%+v %+v %v %v %v", got, q, ok, ok2, ok3)
		}
		if want := fmt.Sprintf("refused by %s: port unreachable", ip.src); got.Error() != want {
			t.Errorf("%q, want %q", got.Error(), want)
		}
		r[len(r)-1] ^= 1
		ip, _ = parseIP(r, false)
		if _, _, ok := ip.refusal(); ok {
			t.Error("taken with a wrong checksum")
		}
	}
	for _, r := range []Refusal{{b4, 3, 4}, {b6, 2, 0}} {
		if !r.tooBig() || r.noPort() || !strings.HasSuffix(r.Error(), "packet too big") {
			t.Errorf("%v", &r)
		}
	}
	if got := (&Refusal{b6, 4, 1}).Error(); got != "refused by fd00:2::: ICMPv6 type 4 code 1" {
		t.Error(got)
	}
}

// Probes of each form are what they say, and nothing else takes them for its own.
func TestUnderlayForms(t *testing.T) {
	vtep := [6]byte{2, 1, 1, 1, 1, 1}
	codec := encap.VXLAN{VNI: 7, MACs: [2][6]byte{vtep, vtep}}
	shapes := []Shape{{Form: Random}, {Form: VXLANShaped, VNI: 7, SrcMAC: [6]byte{2}, DstMAC: vtep},
		{Form: IPShaped, Src: a4, Dst: b4}, {Form: IPShaped, Src: a6, Dst: b6}}
	from := netip.MustParseAddrPort("[2001:db8::9]:1024")
	for _, s := range shapes {
		for nonce := range uint64(2000) {
			d := Datagram{Shape: s, mark: mark{nonce, ^nonce}}
			b, err := d.Append(nil, nonce)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := Recognise(b); !ok || got != d {
				t.Fatalf("%v became %+v, %v", s.Form, got, ok)
			}
			_, asVXLAN := codec.Open(b)
			h, asIP := encap.Parse(b)
			switch s.Form {
			case Random:
				if asIP != encap.NotIP || asVXLAN != encap.VXLANHeader || b[0] < 5 {
					t.Fatalf("%x…: %v, %v", b[:8], asIP, asVXLAN)
				}
			case VXLANShaped:
				if asIP != encap.NotIP || asVXLAN != encap.VXLANEtherType {
					t.Fatalf("%x…: %v, %v", b[:24], asIP, asVXLAN)
				}
			case IPShaped:
				if asIP != encap.Delivered || h.Src(b) != s.Src || h.Dst(b) != s.Dst || h.Len != len(b) || encap.DecrementTTL(b) {
					t.Fatalf("%x…: %v, %+v", b[:24], asIP, h)
				}
			}
			a := d.answer(from)
			back, err := a.Append(nil, nonce)
			got, ok := Recognise(back)
			if err != nil || !ok || got.Observed != from || !got.Tell || got.mark != d.mark || len(back) != len(b) ||
				got.DstMAC != s.SrcMAC || got.Src != s.Dst || got.VNI != s.VNI {
				t.Fatalf("answer to %v: %+v, %v, %v", s.Form, got, ok, err)
			}
		}
	}
}

// No two probes have bytes in the same place by which a device on the path
// could tell them from others, but for their form.
func TestUnderlayHasNoSignature(t *testing.T) {
	var and, or [underlaySize]byte
	for i := range and {
		and[i] = 0xff
	}
	for nonce := range uint64(64) {
		b, err := (&Datagram{mark: mark{1, 2}}).Append(nil, nonce*0x12345678abcdef01+1)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range b {
			and[i], or[i] = and[i]&c, or[i]|c
		}
	}
	for i := 1; i < underlaySize; i++ {
		if i != underlaySize-tailSize+7 && (and[i] != 0 || or[i] != 0xff) {
			t.Errorf("byte %d: always set %08b, ever set %08b", i, and[i], or[i])
		}
	}
}

func TestUnderlayRefusesNonsense(t *testing.T) {
	for _, s := range []Shape{{Form: 3}, {Form: VXLANShaped, VNI: 1 << 24}, {Form: IPShaped}, {Form: IPShaped, Src: a4, Dst: b6}} {
		if _, err := (&Datagram{Shape: s}).Append(nil, 1); err == nil {
			t.Errorf("%+v was built", s)
		}
	}
	good, _ := (&Datagram{Shape: Shape{Form: IPShaped, Src: a4, Dst: b4}}).Append(nil, 1)
	for _, bad := range []func([]byte){
		func(b []byte) { b[9] = 17 }, func(b []byte) { b[0] = 0x65 }, func(b []byte) { binary.BigEndian.PutUint16(b[2:], 159) },
		func(b []byte) { b[underlaySize-tailSize+8] ^= 1 }, func(b []byte) { b[underlaySize-tailSize+16] ^= 2 },
		func(b []byte) { b[underlaySize-tailSize+18] ^= 4 },
	} {
		b := slices.Clone(good)
		if bad(b); bytes.Equal(b, good) {
			t.Fatal("nothing was changed")
		}
		if d, ok := Recognise(b); ok {
			t.Errorf("recognised %+v", d)
		}
	}
}
