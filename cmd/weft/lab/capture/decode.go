package capture

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Explain describes a frame in two lines: the datagram that carries, and what is
// carried: with the backend "vxlan" a packet in a VXLAN frame, with "wireguard"
// a sealed one, else a bare one. Of a superpacket the first one is shown.
func Explain(f Frame, backend string) (outer, inner string) {
	p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.NoCopy)
	udp, ok := p.TransportLayer().(*layers.UDP)
	if !ok || p.NetworkLayer() == nil {
		return fmt.Sprintf("%d bytes, not a whole UDP datagram", len(f.Data)), ""
	}
	src, dst := p.NetworkLayer().NetworkFlow().Endpoints()
	payload := udp.LayerPayload()
	outer = fmt.Sprintf("%s > %s udp %d", hostPort(src, int(udp.SrcPort)), hostPort(dst, int(udp.DstPort)), len(payload))
	if f.Segment > 0 && f.Segment < len(payload) {
		n := (len(payload) + f.Segment - 1) / f.Segment
		outer += fmt.Sprintf(" (superpacket: %d datagrams of %d)", n, f.Segment)
		payload = payload[:f.Segment]
	}
	switch backend {
	case "vxlan":
		var vni string
		vni, payload = unframe(payload)
		return outer + vni, Inner(payload)
	case "wireguard":
		return outer, sealed(payload)
	}
	return outer, Inner(payload)
}

// Bare describes a packet that was seen on a TUN device.
func Bare(f Frame) string {
	if f.Segment > 0 {
		return fmt.Sprintf("%s (superpacket: to be cut to %d bytes of payload)", Inner(f.Data), f.Segment)
	}
	return Inner(f.Data)
}

// unframe takes a VXLAN header and the inner Ethernet header (RFC 7348) away.
// What is too short for them is left alone.
func unframe(b []byte) (vni string, inner []byte) {
	const headers = 8 + 14
	if len(b) < headers {
		return "", b
	}
	return fmt.Sprintf(" vxlan vni %d", binary.BigEndian.Uint32(b[4:])>>8), b[headers:]
}

// Inner describes one inner IP packet: addresses, protocol, the fields of it
// that tell packets apart, TTL, and length in bytes.
func Inner(b []byte) string {
	if len(b) == 0 {
		return "empty"
	}
	var first gopacket.LayerType
	switch b[0] >> 4 {
	case 4:
		first = layers.LayerTypeIPv4
	case 6:
		first = layers.LayerTypeIPv6
	default:
		return fmt.Sprintf("%d bytes, not an IP packet (first byte %#02x)", len(b), b[0])
	}
	p := gopacket.NewPacket(b, first, gopacket.NoCopy)
	net := p.NetworkLayer()
	if net == nil || len(net.LayerContents()) == 0 {
		return fmt.Sprintf("%d bytes of a damaged IP header", len(b))
	}
	src, dst := net.NetworkFlow().Endpoints()
	s, d := src.String(), dst.String()
	if sp, dp, ok := ports(p); ok {
		s, d = hostPort(src, sp), hostPort(dst, dp)
	}
	return fmt.Sprintf("%s > %s %s %s len %d", s, d, transport(p), hops(net), len(b))
}

func ports(p gopacket.Packet) (src, dst int, ok bool) {
	switch t := p.TransportLayer().(type) {
	case *layers.TCP:
		return int(t.SrcPort), int(t.DstPort), true
	case *layers.UDP:
		return int(t.SrcPort), int(t.DstPort), true
	}
	return 0, 0, false
}

func hostPort(e gopacket.Endpoint, port int) string {
	if e.EndpointType() == layers.EndpointIPv6 {
		return fmt.Sprintf("[%s]:%d", e, port)
	}
	return fmt.Sprintf("%s:%d", e, port)
}

func hops(n gopacket.NetworkLayer) string {
	switch ip := n.(type) {
	case *layers.IPv4:
		return fmt.Sprintf("ttl %d", ip.TTL)
	case *layers.IPv6:
		return fmt.Sprintf("hops %d", ip.HopLimit)
	}
	return ""
}

// transport describes what the inner packet carries.
func transport(p gopacket.Packet) string {
	for _, l := range p.Layers() {
		switch t := l.(type) {
		case *layers.ICMPv4:
			return "icmp " + spaced(t.TypeCode.String()) + fmt.Sprintf(" seq %d", t.Seq)
		case *layers.ICMPv6Echo:
			return icmp6(p) + fmt.Sprintf(" seq %d", t.SeqNumber)
		case *layers.TCP:
			return fmt.Sprintf("tcp %s seq %d ack %d", flags(t), t.Seq, t.Ack)
		case *layers.UDP:
			return "udp"
		}
	}
	if s := icmp6(p); s != "" {
		return s
	}
	switch ip := p.NetworkLayer().(type) {
	case *layers.IPv4:
		return spaced(ip.Protocol.String())
	case *layers.IPv6:
		return spaced(ip.NextHeader.String())
	}
	return ""
}

func icmp6(p gopacket.Packet) string {
	if t, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok {
		return "icmp6 " + spaced(t.TypeCode.String())
	}
	return ""
}

// spaced turns gopacket's "EchoRequest" into "echo request".
func spaced(s string) string {
	var b strings.Builder
	lower := false
	for _, r := range s {
		upper := 'A' <= r && r <= 'Z'
		if upper && lower {
			b.WriteByte(' ')
		}
		lower = !upper && r != '(' && r != '/'
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

func flags(t *layers.TCP) string {
	var set []string
	for _, f := range []struct {
		on   bool
		name string
	}{{t.SYN, "SYN"}, {t.FIN, "FIN"}, {t.RST, "RST"}, {t.PSH, "PSH"}, {t.ACK, "ACK"}, {t.ECE, "ECE"}, {t.CWR, "CWR"}} {
		if f.on {
			set = append(set, f.name)
		}
	}
	return strings.Join(set, ",")
}
