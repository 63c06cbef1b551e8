package wg

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.zx2c4.com/wireguard/device"
)

// The device is told what is different, and nothing else.
func TestDifference(t *testing.T) {
	base := Peer{Key: PublicKey{1}, Endpoint: netip.MustParseAddrPort("192.0.2.1:51820"), Allowed: subnets(1), Keepalive: 25}
	psk := "preshared_key=" + strings.Repeat("00", 32) + "\n"
	allowed := "replace_allowed_ips=true\nallowed_ip=10.5.1.0/24\nallowed_ip=fd00:5:100::/64\n"
	allowed = strings.ReplaceAll(allowed, "fd00:5:100::/64", subnets(1)[1].String())
	gone := func(n int) (text string) {
		for _, a := range subnets(n) {
			text += "allowed_ip=-" + a.String() + "\n"
		}
		return text
	}
	for _, tc := range []struct {
		name   string
		change func(*Peer)
		fresh  bool
		want   string
	}{
		{"nothing", func(*Peer) {}, false, ""},
		{"all", func(*Peer) {}, true, psk + "endpoint=192.0.2.1:51820\n" + allowed + "persistent_keepalive_interval=25\n"},
		{"the preshared key", func(p *Peer) { p.PSK = PresharedKey{0xab} }, false, "preshared_key=ab" + strings.Repeat("00", 31) + "\n"},
		{"the endpoint", func(p *Peer) { p.Endpoint = netip.MustParseAddrPort("[2001:db8::1]:1") }, false, "endpoint=[2001:db8::1]:1\n"},
		{"the subnets", func(p *Peer) { p.Allowed = subnets(2)[:1] }, false, "allowed_ip=10.5.2.0/24\n" + gone(1)},
		{"no subnets", func(p *Peer) { p.Allowed = nil }, false, gone(1)},
		{"the keepalive", func(p *Peer) { p.Keepalive = 0 }, false, "persistent_keepalive_interval=0\n"},
	} {
		p := base
		p.Allowed = slices.Clone(base.Allowed)
		tc.change(&p)
		if got := difference(&base, &p, !tc.fresh); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// status returns what the device has of a peer, by key.
func (d *node) status(key PublicKey) (PeerStatus, bool) {
	d.t.Helper()
	all, err := d.Peers()
	must(d.t, err)
	i := slices.IndexFunc(all, func(p PeerStatus) bool { return p.Key == key })
	if i < 0 {
		return PeerStatus{}, false
	}
	return all[i], true
}

// The session and the endpoint of a peer that stays are left alone.
func TestSetPeersAgain(t *testing.T) {
	a, b := pair(t, 0, nil)
	a.meet(b)
	before, _ := b.status(a.key())
	roamed := a.as(1) // a lease says IPv6; it came by IPv4
	must(t, b.SetPeers([]Peer{roamed}))
	if s, _ := b.status(a.key()); s.Endpoint != a.at(1) {
		t.Errorf("a new endpoint is not taken: %v", s.Endpoint)
	}
	a.meet(b)
	b.feed(a, packet(inner4(2), inner4(1), nil))
	a.get()
	stranger := newNode(t, 3, nil)
	for range 3 {
		must(t, b.SetPeers([]Peer{roamed, stranger.as(0)}))
		must(t, b.SetPeers([]Peer{roamed}))
	}
	s, ok := b.status(a.key())
	if !ok || s.Endpoint != a.at(0) || !s.Handshake.Equal(before.Handshake) || s.Handshake.IsZero() || s.Received <= before.Received {
		t.Errorf("before %+v, after %+v", before, s)
	}
	if end, ok := b.Endpoint(a.key()); !ok || end != a.at(0) {
		t.Errorf("endpoint %v, %v", end, ok)
	}
	if _, ok := b.Endpoint(stranger.key()); ok {
		t.Error("a peer that is gone has an endpoint")
	}
}

// A node that comes back with another key is replaced at once.
func TestSetPeersNewKey(t *testing.T) {
	a, b := pair(t, 0, nil)
	a.meet(b)
	again := newNode(t, 1, nil)
	must(t, again.SetPeers([]Peer{b.as(0)}))
	must(t, b.SetPeers([]Peer{again.as(0)}))
	if _, ok := b.status(a.key()); ok || b.Lane(a.key()) != nil {
		t.Error("the old key is still a peer")
	}
	again.meet(b)
	b.feed(again, packet(inner4(2), inner4(1), []byte("to the new one")))
	again.get()
}

// Subnets can go from one peer to another, whichever is set first.
func TestSetPeersMove(t *testing.T) {
	d := newNode(t, 1, nil)
	one := Peer{Key: NewPrivateKey().Public(), Endpoint: netip.MustParseAddrPort("127.0.0.1:9"), Allowed: subnets(2)}
	two := Peer{Key: NewPrivateKey().Public(), Endpoint: netip.MustParseAddrPort("127.0.0.1:9"), Allowed: subnets(3)}
	for round, order := range [][2]int{{0, 1}, {1, 0}, {0, 1}, {0, 1}, {1, 0}, {1, 0}} {
		one.Allowed, two.Allowed = two.Allowed, one.Allowed
		list := [2]Peer{one, two}
		must(t, d.SetPeers([]Peer{list[order[0]], list[order[1]]}))
		for _, p := range list {
			var got []netip.Prefix
			text, err := d.dev.IpcGet()
			must(t, err)
			_, part, _ := strings.Cut(text, "public_key="+hexOf(p.Key))
			part, _, _ = strings.Cut(part, "public_key=")
			for _, line := range strings.Split(part, "\n") {
				if s, ok := strings.CutPrefix(line, "allowed_ip="); ok {
					got = append(got, netip.MustParsePrefix(s))
				}
			}
			slices.SortFunc(got, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
			if !slices.Equal(got, p.Allowed) {
				t.Errorf("round %d: %v has %v, want %v", round, p.Key, got, p.Allowed)
			}
		}
	}
}

func hexOf(k PublicKey) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, x := range k {
		b.WriteByte(digits[x>>4])
		b.WriteByte(digits[x&15])
	}
	return b.String()
}

// What the device refused is told again, and harms no other peer; somebody
// else's peers are left alone.
func TestSetPeersRefused(t *testing.T) {
	a, b := pair(t, 0, nil)
	bad := Peer{Key: NewPrivateKey().Public(), Allowed: []netip.Prefix{{}}, Endpoint: netip.MustParseAddrPort("127.0.0.1:9")}
	theirs := NewPrivateKey().Public()
	must(t, a.dev.IpcSet("public_key="+hexOf(theirs)+"\n"))
	for range 2 {
		err := a.SetPeers([]Peer{bad, b.as(0)})
		if err == nil || !strings.Contains(err.Error(), bad.Key.String()) {
			t.Fatalf("error %v does not name the peer", err)
		}
	}
	a.meet(b)
	bad.Allowed = subnets(3)
	must(t, a.SetPeers([]Peer{bad, b.as(0)}))
	if n := lanesOf(a); n != 2 {
		t.Errorf("%d lanes, want 2", n)
	}
	if p := a.dev.LookupPeer(device.NoisePublicKey(bad.Key)); p == nil {
		t.Error("the peer that was refused is not there")
	}
	must(t, a.SetPeers(nil))
	if all, err := a.Peers(); err != nil || len(all) != 1 || all[0].Key != theirs || lanesOf(a) != 0 {
		t.Errorf("left: %+v, %v; %d lanes", all, err, lanesOf(a))
	}
}

func lanesOf(d *node) (n int) {
	d.lanes.all(func(*Lane) { n++ })
	return n
}

// The device's own text is read back, and anything else without harm.
func TestParsePeers(t *testing.T) {
	k := PublicKey{0xab, 31: 1}
	text := "private_key=" + hexOf(PublicKey{7}) + "\nlisten_port=51820\npublic_key=" + hexOf(k) +
		"\npreshared_key=" + hexOf(PublicKey{}) + "\nprotocol_version=1\nendpoint=[2001:db8::1]:51820\n" +
		"last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\ntx_bytes=4611686018427387904\nrx_bytes=7\n" +
		"persistent_keepalive_interval=0\nallowed_ip=10.5.1.0/24\npublic_key=" + hexOf(PublicKey{2}) +
		"\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\n"
	got := parsePeers(text)
	if len(got) != 2 || got[0].Key != k || got[0].Endpoint != netip.MustParseAddrPort("[2001:db8::1]:51820") ||
		got[0].Handshake.UnixNano() != 1700000000*1e9+5 || got[0].Sent != 1<<62 || got[0].Received != 7 {
		t.Errorf("got %+v", got)
	}
	if len(got) == 2 && (got[1] != PeerStatus{Key: PublicKey{2}}) {
		t.Errorf("got %+v", got[1])
	}
}

func FuzzParsePeers(f *testing.F) {
	f.Add("public_key=00\nendpoint=1.2.3.4:5\nlast_handshake_time_sec=1\nlast_handshake_time_nsec=1\nrx_bytes=-1\ntx_bytes=x")
	f.Add("endpoint=\n=\n\npublic_key=" + strings.Repeat("ff", 40))
	f.Fuzz(func(t *testing.T, text string) {
		if n := len(parsePeers(text)); n > strings.Count(text, "public_key") {
			t.Errorf("%d peers", n)
		}
	})
}

// What wg(8) did to a peer of ours, and to our key, is put right with the next
// list of peers, even an equal one; a peer that it added stays.
func TestSetPeersPutsRight(t *testing.T) {
	a, b := pair(t, 0, nil)
	a.meet(b)
	stranger, other := NewPrivateKey().Public(), NewPrivateKey()
	must(t, a.dev.IpcSet("private_key="+hex.EncodeToString(other[:])+"\n"+
		"public_key="+hex.EncodeToString(stranger[:])+"\nallowed_ip=10.99.0.0/24\n"))
	bKey := b.key()
	must(t, a.dev.IpcSet("public_key="+hex.EncodeToString(bKey[:])+"\nremove=true\n"))
	if _, there := a.status(b.key()); there {
		t.Fatal("the peer was not removed")
	}
	must(t, a.SetPeers([]Peer{b.as(0)}))
	if _, there := a.status(b.key()); !there {
		t.Error("a peer that was removed by hand is not put back")
	}
	if _, there := a.status(stranger); !there {
		t.Error("a peer that was added by hand is gone")
	}
	text, err := a.dev.IpcGet()
	must(t, err)
	if !strings.HasPrefix(text, "private_key="+hex.EncodeToString(a.opt.Key[:])+"\n") {
		t.Error("the key that was set by hand stays")
	}
}
