package probe

import (
	"encoding/hex"
	"net/netip"
	"testing"
)

// seeds are packets of every kind.
func seeds(n *Prober) (out [][]byte) {
	for _, at := range [][2]netip.Addr{{a4, b4}, {a6, b6}} {
		m := n.seal.mark(forEcho, at[0], at[1], 104)
		e, _ := (&Echo{Src: at[0], Dst: at[1], Size: 104, Token: m.token, Seal: m.seal}).Append(nil)
		m = n.seal.mark(forQuery, at[0], at[1], querySize)
		ask := (&query{src: at[0], dst: at[1], mark: m, about: a4}).append(nil)
		tell := (&query{src: at[1], dst: at[0], tell: true, mark: m, about: a4}).append(nil)
		out = append(out, e, kernel(e), ask, tell, unreachable(ask, ipHead(at[0])), unreachable(e, ipHead(at[0])))
	}
	for _, s := range []Shape{{}, {Form: VXLANShaped, VNI: 9}, {Form: IPShaped, Src: a4, Dst: b4}, {Form: IPShaped, Src: a6, Dst: b6}} {
		d, _ := (&Datagram{Shape: s}).Append(nil, 3)
		out = append(out, d)
	}
	return out
}

// Whatever comes in, nothing breaks, and what is read as ours can be written
// again.
func FuzzInput(f *testing.F) {
	send := func(string, []byte) error { return nil }
	n := New(Options{Answer: func(netip.Addr) View { return View{} }, Send: send, SendOuter: send})
	n.Set([]Target{{Key: "b", Src: b4, Dst: a4, Alt: a6}})
	for _, b := range seeds(n) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, ok := ParseEcho(b); ok {
			p, err := e.Append(nil)
			if again, ok := ParseEcho(p); err != nil || !ok || again != e {
				t.Errorf("%+v became %+v, %v", e, again, err)
			}
		}
		if ip, ok := parseIP(b, false); ok {
			if q, ok := parseQuery(&ip); ok {
				ip, _ := parseIP(q.append(nil), false)
				if again, ok := parseQuery(&ip); !ok || again != q {
					t.Errorf("%+v became %+v", q, again)
				}
			}
		}
		n.Input(b, usAt, "b")
		n.drain()
		if len(n.asks) > 0 {
			n.handle(ptr(<-n.asks))
		}
	})
}

func ptr[T any](v T) *T { return &v }

// The same beside the tunnel.
func FuzzRecognise(f *testing.F) {
	n := New(Options{})
	for _, b := range seeds(n) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// A fuzzer does not guess the mask, so it is taken off and put on here.
		if len(b) == underlaySize {
			mask(b[underlaySize-tailSize:])
		}
		d, ok := Recognise(b)
		if !ok {
			return
		}
		p, err := d.Append(nil, 7)
		if again, ok := Recognise(p); err != nil || !ok || again != d {
			t.Errorf("%+v became %+v, %v", d, again, err)
		}
	})
}

// Packets that are not the prober's cost no memory.
func TestInputAllocatesNothing(t *testing.T) {
	n := New(Options{SendOuter: func(string, []byte) error { return nil }})
	foreign := seeds(New(Options{}))
	for _, b := range append(foreign, make([]byte, 1450), nil) {
		taken := false
		if got := testing.AllocsPerRun(100, func() { taken = n.Input(b, usAt, "b") }); got != 0 || taken {
			if q, ok := parseIP(b, false); ok && q.proto == protoUDP && taken {
				continue // an answer to a foreign question is taken, and read for that
			}
			t.Errorf("%x…: %v allocations, taken %v", b[:min(len(b), 48)], got, taken)
		}
	}
	noise := make([]byte, underlaySize)
	if got := testing.AllocsPerRun(100, func() { n.InputOuter(noise, usAt, "b") }); got != 0 {
		t.Errorf("%v allocations for a foreign datagram", got)
	}
}

// More than Run can take in at once is let go, and counted.
func TestInputNeverBlocks(t *testing.T) {
	n := New(Options{})
	for range 300 {
		m := n.seal.mark(forEcho, a4, b4, 84)
		p, err := (&Echo{Src: b4, Dst: a4, Reply: true, Size: 84, Token: m.token, Seal: m.seal}).Append(nil)
		if err != nil || !n.Input(p, usAt, "b") {
			t.Fatal("not taken", err)
		}
	}
	if got := n.Missed(); got != 300-256 {
		t.Errorf("%d missed", got)
	}
}

// The bytes on the wire, for nodes of other versions to agree with.
func TestGolden(t *testing.T) {
	echo, err := (&Echo{Src: a4, Dst: b4, ID: 0x1122, Seq: 3, Size: 60, Token: 0x0102030405060708, Seal: 0x1112131415161718}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	tell := query{src: b4, dst: a4, tell: true, mark: mark{0x0102030405060708, 0x1112131415161718}, about: a4, answer: Answer{view, usAt}}
	probe, err := (&Datagram{Tell: true, Observed: usAt, mark: mark{1, 2}, Shape: Shape{Form: VXLANShaped, VNI: 1}}).Append(nil, 0x0807060504030201)
	if err != nil {
		t.Fatal(err)
	}
	for what, p := range map[string][]byte{"echo": echo, "tell": tell.append(nil), "probe": probe} {
		if got := hex.EncodeToString(p); got != golden[what] {
			t.Errorf("%s:\n%s, want\n%s", what, got, golden[what])
		}
	}
}

var golden = map[string]string{
	"echo": "4500003c00004000400123c00a0101000a01020008000b8011220003776566746563686f010203040506070811121314" +
		"151617180acc9c175458d409",
	"tell": "4500009c00004000401123500a0102000a010100205e205e008815b47765667476696577010201000000057801020304" +
		"05060708111213141516171800000000000000000000ffff0a01010000000000000000000000ffffc000020100000000" +
		"000000000000ffffc000020121189c4176786c616e0000000000000076312e322e330000000000000000000000000000" +
		"000000000000000000000000",
	"probe": "080000000000010000000000000000000000000088b51f28ac36814a4af842a602c42777bb4cdaeb2e3b57aaa7c9b2d0" +
		"b621a74e2246a868ea103052fe79e465033c53a2a3845236c7b518c11e763a5ddb3a6922cb35e107dc95a63dd0820e94" +
		"ea932298329137b708070605040302010603152a1c961e48b9e61dae284748276262f4289f16bb93887da2d3cf3b7ca8" +
		"7f22122368981bbbdc27e5522d959c8b",
}
