package e2e

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
)

// A forgery is a datagram made from a true one, and why it is dropped.
type forgery struct {
	name, reason string
	make         func(d []byte) []byte
}

// forgeries make what they can of a transport message that a node has taken,
// whose fields are (whitepaper, section 5.4.6)
//
//	type(4)  receiver's index(4)  counter(8)  packet and tag, sealed
//
// and of handshake messages for the node with that public key.
func forgeries(key []byte) []forgery {
	counter := uint64(1 << 20) // beyond those in use; it is authenticated like all else
	fresh := func(change func(b []byte)) func([]byte) []byte {
		return func(d []byte) []byte {
			b := slices.Clone(d)
			counter++
			binary.LittleEndian.PutUint64(b[8:], counter)
			change(b)
			return b
		}
	}
	return []forgery{
		{"once more", "wg_replay", slices.Clone[[]byte]},
		{"once more, flipped", "wg_replay", func(d []byte) []byte { b := slices.Clone(d); b[20] ^= 1; return b }},
		{"another counter", "wg_not_authentic", fresh(func([]byte) {})},
		{"a flipped bit", "wg_not_authentic", fresh(func(b []byte) { b[30] ^= 0x10 })},
		{"a flipped tag", "wg_not_authentic", fresh(func(b []byte) { b[len(b)-1] ^= 1 })},
		{"another session", "wg_unknown_session", fresh(func(b []byte) { b[4] ^= 0x55 })},
		{"nothing", "wg_not_a_message", func([]byte) []byte { return nil }},
		{"half a header", "wg_not_a_message", func(d []byte) []byte { return d[:15] }},
		{"a header and no tag", "wg_not_a_message", func(d []byte) []byte { return d[:31] }},
		{"another type", "wg_not_a_message", func(d []byte) []byte { b := slices.Clone(d); b[0] = 5; return b }},
		{"reserved bits", "wg_not_a_message", func(d []byte) []byte { b := slices.Clone(d); b[2] = 1; return b }},
		{"in the clear", "wg_not_a_message", func([]byte) []byte {
			return inner4(netip.MustParseAddrPort("10.244.2.2:7"), netip.MustParseAddrPort("10.244.1.2:7"), 62, []byte("in the clear, but long enough"))
		}},
		{"an initiation of a wrong length", "wg_not_a_message", func([]byte) []byte { return handshake(1, 147, key) }},
		{"an initiation for another key", "wg_handshake_refused", func([]byte) []byte { return handshake(1, 148, make([]byte, 32)) }},
		{"a response for another key", "wg_handshake_refused", func([]byte) []byte { return handshake(2, 92, make([]byte, 32)) }},
		{"an initiation of nobody", "wg_handshake_refused", func([]byte) []byte { return handshake(1, 148, key) }},
		{"a response to nothing", "wg_handshake_refused", func([]byte) []byte { return handshake(2, 92, key) }},
	}
}

// handshake makes a handshake message of noise, with the MAC that the owner of
// a public key wants to see (whitepaper, section 5.4.4).
func handshake(kind uint32, size int, key []byte) []byte {
	b := payload(size)
	binary.LittleEndian.PutUint32(b, kind)
	hash := blake2s.Sum256(append([]byte("mac1----"), key...))
	mac, _ := blake2s.New128(hash[:]) // 32 bytes are a key
	mac.Write(b[:size-32])
	copy(b[size-32:], mac.Sum(nil))
	clear(b[size-16:])
	return b
}

// What is sent again, changed or made up is not delivered, moves no endpoint,
// and is counted for what it is, each and every one; what is true passes
// meanwhile.
func TestWireGuardForged(t *testing.T) {
	for family := range 2 {
		t.Run([...]string{"IPv4", "IPv6"}[family], func(t *testing.T) { forged(t, family) })
	}
}

func forged(t *testing.T, family int) {
	device := [...]string{"flannel-wg", "flannel-wg-v6"}[family]
	l := newLab(t, lab.Options{Nodes: 2, Env: quiet, Store: lab.StoreDir, NetConf: wgConf([...]string{"4", "46"}[family], "")})
	must(t, l.SetWire(true)) // one datagram in a frame
	must(t, l.Up(within(t)))
	n1, n2 := l.Nodes[0], l.Nodes[1]
	pods := [2][2]netip.Addr{{n1.PodAddr(), n1.PodAddr6()}, {n2.PodAddr(), n2.PodAddr6()}}
	in := openUDP(t, n1.Pod, netip.AddrPortFrom(pods[0][family], 0))
	out := openUDP(t, n2.Pod, netip.AddrPortFrom(pods[1][family], 0))
	true1 := caught(t, n1, n2, uint16(51820+family), func() {
		say(t, out, "the true one", in.addr)
		expect(t, in, "the true one")
	})
	at := interfaceOf(t, n1, device).peers[publicKey(t, n2)].endpoint

	raw, err := base64.StdEncoding.DecodeString(publicKey(t, n1))
	must(t, err)
	outer := [2][2]netip.Addr{{n1.Underlay, n1.Underlay6}, {n2.Underlay, n2.Underlay6}}
	stranger := openUDP(t, n2.Host, netip.AddrPortFrom(outer[1][family], 0))
	const some = 20
	want := map[string]uint64{}
	for _, f := range forgeries(raw) {
		for i := range some {
			must(t, stranger.sendTo(f.make(true1.data), true1.to))
			text := fmt.Sprint(f.name, i)
			say(t, out, text, in.addr) // by the same wire, behind the false one
			expect(t, in, text)
		}
		want[f.reason] += some
	}
	if now := interfaceOf(t, n1, device).peers[publicKey(t, n2)].endpoint; now != at {
		t.Errorf("the peer is at %s now, was at %s", now, at)
	}
	drops := stopped(t, n1)
	for reason, n := range want {
		if got := drops[reason]; got < n || got > n+crossed(reason) {
			t.Errorf("%s: counted %d, want %d (%v)", reason, got, n, drops)
		}
	}
}

// crossed is how many drops for a reason may be of nodes that began a handshake
// at the same time, and so refuse each other's answers.
func crossed(reason string) uint64 {
	if reason == "wg_handshake_refused" {
		return 1
	}
	return 0
}

// caught returns the first packet that comes sealed from a node to a port of
// another one after f was called.
func caught(t *testing.T, at, from *lab.Node, port uint16, f func()) datagram {
	t.Helper()
	w := tapWire(t, at.Host)
	f()
	for {
		if d := w.datagram(t, from); d.kind() == 4 && len(d.data) > 32 && d.to.Port() == port {
			return d
		}
	}
}

// expect receives the next datagram, which must be that text.
func expect(t testing.TB, in *socket, text string) {
	t.Helper()
	buf := make([]byte, 2048)
	if k, _, err := in.receive(within(t), buf); err != nil || string(buf[:k]) != text {
		t.Fatalf("the pod received %q, want %q: %v", buf[:k], text, err)
	}
}

// A node that is authentic may not speak in the name of another's pods.
func TestWireGuardInnerSource(t *testing.T) {
	l := newLabUp(t, lab.Options{Nodes: 3, Store: lab.StoreDir, NetConf: wgConf("46", `,"Mode":"ipv4"`)})
	n1, n2, n3 := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	const some = 25
	sent := uint64(0)
	for i, own := range []*lab.Node{n2, n3} { // the pod of n2 lies; that it is n2 itself who sends is its kernel's belief
		liar := [2]netip.Addr{own.PodAddr(), own.PodAddr6()}
		if i == 0 {
			liar = [2]netip.Addr{netip.MustParseAddr("10.244.77.7"), netip.MustParseAddr("fd00:244:0:77::7")}
		}
		must(t, n2.Pod.Addresses("eth0", netip.PrefixFrom(n2.PodAddr(), 24), netip.PrefixFrom(n2.PodAddr6(), 64),
			netip.PrefixFrom(liar[0], 32), netip.PrefixFrom(liar[1], 128)))
		must(t, n2.Pod.Default("eth0", n2.Env().Subnet.Addr()))
		must(t, n2.Pod.Default("eth0", n2.Env().IPv6Subnet.Addr()))
		for family, a := range liar {
			in := openUDP(t, n1.Pod, netip.AddrPortFrom([2]netip.Addr{n1.PodAddr(), n1.PodAddr6()}[family], 0))
			out := openUDP(t, n2.Pod, netip.AddrPortFrom(a, 0))
			for range some {
				must(t, out.sendTo([]byte("a lie"), in.addr))
			}
			sent += some
			end := openUDP(t, n2.Pod, netip.AddrPortFrom([2]netip.Addr{n2.PodAddr(), n2.PodAddr6()}[family], 0))
			must(t, end.sendTo([]byte("the truth"), in.addr))
			expect(t, in, "the truth")
			if k, _, err := unix.Recvfrom(in.fd, make([]byte, 64), 0); err != unix.EAGAIN {
				t.Errorf("%d more bytes came (%v)", k, err)
			}
		}
	}
	if drops := stopped(t, n1); drops["inner_src_not_in_lease"] != sent {
		t.Errorf("drops %v, want %d inner_src_not_in_lease", drops, sent)
	}
}
