package encap

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/ip4defrag"
	"github.com/google/gopacket/layers"
)

// reassemble is the model: each fragment's payload is laid down where its
// offset says, and the last one tells the length. It returns the payload and
// how many fragments were longer than mtu, unsound or overlapping.
func reassemble(fragments [][]byte, mtu int) (payload []byte, faults int) {
	var have []bool
	end := -1
	for _, f := range fragments {
		hl := int(f[0]&15) * 4
		if len(f) > mtu || int(binary.BigEndian.Uint16(f[2:])) != len(f) || !refIPSound(f) {
			faults++
		}
		word := binary.BigEndian.Uint16(f[6:])
		at := int(word&0x1fff) * 8
		if n := at + len(f) - hl; n > len(payload) {
			payload = append(payload, make([]byte, n-len(payload))...)
			have = append(have, make([]bool, n-len(have))...)
		}
		for i, b := range f[hl:] {
			if have[at+i] {
				faults++
			}
			payload[at+i], have[at+i] = b, true
		}
		if word&0x2000 == 0 {
			end = at + len(f) - hl
		} else if (len(f)-hl)%8 != 0 {
			faults++
		}
	}
	if slices.Contains(have, false) || end != len(payload) {
		faults++
	}
	return payload, faults
}

// pieces fragments p, and checks prefix, memory and the packet's integrity.
func pieces(t *testing.T, c *Cutter, p []byte, mtu int, prefix []byte) ([][]byte, Drop) {
	t.Helper()
	h := parsed(t, p)
	was := slices.Clone(p)
	segs, drop := c.Fragment(nil, p, &h, mtu, prefix)
	if !bytes.Equal(p, was) {
		t.Fatal("the packet was changed")
	}
	var out [][]byte
	for _, b := range joined(segs) {
		if !bytes.HasPrefix(b, prefix) {
			t.Fatalf("%x does not begin with the prefix", b)
		}
		out = append(out, b[len(prefix):])
	}
	return out, drop
}

// fewest is how many fragments the first ones' size allows.
func fewest(hl, payload, mtu int) int {
	n := 1
	for room := mtu - hl; payload > room; room = mtu - 20 {
		payload -= room / 8 * 8
		n++
	}
	return n
}

func TestFragmentsComeTogetherAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	c := NewCutter(100)
	for range 600 {
		q := udp4
		q.df, q.id, q.tos = false, uint16(r.Uint32()), byte(r.Uint32())
		q.options = bytes.Repeat([]byte{1}, 4*r.IntN(11))
		p := q.with(r.IntN(6000), r.Uint64()).build()
		hl := 20 + len(q.options)
		mtu := hl + 8 + r.IntN(2000)
		fragments, drop := pieces(t, c, p, mtu, []byte("pfx")[:r.IntN(4)])
		payload, faults := reassemble(fragments, mtu)
		if drop != Delivered || faults > 0 || !bytes.Equal(payload, p[hl:]) {
			t.Fatalf("%d bytes, MTU %d: %v, %d faults", len(p), mtu, drop, faults)
		}
		if want := fewest(hl, len(p)-hl, mtu); len(fragments) != want {
			t.Fatalf("%d bytes, header %d, MTU %d: %d fragments, %d are enough", len(p), hl, mtu, len(fragments), want)
		}
		for i, f := range fragments {
			if !bytes.Equal(f[:2], []byte{map[bool]byte{true: p[0], false: 0x45}[i == 0], p[1]}) ||
				!bytes.Equal(f[4:6], p[4:6]) || !bytes.Equal(f[8:10], p[8:10]) || !bytes.Equal(f[12:20], p[12:20]) {
				t.Fatalf("fragment %d: header %x of packet %x", i, f[:20], p[:20])
			}
		}
	}
}

func TestGopacketReassemblesFragments(t *testing.T) {
	q := udp4
	q.df = false
	p := q.with(4321, 1).build()
	fragments, _ := pieces(t, NewCutter(0), p, 576, nil)
	slices.Reverse(fragments) // order must not matter
	d := ip4defrag.NewIPv4Defragmenter()
	var whole *layers.IPv4
	for i, f := range fragments {
		decoded := gopacket.NewPacket(f, layers.LayerTypeIPv4, gopacket.Default)
		var err error
		if whole, err = d.DefragIPv4WithTimestamp(decoded.Layer(layers.LayerTypeIPv4).(*layers.IPv4), time.Time{}); err != nil {
			t.Fatal(err)
		}
		if (whole != nil) != (i == len(fragments)-1) {
			t.Fatalf("complete after fragment %d of %d: %v", i+1, len(fragments), whole != nil)
		}
	}
	if !bytes.Equal(whole.Payload, p[20:]) {
		t.Error("the reassembled payload is another")
	}
}

// Fragments of fragments, down to the smallest, still make the whole.
func TestFragmentsAreFragmentedAgain(t *testing.T) {
	c := NewCutter(1 << 12)
	q := udp4
	q.df = false
	p := q.with(5000, 1).build()
	all := [][]byte{p}
	for _, mtu := range []int{1500, 1400, 576, 68, 28} {
		var next [][]byte
		for _, f := range all {
			fragments, drop := pieces(t, c, f, mtu, nil)
			if drop != Delivered {
				t.Fatal(drop)
			}
			next = append(next, fragments...)
		}
		all = next
		payload, faults := reassemble(all, mtu)
		if faults > 0 || !bytes.Equal(payload, p[20:]) {
			t.Fatalf("MTU %d: %d faults", mtu, faults)
		}
	}
	if len(all) != (5008+7)/8 {
		t.Errorf("%d fragments of 8 bytes", len(all))
	}
}

func TestFragmentTreatsOptionsAsRFC791Says(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []byte
		drop    Drop
	}{
		{"record route stays in front", unhex("07070400000000 00"), Delivered},
		{"timestamp stays in front", unhex("4404050001010101"), Delivered},
		{"no-operations", unhex("01010101"), Delivered},
		{"what follows the end does not count", unhex("0083830a"), Delivered},
		{"loose source route must be copied", unhex("83070400000000 00"), TooBig},
		{"router alert must be copied", unhex("94040000"), TooBig},
		{"copied option behind others", unhex("01 4403ff 94040000"), TooBig},
		{"option without a length", unhex("01010107"), TooBig},
		{"option of length 0", unhex("07000000"), TooBig},
		{"option of length 1", unhex("07010000"), TooBig},
		{"option longer than the header", unhex("07050000"), TooBig},
	} {
		q := udp4
		q.df, q.options = false, c.options
		p := q.with(100, 1).build()
		fragments, drop := pieces(t, NewCutter(0), p, 60, nil)
		if drop != c.drop {
			t.Errorf("%s: %v, want %v", c.name, drop, c.drop)
		}
		if drop != Delivered {
			continue
		}
		if !bytes.Equal(fragments[0][20:20+len(c.options)], c.options) || fragments[1][0] != 0x45 {
			t.Errorf("%s: %x, %x", c.name, fragments[0][:28], fragments[1][:28])
		}
	}
}

// The reserved bit is none of ours, and a first fragment keeps saying so.
func TestFragmentKeepsTheOtherFlags(t *testing.T) {
	q := udp4
	q.df = false
	p := set(q.with(32, 1).build(), 6, 0xa0) // reserved, more fragments
	fragments, _ := pieces(t, NewCutter(0), p, 44, nil)
	var words []uint16
	for _, f := range fragments {
		words = append(words, binary.BigEndian.Uint16(f[6:]))
	}
	if want := []uint16{0xa000, 0xa003}; !slices.Equal(words, want) {
		t.Errorf("flags and offsets %04x, want %04x", words, want)
	}
}

func TestFragmentRefuses(t *testing.T) {
	q := udp4
	p := q.with(100, 1).build()
	q.df = false
	free := q.with(100, 1).build()
	opts := q
	opts.options = []byte{1, 1, 1, 1}
	beyond := set(q.with(60000, 1).build(), 6, 0x1f, 0xff) // ends beyond 64 KB, wherever it began
	for _, c := range []struct {
		name string
		p    []byte
		mtu  int
		want Drop
	}{
		{"DF", p, 60, TooBig},
		{"IPv6", udp4.six().with(100, 1).build(), 60, TooBig},
		{"an MTU below the smallest fragment", free, 27, TooBig},
		{"an MTU below it with options", opts.with(100, 1).build(), 31, TooBig},
		{"MTU 0", free, 0, TooBig},
		{"a negative MTU", free, -1, TooBig},
		{"a fragment that reaches beyond 64 KB", beyond, 1500, BadIPHeader},
	} {
		if fragments, drop := pieces(t, NewCutter(0), c.p, c.mtu, nil); drop != c.want || len(fragments) != 0 {
			t.Errorf("%s: %v and %d fragments, want %v", c.name, drop, len(fragments), c.want)
		}
	}
}

// A packet that fits comes out whole: what is delivered is never nothing.
func TestFragmentKeepsAPacketThatFitsWhole(t *testing.T) {
	q := udp4
	q.df = false
	for _, n := range []int{0, 1, 7, 100} {
		p := q.with(n, 1).build()
		if n == 0 {
			p = set(p[:20], 2, 0, 20)
			refFix4(p)
		}
		fragments, drop := pieces(t, NewCutter(0), p, max(len(p), 28), nil)
		if drop != Delivered || len(fragments) != 1 || !bytes.Equal(fragments[0], p) {
			t.Errorf("%d bytes of %d: %v, %x", n, len(p), drop, fragments)
		}
	}
}

func FuzzFragment(f *testing.F) {
	q := udp4
	q.df = false
	f.Add(q.with(300, 1).build(), 68, uint8(0))
	f.Add(set(q.with(300, 1).build(), 6, 0x20, 9), 100, uint8(8))
	q.options = unhex("07070400000000 00")
	f.Add(q.with(300, 1).build(), 90, uint8(50))
	f.Fuzz(func(t *testing.T, p []byte, mtu int, prefixLen uint8) {
		h, drop := Parse(p)
		if drop != Delivered {
			t.Skip()
		}
		arena, intact := guarded(make([]byte, 2048))
		fragments, drop := pieces(t, &Cutter{arena: arena}, p, mtu, bytes.Repeat([]byte{1}, int(prefixLen)))
		if !intact() {
			t.Fatal("bytes outside the arena were written")
		}
		if drop != Delivered {
			if len(fragments) != 0 || drop != TooBig && drop != BadIPHeader {
				t.Fatalf("%v and %d fragments", drop, len(fragments))
			}
			return
		}
		// As pieces of a packet that begins and ends where p does, they make p.
		at, last := binary.BigEndian.Uint16(p[6:])&0x1fff, len(fragments)-1
		malformed := p[6]&0x20 != 0 && (h.Len-h.L4)%8 != 0 // not the last, and no multiple of 8
		for i, f := range fragments {
			word := binary.BigEndian.Uint16(f[6:])
			if more := i < last || p[6]&0x20 != 0; (word&0x2000 != 0) != more || word&0xc000 != binary.BigEndian.Uint16(p[6:])&0xc000 {
				t.Fatalf("fragment %d of %d of %x has flags %x", i, last+1, p[6:8], word)
			}
			if i == last {
				word &^= 0x2000
			}
			binary.BigEndian.PutUint16(f[6:], word-at)
			refFix4(f)
		}
		payload, faults := reassemble(fragments, mtu)
		if faults > 0 && !malformed || !bytes.Equal(payload, p[h.L4:h.Len]) {
			t.Fatalf("%d faults in %d fragments", faults, len(fragments))
		}
	})
}
