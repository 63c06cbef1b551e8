package capture

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab/space"
)

func ip4(src, dst string, proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 63, Protocol: proto, SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst)}
}

func ip6(src, dst string, proto layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 63, NextHeader: proto, SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst)}
}

func build(t *testing.T, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func ether(typ layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: typ}
}

func tunnel(t *testing.T, inner []byte) []byte {
	return build(t, ether(layers.EthernetTypeIPv4), ip4("10.99.0.1", "10.99.0.2", layers.IPProtocolUDP),
		&layers.UDP{SrcPort: 8285, DstPort: 8285}, gopacket.Payload(inner))
}

func TestExplain(t *testing.T) {
	ping := build(t, ip4("10.244.1.2", "10.244.2.2", layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 7, Seq: 3}, gopacket.Payload(make([]byte, 56)))
	outer, inner := Explain(Frame{Data: tunnel(t, ping)}, "udp")
	if want := "10.99.0.1:8285 > 10.99.0.2:8285 udp 84"; outer != want {
		t.Errorf("outer %q, want %q", outer, want)
	}
	if want := "10.244.1.2 > 10.244.2.2 icmp echo request seq 3 ttl 63 len 84"; inner != want {
		t.Errorf("inner %q, want %q", inner, want)
	}
}

func TestExplainVXLAN(t *testing.T) {
	one := build(t, &layers.VXLAN{ValidIDFlag: true, VNI: 7}, ether(layers.EthernetTypeIPv4),
		ip4("10.244.1.2", "10.244.2.2", layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 7, Seq: 3}, gopacket.Payload(make([]byte, 56)))
	outer, inner := Explain(Frame{Data: tunnel(t, append(append([]byte{}, one...), one...)), Segment: len(one)}, "vxlan")
	if want := "10.99.0.1:8285 > 10.99.0.2:8285 udp 212 (superpacket: 2 datagrams of 106) vxlan vni 7"; outer != want {
		t.Errorf("outer %q, want %q", outer, want)
	}
	if want := "10.244.1.2 > 10.244.2.2 icmp echo request seq 3 ttl 63 len 84"; inner != want {
		t.Errorf("inner %q, want %q", inner, want)
	}
	if _, inner := Explain(Frame{Data: tunnel(t, one[:21])}, "vxlan"); !strings.Contains(inner, "not an IP packet") {
		t.Errorf("a frame cut short: inner %q", inner)
	}
}

func TestExplainSuperpacket(t *testing.T) {
	tcp := &layers.TCP{SrcPort: 4000, DstPort: 5001, Seq: 11, Ack: 22, ACK: true, PSH: true}
	one := build(t, ip4("10.244.1.2", "10.244.2.2", layers.IPProtocolTCP), tcp, gopacket.Payload(make([]byte, 100)))
	run := append(append(append([]byte{}, one...), one...), one[:60]...)
	outer, inner := Explain(Frame{Data: tunnel(t, run), Segment: len(one)}, "udp")
	if want := "10.99.0.1:8285 > 10.99.0.2:8285 udp 340 (superpacket: 3 datagrams of 140)"; outer != want {
		t.Errorf("outer %q, want %q", outer, want)
	}
	if want := "10.244.1.2:4000 > 10.244.2.2:5001 tcp PSH,ACK seq 11 ack 22 ttl 63 len 140"; inner != want {
		t.Errorf("inner %q, want %q", inner, want)
	}
}

func TestExplainWireGuard(t *testing.T) {
	message := func(kind byte, size int) []byte {
		b := append([]byte{kind, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, 0xef, 0xcd, 0xab, 0x90}, make([]byte, size)...)
		return b[:size]
	}
	packet := message(4, 128)
	copy(packet[8:], []byte{5, 0, 0, 0, 0, 0, 0, 0})
	for _, c := range []struct {
		message []byte
		want    string
	}{
		{message(1, 148), "wireguard handshake initiation by session 12345678"},
		{message(2, 92), "wireguard handshake response by session 12345678 to 90abcdef"},
		{message(3, 64), "wireguard cookie reply to session 12345678"},
		{packet, "wireguard to session 12345678, counter 5, a packet of up to 96 bytes, sealed"},
		{packet[:32], "wireguard keepalive to session 12345678, counter 5"},
		{packet[:31], "31 bytes, not a WireGuard message"},
		{message(1, 147), "147 bytes, not a WireGuard message"},
		{message(9, 64), "64 bytes, not a WireGuard message"},
		{nil, "0 bytes, not a WireGuard message"},
	} {
		outer, inner := Explain(Frame{Data: tunnel(t, c.message)}, "wireguard")
		if inner != c.want || !strings.HasPrefix(outer, "10.99.0.1:8285 > 10.99.0.2:8285 udp ") {
			t.Errorf("%q, %q; want %q", outer, inner, c.want)
		}
	}
}

func TestBare(t *testing.T) {
	tcp := &layers.TCP{SrcPort: 4000, DstPort: 5001, Seq: 11, Ack: 22, ACK: true}
	p := build(t, ip4("10.244.1.2", "10.244.2.2", layers.IPProtocolTCP), tcp, gopacket.Payload(make([]byte, 3000)))
	want := "10.244.1.2:4000 > 10.244.2.2:5001 tcp ACK seq 11 ack 22 ttl 63 len 3040"
	if got := Bare(Frame{Data: p}); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := Bare(Frame{Data: p, Segment: 1380}); got != want+" (superpacket: to be cut to 1380 bytes of payload)" {
		t.Errorf("%q, want %q and a superpacket", got, want)
	}
}

func TestFilterTUN(t *testing.T) {
	vm, err := bpf.NewVM(anyIPv4())
	if err != nil {
		t.Fatal(err)
	}
	for first, pass := range map[byte]bool{0x45: true, 0x4f: true, 0x60: false, 0x00: false} {
		if n, err := vm.Run([]byte{first, 1, 2, 3}); err != nil || (n > 0) != pass {
			t.Errorf("first byte %#02x: passed %d bytes (%v), want pass %v", first, n, err, pass)
		}
	}
}

func TestInner(t *testing.T) {
	icmp6 := build(t, ip6("fd00::1", "fd00::2", layers.IPProtocolICMPv6),
		&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}, &layers.ICMPv6Echo{SeqNumber: 9})
	udp := build(t, ip6("fd00::1", "fd00::2", layers.IPProtocolUDP), &layers.UDP{SrcPort: 1, DstPort: 2})
	for _, c := range []struct {
		packet []byte
		want   string
	}{
		{icmp6, "fd00::1 > fd00::2 icmp6 echo request seq 9 hops 63 len 48"},
		{udp, "[fd00::1]:1 > [fd00::2]:2 udp hops 63 len 48"},
		{nil, "empty"},
		{[]byte{0x45}, "1 bytes of a damaged IP header"},
		{[]byte{0x99, 1}, "2 bytes, not an IP packet (first byte 0x99)"},
	} {
		if got := Inner(c.packet); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestFilter(t *testing.T) {
	vm, err := bpf.NewVM(filter(8285))
	if err != nil {
		t.Fatal(err)
	}
	to := func(src, dst layers.UDPPort) *layers.UDP { return &layers.UDP{SrcPort: src, DstPort: dst} }
	fragment := ip4("1.1.1.1", "2.2.2.2", layers.IPProtocolUDP)
	fragment.FragOffset = 100
	v4, v6 := ether(layers.EthernetTypeIPv4), ether(layers.EthernetTypeIPv6)
	u4, u6 := ip4("1.1.1.1", "2.2.2.2", layers.IPProtocolUDP), ip6("::1", "::2", layers.IPProtocolUDP)
	for name, c := range map[string]struct {
		frame []byte
		pass  bool
	}{
		"v4 to":       {build(t, v4, u4, to(1, 8285)), true},
		"v4 from":     {build(t, v4, u4, to(8285, 1)), true},
		"v4 other":    {build(t, v4, u4, to(1, 2)), false},
		"v6 to":       {build(t, v6, u6, to(1, 8285)), true},
		"v6 from":     {build(t, v6, u6, to(8285, 1)), true},
		"v6 other":    {build(t, v6, u6, to(1, 2)), false},
		"v4 fragment": {build(t, v4, fragment, to(8285, 8285)), false},
		"v4 tcp":      {build(t, v4, ip4("1.1.1.1", "2.2.2.2", layers.IPProtocolTCP), &layers.TCP{SrcPort: 8285}), false},
		"v6 tcp":      {build(t, v6, ip6("::1", "::2", layers.IPProtocolTCP), &layers.TCP{SrcPort: 8285}), false},
		"arp":         {build(t, ether(layers.EthernetTypeARP), gopacket.Payload(make([]byte, 50))), false},
	} {
		n, err := vm.Run(c.frame)
		if err != nil || (n > 0) != c.pass {
			t.Errorf("%s: passed %d bytes (%v), want pass %v", name, n, err, c.pass)
		}
	}
}

// A run sent with UDP_SEGMENT over a veth is one frame; the socket must say
// of how many datagrams.
func TestSocketSeesSuperpacket(t *testing.T) {
	a, b := pair(t)
	var s *Socket
	if err := a.Do(func() (err error) { s, err = Open("eth0", 8285); return }); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var rx, tx *net.UDPConn
	if err := errors.Join(
		b.Do(func() (err error) { rx, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 8285}); return }),
		a.Do(func() (err error) {
			tx, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(10, 99, 0, 2), Port: 8285})
			return
		}),
	); err != nil {
		t.Fatal(err)
	}
	defer rx.Close()
	defer tx.Close()
	raw, err := tx.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, 1000) })
	if err != nil {
		t.Skip("no UDP_SEGMENT:", err)
	}
	if _, err := tx.Write(make([]byte, 2500)); err != nil {
		t.Fatal(err)
	}
	f, err := s.Next()
	if err != nil {
		t.Fatal(err)
	}
	outer, _ := Explain(f, "udp")
	if !strings.HasPrefix(outer, "10.99.0.1:") || !strings.HasSuffix(outer, "> 10.99.0.2:8285 udp 2500 (superpacket: 3 datagrams of 1000)") {
		t.Errorf("saw %q", outer)
	}
	s.Close()
	if _, err := s.Next(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Next after Close: %v", err)
	}
}

func pair(t *testing.T) (a, b *space.Space) {
	t.Helper()
	a, err := space.New("a")
	if errors.Is(err, unix.EPERM) {
		t.Skip("needs root:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	if b, err = space.New("b"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := errors.Join(
		b.Bridge("br0", net.HardwareAddr{2, 0, 0, 0, 0, 1}),
		b.Pair("p", "br0", a, "eth0"),
		b.Addresses("br0", netip.MustParsePrefix("10.99.0.2/24")),
		a.Addresses("eth0", netip.MustParsePrefix("10.99.0.1/24")),
	); err != nil {
		t.Fatal(err)
	}
	return a, b
}
