package wg

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// One packet comes from hand 1 to node 2 in each of these tests, with what is
// wrong before it: when the packet is there, the fate of the rest is known.
type attack struct {
	name string
	make func(h *hand, good func() []byte) [][]byte
	want [NumLosses]uint64
	also int // further packets that arrive
}

func lost(why Loss, n uint64) (l [NumLosses]uint64) {
	l[why] = n
	return l
}

func flip(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[(at+len(b))%len(b)] ^= 0x10
	return b
}

func attacks() []attack {
	sealed := func(payload []byte) func(*hand, func() []byte) [][]byte {
		return func(h *hand, _ func() []byte) [][]byte { return [][]byte{h.seal(payload)} }
	}
	me4, you4, me6, you6 := inner4(1), inner4(2), inner6(1), inner6(2)
	long := packet(me4, you4, make([]byte, 100))
	binary.BigEndian.PutUint16(long[2:], 2000)
	return []attack{
		{"nothing", func(*hand, func() []byte) [][]byte { return nil }, lost(0, 0), 0},
		{"a tag", func(_ *hand, good func() []byte) [][]byte { return [][]byte{flip(good(), -1)} }, lost(Forged, 1), 0},
		{"the first byte sealed", func(_ *hand, good func() []byte) [][]byte { return [][]byte{flip(good(), 16)} }, lost(Forged, 1), 0},
		{"its number", func(_ *hand, good func() []byte) [][]byte { return [][]byte{flip(good(), 15)} }, lost(Forged, 1), 0},
		{"three of five", func(_ *hand, good func() []byte) [][]byte {
			return [][]byte{flip(good(), -1), good(), flip(good(), -2), good(), flip(good(), 20)}
		}, lost(Forged, 3), 2},
		{"garbage of every length", func(h *hand, _ func() []byte) (out [][]byte) {
			for n := keepaliveBytes + 1; n < 100; n++ {
				b := h.seal(nil)
				out = append(out, append(b, make([]byte, n-len(b))...))
			}
			return out
		}, lost(Forged, 99-keepaliveBytes), 0},
		{"an unknown session", func(_ *hand, good func() []byte) [][]byte { return [][]byte{flip(good(), 4)} }, lost(UnknownSession, 1), 0},
		{"a packet in place of a keepalive", func(h *hand, _ func() []byte) [][]byte { return [][]byte{h.seal(nil), h.seal(nil)} }, lost(0, 0), 0},
		{"a disallowed source", sealed(packet(inner4(9), you4, nil)), lost(BadSource, 1), 0},
		{"a disallowed source, IPv6", sealed(packet(inner6(9), you6, nil)), lost(BadSource, 1), 0},
		{"the destination as source", sealed(packet(you4, me4, nil)), lost(BadSource, 1), 0},
		{"no IP", sealed([]byte("it begins with a 6 and is not IPv5")), lost(Forged, 1), 0}, // 0x69: IPv6, cut short
		{"version 5", sealed(append([]byte{0x50}, make([]byte, 50)...)), lost(NotIP, 1), 0},
		{"zeros", sealed(make([]byte, 16)), lost(NotIP, 1), 0},
		{"IPv4, cut short", sealed(packet(me4, you4, nil)[:19]), lost(Forged, 1), 0}, // the device does not say why
		{"longer than it is", sealed(long), lost(Forged, 1), 0},
		{"padding without end", sealed(append(packet(me6, you6, []byte("padded")), make([]byte, 3000)...)), lost(0, 0), 1},
		{"not a type", func(*hand, func() []byte) [][]byte {
			return [][]byte{{5, 0, 0, 0, 64: 0}, {4, 0, 1, 0, 64: 0}, {}, {4, 0, 0, 0}, make([]byte, 31), make([]byte, 147), {1, 146: 0}, {2, 92: 0}, {3, 64: 0}}
		}, lost(NotMessage, 9), 0},
	}
}

// Each thing that can be wrong with a datagram is counted as what it is, once,
// and harms no other.
func TestLosses(t *testing.T) {
	b := newNode(t, 2, nil)
	for i, tc := range attacks() {
		t.Run(tc.name, func(t *testing.T) {
			b.t = t
			key := NewPrivateKey()
			must(t, b.SetPeers([]Peer{{Key: key.Public(), Endpoint: netip.MustParseAddrPort("127.0.0.1:9"), Allowed: subnets(1)}}))
			h := shake(t, key, b.key(), b.at(i%2))
			k := 0
			good := func() []byte {
				k++
				return h.seal(packet(inner4(1), inner4(2), fmt.Appendf(nil, "good %d", k)))
			}
			was := b.Losses()
			h.write(good())
			b.get()
			h.write(tc.make(h, good)...)
			last := packet(inner4(1), inner4(2), []byte("last"))
			h.write(h.seal(last))
			for range tc.also {
				if p := b.get(); bytes.Equal(p.data, last) {
					t.Fatal("too few packets")
				}
			}
			if p := b.get(); !bytes.Equal(p.data, last) {
				t.Fatalf("got %x", p.data)
			}
			got := b.Losses()
			for why := range got {
				got[why] -= was[why]
			}
			if got != tc.want {
				t.Errorf("lost %v, want %v", got, tc.want)
			}
			if n := inUse(b.inward); n != 0 {
				t.Errorf("%d packets are inside", n)
			}
		})
	}
}

// peerHand is a node and a peer of it by hand, with a session.
func peerHand(t *testing.T) (*node, *hand) {
	b := newNode(t, 2, nil)
	key := NewPrivateKey()
	must(t, b.SetPeers([]Peer{{Key: key.Public(), Endpoint: netip.MustParseAddrPort("127.0.0.1:9"), Allowed: subnets(1)}}))
	return b, shake(t, key, b.key(), b.at(0))
}

// Whatever was delivered once is not delivered again.
func TestReplay(t *testing.T) {
	b, h := peerHand(t)
	var all [][]byte
	for i := range 100 {
		all = append(all, h.seal(packet(inner4(1), inner4(2), []byte{byte(i)})))
	}
	for _, i := range []int{0, 50, 99} { // out of order is in order
		h.write(all[i])
		b.get()
		h.write(all[i], all[i])
	}
	h.write(all[1:50]...)
	for range 49 {
		b.get()
	}
	h.write(all[:51]...)
	h.write(all[51])
	b.get()
	if got := b.Losses(); got != lost(Replayed, 6+51) {
		t.Errorf("lost %v, want %d replayed", got, 6+51)
	}
}

// What was forged last, and forged keepalives, are known after a while.
func TestForgedAndSilence(t *testing.T) {
	b, h := peerHand(t)
	h.write(h.seal(packet(inner4(1), inner4(2), nil)))
	b.get()
	h.write(flip(h.seal(packet(inner4(1), inner4(2), nil)), -1), flip(h.seal(nil), -1), h.seal(nil))
	b.lines.await(t, "Receiving keepalive packet", 1) // the device has had them all
	now := time.Now()
	for i := range 3 {
		now = now.Add(2 * moments)
		b.settle(now)
		if got := b.Losses(); i == 2 && (got[Forged] != 2 || inUse(b.inward) != 0) {
			t.Errorf("lost %v, want 2 forged; %d are inside", got, inUse(b.inward))
		}
	}
}

// Handshakes that come to nothing are counted, and the device says what we read
// out of its log.
func TestBadHandshakes(t *testing.T) {
	a, b := newNode(t, 1, nil), newNode(t, 2, nil)
	known := a.as(0)
	must(t, b.SetPeers([]Peer{known}))
	c, err := b.dial()
	must(t, err)
	h := &hand{t: t, conn: c}
	write := func(b []byte) { h.write(b) }

	write(flip(initiation(t, NewPrivateKey(), b.key(), 1, time.Now()).message, 140)) // mac2: nobody cares, but nobody knows the key
	b.lines.await(t, "Received invalid initiation message from 127.0.0.1:", 1)
	write(initiation(t, NewPrivateKey(), b.key(), 1, time.Now()).message)
	b.lines.await(t, "Received invalid initiation message from 127.0.0.1:", 2)
	wantLost(t, b, lost(BadHandshake, 2))

	write(flip(initiation(t, NewPrivateKey(), b.key(), 1, time.Now()).message, 120)) // mac1
	write(initiation(t, a.opt.Key, a.key(), 1, time.Now()).message)                  // for somebody else
	write(initiation(t, NewPrivateKey(), b.key(), 1, time.Now()).message)
	b.lines.await(t, "Received invalid initiation message from 127.0.0.1:", 3)
	wantLost(t, b, lost(BadHandshake, 5))

	// An answer that nobody asked for.
	m := binary.LittleEndian.AppendUint32(nil, typeResponse)
	m = macOf(t, append(m, make([]byte, 56)...), b.key())
	write(m)
	b.lines.await(t, "Received invalid response message from 127.0.0.1:", 1)
	wantLost(t, b, lost(BadHandshake, 6))

	// The device's key changes behind our back: it checks for itself.
	other := NewPrivateKey()
	must(t, b.dev.IpcSet(fmt.Sprintf("private_key=%x\n", other[:])))
	write(initiation(t, NewPrivateKey(), b.key(), 1, time.Now()).message)
	b.lines.await(t, "Received packet with invalid mac1", 1)
	wantLost(t, b, lost(BadHandshake, 7))
}

func wantLost(t *testing.T, d *node, want [NumLosses]uint64) {
	t.Helper()
	if got := d.Losses(); got != want {
		t.Errorf("lost %v, want %v", got, want)
	}
}

// With the wrong preshared key there is never a session.
func TestWrongPSK(t *testing.T) {
	a, b := newNode(t, 1, nil), newNode(t, 2, nil)
	wrong := a.as(0)
	wrong.PSK = PresharedKey{1}
	must(t, a.SetPeers([]Peer{b.as(0)}))
	must(t, b.SetPeers([]Peer{wrong}))
	a.feed(b, packet(inner4(1), inner4(2), nil))
	a.lines.await(t, "Received invalid response message from 127.0.0.1:", 1)
	wantLost(t, a, lost(BadHandshake, 1))
	if a.Lane(b.key()).open.Load() {
		t.Error("there is a session")
	}
	// With the right one there is.
	c := newNode(t, 1, nil)
	right, us := c.as(0), b.as(0)
	right.PSK, us.PSK = PresharedKey{1}, PresharedKey{1}
	must(t, c.SetPeers([]Peer{us}))
	must(t, b.SetPeers([]Peer{right}))
	c.meet(b)
}

// A cookie that is not for us is counted.
func TestBadCookie(t *testing.T) {
	a, b := pair(t, 0, nil)
	a.meet(b)
	var id uint32
	a.sessions.mu.RLock()
	for id = range a.sessions.byID {
	}
	a.sessions.mu.RUnlock()
	c, err := a.dial()
	must(t, err)
	m := binary.LittleEndian.AppendUint32(nil, typeCookie)
	m = binary.LittleEndian.AppendUint32(m, id)
	(&hand{t: t, conn: c}).write(append(m, make([]byte, cookieBytes-8)...))
	a.lines.await(t, "Could not decrypt invalid cookie response", 1)
	wantLost(t, a, lost(BadHandshake, 1))
}
