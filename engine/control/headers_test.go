package control

import (
	"bytes"
	"net/http"
	"testing"

	"weft/engine/trace"
)

// ip4 is an IPv4 packet with a header of size bytes: fragment is its offset field.
func ip4(size int, proto byte, fragment byte, rest ...[]byte) []byte {
	b := make([]byte, size)
	b[0], b[7], b[9] = 4<<4|byte(size/4), fragment, proto
	return append(b, bytes.Join(rest, nil)...)
}

func ip6(next byte, rest ...[]byte) []byte {
	b := make([]byte, 40)
	b[0], b[6] = 6<<4, next
	return append(b, bytes.Join(rest, nil)...)
}

// What is kept of a record ends where the payload begins.
func TestHeaders(t *testing.T) {
	payload := bytes.Repeat([]byte("secret"), 20)
	tcp := make([]byte, 32)
	tcp[12] = 8 << 4
	eight := make([]byte, 8)
	front := make([]byte, vxlanHeader)
	for _, tt := range []struct {
		name   string
		kind   trace.Kind
		way    trace.Way
		prefix int
		snap   []byte
		want   int
	}{
		{"tcp", trace.UDP, trace.Parsed, 0, ip4(20, protoTCP, 0, tcp, payload), 52},
		{"udp in vxlan, with options", trace.VXLAN, trace.Parsed, 22, append(front, ip4(28, protoUDP, 0, eight, payload)...), 22 + 28 + 8},
		{"icmp", trace.NoKind, trace.Parsed, 0, ip4(20, protoICMP, 0, eight, payload), 28},
		{"a later fragment", trace.UDP, trace.Parsed, 0, ip4(20, protoUDP, 1, payload), 20},
		{"a protocol of its own", trace.UDP, trace.Parsed, 0, ip4(20, 253, 0, payload), 20},
		{"cut in the middle", trace.UDP, trace.Parsed, 0, ip4(20, protoTCP, 0, tcp[:10]), 30},
		{"udp in IPv6", trace.UDP, trace.Parsed, 0, ip6(protoUDP, eight, payload), 48},
		{"IPv6 with an extension", trace.UDP, trace.Parsed, 0, ip6(protoHopByHop, []byte{protoTCP, 0, 0, 0, 0, 0, 0, 0}, tcp, payload), 40 + 8 + 32},
		{"an extension that is too long", trace.UDP, trace.Parsed, 0, ip6(protoHopByHop, []byte{protoTCP, 255, 0, 0, 0, 0, 0, 0}), 48},
		{"IPv6, first fragment", trace.UDP, trace.Parsed, 0, ip6(protoFragment, []byte{protoUDP, 0, 0, 1, 0, 0, 0, 0}, eight, payload), 56},
		{"IPv6, later fragment", trace.UDP, trace.Parsed, 0, ip6(protoFragment, []byte{protoUDP, 0, 1, 0, 0, 0, 0, 0}, payload), 48},
		{"no IP", trace.UDP, trace.Parsed, 0, payload, 0},
		{"a header of nothing", trace.UDP, trace.Parsed, 0, append([]byte{0x41}, payload...), 0},
		{"not read, udp", trace.UDP, trace.Received, len(payload), payload, 0},
		{"not read, vxlan", trace.VXLAN, trace.Received, len(payload), payload, 22},
		{"not read, wireguard", trace.WireGuard, trace.Received, len(payload), payload, 16},
		{"not read, nor where it begins", trace.VXLAN, trace.Received, 0, payload, 0},
		{"a prefix longer than the snap", trace.VXLAN, trace.Parsed, 22, payload[:9], 9},
		{"a prefix longer than any", trace.VXLAN, trace.Parsed, 60, payload, 22},
		{"nothing", trace.VXLAN, 0, 0, nil, 0},
	} {
		r := trace.Record{Kind: tt.kind, Way: tt.way, Prefix: uint16(tt.prefix), Snap: tt.snap}
		if got := headers(&r); len(got) != tt.want || !bytes.HasPrefix(tt.snap, got) {
			t.Errorf("%s: %d bytes, want %d", tt.name, len(got), tt.want)
		}
	}
}

// No bytes make headers read past the end, or keep more than there is.
func FuzzHeaders(f *testing.F) {
	f.Add(ip4(20, protoTCP, 0, make([]byte, 40)), uint16(0), uint8(trace.UDP))
	f.Add(ip6(protoRouting, make([]byte, 40)), uint16(22), uint8(trace.VXLAN))
	f.Fuzz(func(t *testing.T, snap []byte, prefix uint16, kind uint8) {
		r := trace.Record{Kind: trace.Kind(kind), Way: trace.Parsed, Prefix: prefix, Snap: snap}
		if got := headers(&r); !bytes.HasPrefix(snap, got) {
			t.Errorf("%x of %x", got, snap)
		}
	})
}

// Only who has the right to change is shown what pods say.
func TestDropsOfReaders(t *testing.T) {
	b := newBench(t, Options{})
	snap := append(ip4(20, protoUDP, 0, make([]byte, 8)), "secret"...)
	b.node.hub.Flight.Keep(&trace.Record{Way: trace.Parsed, Drop: 1, Snap: snap})
	for url, want := range map[string]int{"http://weft/v1/drops": len(snap), "http://" + b.tcp() + "/v1/drops": 28} {
		client := b.http
		if want == 28 {
			client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		}
		res, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		in := trace.NewReader(res.Body)
		if e := b.next(in); e.Meta == nil {
			t.Errorf("%+v", e)
		}
		if e := b.next(in); e.Record == nil || len(e.Record.Snap) != want {
			t.Errorf("%s: %+v, want a snap of %d bytes", url, e, want)
		}
		res.Body.Close()
	}
}
