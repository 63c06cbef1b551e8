package pcapng_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"weft/cmd/weft/trace/pcapng"
	"weft/cmd/weft/trace/pcapng/pcapngtest"
)

// The bytes of a small file, made by hand after the draft's figures.
func TestBytes(t *testing.T) {
	var out bytes.Buffer
	w, err := pcapng.NewWriter(&out, pcapng.Section{OS: "Linux"})
	if err != nil {
		t.Fatal(err)
	}
	n, err := w.AddInterface(pcapng.Interface{Name: "eth0", LinkType: pcapng.RAW, Snaplen: 128})
	if err != nil || n != 0 {
		t.Fatalf("interface %d, %v", n, err)
	}
	if err := w.WritePacket(&pcapng.Packet{Time: 0x0102030405060708, Data: []byte{0x45, 0, 1}, Len: 99, Direction: pcapng.Outbound,
		ID: 7, Lost: 2, Verdict: []byte{0, 9}, Comments: []string{"", "hello"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteStats(0, pcapng.Stats{Start: 1, End: 1 << 32, Received: 1, Lost: 2}); err != nil {
		t.Fatal(err)
	}
	want := strings.Join(strings.Fields(`
		0a0d0d0a 2c000000 4d3c2b1a 01000000 ffffffffffffffff  0300 0500 4c696e7578 000000  0000 0000 2c000000
		01000000 28000000 6500 0000 80000000  0200 0400 65746830  0900 0100 09 000000  0000 0000 28000000
		06000000 5c000000 00000000 04030201 08070605 03000000 63000000 450001 00
			0100 0500 68656c6c6f 000000  0200 0400 02000000  0400 0800 0200000000000000
			0500 0800 0700000000000000  0700 0200 0009 0000  0000 0000 5c000000
		05000000 4c000000 00000000 01000000 00000000  0200 0800 00000000 01000000  0300 0800 01000000 00000000
			0400 0800 0100000000000000  0500 0800 0200000000000000  0000 0000 4c000000`), "")
	if got := hex.EncodeToString(out.Bytes()); got != want {
		t.Errorf("wrote %s\n want %s", got, want)
	}
}

// Text that the format cannot hold is made to fit, at a character's edge.
func TestText(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"not UTF-8":          {"a\xffb", "a\ufffdb"},
		"one byte too long":  {strings.Repeat("a", 65536), strings.Repeat("a", 65535)},
		"cut in a character": {strings.Repeat("é", 32768), strings.Repeat("é", 32767)},
		"as long as it may":  {strings.Repeat("a", 65535), strings.Repeat("a", 65535)},
	} {
		var out bytes.Buffer
		if _, err := pcapng.NewWriter(&out, pcapng.Section{Comment: c.in}); err != nil {
			t.Fatal(err)
		}
		f, err := pcapngtest.Read(out.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := pcapngtest.Text(f.Options, 1); len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: a comment of %d bytes, want %d", name, len(got[0]), len(c.want))
		}
	}
}

func TestUnknownInterface(t *testing.T) {
	w, err := pcapng.NewWriter(new(bytes.Buffer), pcapng.Section{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{-1, 0, 1} {
		if err := w.WritePacket(&pcapng.Packet{Interface: n}); err == nil {
			t.Errorf("a packet of interface %d was written", n)
		}
		if err := w.WriteStats(n, pcapng.Stats{}); err == nil {
			t.Errorf("statistics of interface %d were written", n)
		}
	}
}

type failing struct{ after int }

var errFull = errors.New("no space left")

func (f *failing) Write(b []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, errFull
	}
	return len(b), nil
}

// The first error stays: half a file must not grow a gap.
func TestErrorStays(t *testing.T) {
	out := &failing{after: 1}
	w, err := pcapng.NewWriter(out, pcapng.Section{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddInterface(pcapng.Interface{}); !errors.Is(err, errFull) {
		t.Fatalf("on a full disk: %v", err)
	}
	out.after = math.MaxInt
	if _, err := w.AddInterface(pcapng.Interface{}); !errors.Is(err, errFull) {
		t.Errorf("after an error: %v", err)
	}
}

// FuzzPacket: whatever a packet holds, the file can be read and holds it.
func FuzzPacket(f *testing.F) {
	f.Add(int64(1700000000123456789), []byte("data"), uint32(1500), uint8(1), uint64(7), uint64(0), []byte{0, 1}, "comment", "name")
	f.Add(int64(-1), []byte{}, uint32(0), uint8(9), uint64(math.MaxUint64), uint64(3), []byte{}, "\xff\x00", "")
	f.Fuzz(func(t *testing.T, at int64, data []byte, n uint32, dir uint8, id, lost uint64, verdict []byte, comment, name string) {
		if len(verdict) > 65535 {
			return
		}
		var out bytes.Buffer
		w, err := pcapng.NewWriter(&out, pcapng.Section{Application: name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.AddInterface(pcapng.Interface{Name: name, Description: comment, LinkType: pcapng.RAW}); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second reuses the first one's memory
			if err := w.WritePacket(&pcapng.Packet{Time: at, Data: data, Len: n, Direction: pcapng.Direction(dir), ID: id, Lost: lost,
				Verdict: verdict, Comments: []string{comment, comment}}); err != nil {
				t.Fatal(err)
			}
		}
		file, err := pcapngtest.Read(out.Bytes())
		if err != nil || len(file.Packets) != 2 {
			t.Fatalf("%d packets, %v", len(file.Packets), err)
		}
		for _, p := range file.Packets {
			if p.Time != at || !bytes.Equal(p.Data, data) || p.Len != max(n, uint32(len(data))) ||
				pcapngtest.U64(p.Options, 5) != id || pcapngtest.U64(p.Options, 4) != lost || pcapngtest.U64(p.Options, 2) != uint64(dir) {
				t.Fatalf("%+v", p)
			}
		}
	})
}
