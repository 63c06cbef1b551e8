package wg

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"weft/tunnel"
)

// vetter is a receiver without a port: of a tunnel that knows session 7.
func vetter() *receiver {
	t := newTunnel(Options{MTU: 1420, Key: NewPrivateKey()})
	t.sessions.offer(offered(7), time.Now())
	return &receiver{t: t}
}

// A handshake message is let in if it was made for our key.
func TestMAC1(t *testing.T) {
	key := NewPrivateKey()
	mine, other := newMAC1(key.Public()), newMAC1(NewPrivateKey().Public())
	m := initiation(t, NewPrivateKey(), key.Public(), 1, time.Now()).message
	if !mine.valid(m) || other.valid(m) {
		t.Error("not told from a message for somebody else")
	}
	for i := range m {
		if got, want := mine.valid(flip(m, i)), i >= len(m)-16; got != want { // mac2 is not its business
			t.Errorf("byte %d changed: valid is %v", i, got)
		}
	}
}

// What the vet lets in is a message the device takes: of a known type, a right
// length and, as far as can be told, for us.
func FuzzVet(f *testing.F) {
	r := vetter()
	key := r.t.opt.Key.Public()
	f.Add(initiation(f, NewPrivateKey(), key, 1, time.Now()).message)
	f.Add(macOf(f, binary.LittleEndian.AppendUint32(make([]byte, 0, responseBytes), typeResponse), key))
	f.Add(append([]byte{typeCookie, 0, 0, 0}, make([]byte, cookieBytes-4)...))
	f.Add(append([]byte{typeTransport, 0, 0, 0, 7}, make([]byte, 27)...))
	f.Add(append([]byte{typeTransport, 0, 0, 0, 7}, make([]byte, 60)...))
	f.Add([]byte{4, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		was := total(r.t)
		packet, ok := r.vet(b)
		if ok != (total(r.t) == was) || packet && !ok {
			t.Fatalf("let in %v, as a packet %v, lost %d", ok, packet, total(r.t)-was)
		}
		if !ok {
			return
		}
		switch kind := binary.LittleEndian.Uint32(b); {
		case kind == typeInitiation && len(b) == initiationBytes, kind == typeResponse && len(b) == responseBytes:
			if !r.t.mac1.valid(b) {
				t.Error("not for us")
			}
		case kind == typeCookie && len(b) == cookieBytes:
		case kind == typeTransport && len(b) >= keepaliveBytes && b[4] == 7:
			if packet != (len(b) > keepaliveBytes) {
				t.Errorf("%d bytes are a packet: %v", len(b), packet)
			}
		default:
			t.Errorf("let in %x", b)
		}
	})
}

func total(t *Tunnel) (n uint64) {
	for i := range t.lost.n {
		n += t.lost.n[i].Load()
	}
	return n
}

// A run is cut into its datagrams, and what was cut off by the kernel is none.
func TestDatagrams(t *testing.T) {
	r := vetter()
	whole := []byte("aaaabbbbccccdd")
	r.inbox = &tunnel.Inbox{Messages: []tunnel.Received{
		{Data: whole, Size: 4}, {Data: whole[:8], Size: 4}, {Data: whole[:3], Size: 3}, {Data: nil}, {Data: whole, Size: len(whole), Truncated: true}, {Data: whole[:2], Size: 100},
	}}
	var got []string
	for r.next < len(r.inbox.Messages) {
		got = append(got, string(r.datagram(&r.inbox.Messages[r.next])))
	}
	want := []string{"aaaa", "bbbb", "cccc", "dd", "aaaa", "bbbb", "aaa", "", "", "aa"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A directory gives the same endpoint for the same address, and is bounded
// whoever sends.
func TestDirectory(t *testing.T) {
	var d directory
	ap := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 51820)
	}
	first := d.endpoint(ap(0))
	if first.dst != ap(0) || d.endpoint(ap(0)) != first {
		t.Error("not the same")
	}
	d.endpoint(ap(1))
	if d.endpoint(ap(0)) != first {
		t.Error("not the same after another one")
	}
	for i := range 10 * directoryMax {
		if e := d.endpoint(ap(i)); e.dst != ap(i) {
			t.Fatalf("%v is %v", ap(i), e.dst)
		}
		if len(d.known) > directoryMax {
			t.Fatalf("%d endpoints", len(d.known))
		}
	}
}

// An endpoint is written as it is read, and has no two forms.
func TestEndpoint(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1:51820": "192.0.2.1:51820", "[2001:db8::1]:1": "[2001:db8::1]:1",
		"[::ffff:192.0.2.1]:5": "192.0.2.1:5", "[fe80::1%eth0]:5": "[fe80::1]:5",
	} {
		e, err := parseEndpoint(in)
		if err != nil || e.DstToString() != want || e.DstIP() != e.dst.Addr() || e.SrcToString() != "" || e.SrcIP().IsValid() {
			t.Errorf("%s: %v, %v", in, e, err)
		} else if e.family() != b2i(!e.DstIP().Is4()) || len(e.DstToBytes()) != map[bool]int{true: 6, false: 18}[e.DstIP().Is4()] {
			t.Errorf("%s: family %d, %x", in, e.family(), e.DstToBytes())
		}
	}
	for _, in := range []string{"", "192.0.2.1", "example.com:5", "192.0.2.1:65536", ":5"} {
		if _, err := parseEndpoint(in); err == nil {
			t.Errorf("%q is an endpoint", in)
		}
	}
}

// Forged ones are those that vanished without an explanation; the count never
// falls, whatever is known first.
func TestForged(t *testing.T) {
	var l losses
	check := func(want uint64) {
		t.Helper()
		if l.forged(); l.n[Forged].Load() != want {
			t.Errorf("%d forged, want %d", l.n[Forged].Load(), want)
		}
	}
	l.vanished.Add(3)
	l.explained.Add(1)
	check(2)
	l.explained.Add(2) // of some that have not vanished yet
	check(2)
	l.vanished.Add(2)
	check(2)
	l.vanished.Add(1)
	check(3)
	l.keepalives.Add(5)
	l.keepalivesGood.Add(3)
	l.settleKeepalives() // two may be on their way
	check(3)
	l.keepalivesGood.Add(1)
	l.settleKeepalives()
	check(4)
	l.keepalives.Add(1)
	l.keepalivesGood.Add(1)
	l.settleKeepalives()
	l.settleKeepalives()
	check(4)
	l.raise(Forged, 1)
	check(4)
}
