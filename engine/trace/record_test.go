package trace

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"weft/encap"
)

// sample returns a record with another value in each field, so that two that
// are mixed up show.
func sample() Record {
	return Record{
		ID: 0x0102030405060708, Time: 1700000000123456789, Took: 3100, Way: Read | Parsed | Routed | Wrapped | Sent,
		Dir: In, Kind: VXLAN, Drop: encap.TooBig, ECN: 3, Packets: 40, Len: 57972, VNI: 0xabcdef, Size: 1448, Limit: 1450,
		Run: 7, Joined: 9, Local: netip.MustParseAddrPort("192.0.2.11:8472"),
		Remote: netip.MustParseAddrPort("[2001:db8::12]:51884"), Prefix: 22, Snap: []byte("the first bytes of a datagram"),
	}
}

func TestRecordRoundTrip(t *testing.T) {
	for name, change := range map[string]func(*Record){
		"full":                    func(*Record) {},
		"zero":                    func(r *Record) { *r = Record{Snap: []byte{}} },
		"no local address":        func(r *Record) { r.Local = netip.AddrPortFrom(netip.Addr{}, 8472) },
		"before the epoch":        func(r *Record) { r.Time = -5 },
		"no payload":              func(r *Record) { r.Snap = []byte{} },
		"IPv4 on both sides":      func(r *Record) { r.Remote = netip.MustParseAddrPort("192.0.2.12:1") },
		"IPv4 zero is an address": func(r *Record) { r.Remote = netip.MustParseAddrPort("0.0.0.0:1") },
	} {
		want := sample()
		change(&want)
		b := want.Append([]byte("before"))
		if len(b) != len("before")+fixed+len(want.Snap) || !strings.HasPrefix(string(b), "before") {
			t.Errorf("%s: encoded as %d bytes", name, len(b))
		}
		var got Record
		if err := got.Decode(b[len("before"):]); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v\nwant %+v, %v", name, got, want, err)
		}
	}
}

// A record's fields lie where the comment of Record says.
func TestRecordLayout(t *testing.T) {
	r := sample()
	b := r.Append(nil)
	for _, f := range []struct {
		name string
		at   int
		want []byte
	}{
		{"id", 8, []byte{1, 2, 3, 4, 5, 6, 7, 8}}, {"took", 16, []byte{0, 0, 0x0c, 0x1c}}, {"packets", 24, []byte{0, 0, 0, 40}},
		{"len", 28, []byte{0, 0, 0xe2, 0x74}}, {"vni", 32, []byte{0, 0xab, 0xcd, 0xef}}, {"size", 36, []byte{5, 0xa8}},
		{"limit", 38, []byte{5, 0xaa}}, {"run", 40, []byte{0, 7}}, {"joined", 42, []byte{0, 9}},
		{"dir, kind, drop, ecn", 44, []byte{1, 2, byte(encap.TooBig), 3}},
		{"local", 48, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 11, 0x21, 0x18}},
		{"prefix", 84, []byte{0, 22}}, {"snap", 86, []byte("the first")},
	} {
		if got := b[f.at : f.at+len(f.want)]; !bytes.Equal(got, f.want) {
			t.Errorf("%s at %d: % x, want % x", f.name, f.at, got, f.want)
		}
	}
}

func TestInner(t *testing.T) {
	for prefix, want := range map[uint16]string{0: "abc", 1: "bc", 3: "", 4: "", 65535: ""} {
		r := Record{Prefix: prefix, Snap: []byte("abc")}
		if got := string(r.Inner()); got != want {
			t.Errorf("prefix %d: inner packet %q, want %q", prefix, got, want)
		}
	}
}

// Words for numbers of a newer daemon do not fail.
func TestNames(t *testing.T) {
	if got := Kind(200).String(); got != "unknown" {
		t.Errorf("kind 200 is %q", got)
	}
	if got := Dir(7).String(); got != "in" && got != "out" {
		t.Errorf("direction 7 is %q", got)
	}
	all := Way(1<<32 - 1).Names()
	if len(all) != len(wayNames) || all[0] != "read" || all[len(all)-1] != "consumed" {
		t.Errorf("all stages: %v", all)
	}
}

// FuzzDecode: whatever comes is refused or is a record, which encodes to the
// same bytes again.
func FuzzDecode(f *testing.F) {
	r := sample()
	f.Add(r.Append(nil))
	f.Add(make([]byte, fixed))
	f.Add(make([]byte, fixed-1))
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 200)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	f.Add(noise)
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Record
		if err := r.Decode(b); (err != nil) != (len(b) < fixed) {
			t.Fatalf("%d bytes: %v", len(b), err)
		} else if err != nil {
			return
		}
		again := r.Append(nil)
		var second Record
		if err := second.Decode(again); err != nil || !reflect.DeepEqual(r, second) {
			t.Fatalf("%+v\nbecame %+v, %v", r, second, err)
		}
		_, _, _, _ = r.Inner(), r.Way.Names(), r.Kind.String(), r.Dir.String()
	})
}
