package trace

import (
	"fmt"
	"strconv"
	"strings"

	engine "weft/engine/trace"
)

// protocols are names of IP protocols that may be seen between pods.
var protocols = map[uint8]string{icmp4: "icmp", 2: "igmp", 4: "ipip", tcp: "tcp", udp: "udp", 33: "dccp", 41: "ipv6", 47: "gre",
	50: "esp", 51: "ah", icmp6: "icmp6", 59: "nothing", 89: "ospf", 103: "pim", 112: "vrrp", 115: "l2tp", 132: "sctp", 136: "udplite"}

// protocol names a protocol, by its number if it has no name here.
func protocol(n uint8) string {
	if s := protocols[n]; s != "" {
		return s
	}
	return "proto " + strconv.Itoa(int(n))
}

// messages are names of ICMP messages; those of ICMPv6 have 256 added.
var messages = map[int]string{0: "echo reply", 3: "unreachable", 4: "source quench", 5: "redirect", 8: "echo request",
	9: "router advertisement", 10: "router solicitation", 11: "time exceeded", 12: "parameter problem", 13: "timestamp request",
	14: "timestamp reply", 256 + 1: "unreachable", 256 + 2: "too big", 256 + 3: "time exceeded", 256 + 4: "parameter problem",
	256 + 128: "echo request", 256 + 129: "echo reply", 256 + 130: "listener query", 256 + 131: "listener report",
	256 + 132: "listener done", 256 + 133: "router solicitation", 256 + 134: "router advertisement",
	256 + 135: "neighbour solicitation", 256 + 136: "neighbour advertisement", 256 + 137: "redirect", 256 + 143: "listener report"}

// tcpFlags are the letters that tcpdump uses, from the lowest bit on.
const tcpFlags = "FSRP.UEW"

// flags returns the letters of a TCP header's flags.
func flags(b byte) string {
	var s []byte
	for i := range tcpFlags {
		if b&(1<<i) != 0 {
			s = append(s, tcpFlags[i])
		}
	}
	if len(s) == 0 {
		return "none"
	}
	return string(s)
}

// flow is whence and where to, as tcpdump writes it.
func (p *packet) flow() string {
	src, dst := p.src.String(), p.dst.String()
	if s, d, ok := p.ports(); ok {
		src += "." + strconv.Itoa(int(s))
		dst += "." + strconv.Itoa(int(d))
	}
	return src + " > " + dst
}

// kind is what the packet is: protocol, and the word that tells most about it.
func (p *packet) kind() string {
	s := protocol(p.proto)
	if p.proto == tcp && len(p.transport) > 13 {
		s += " " + flags(p.transport[13])
	}
	if kind, code, ok := p.message(); ok {
		s += " " + p.messageWords(kind, code)
	}
	if p.frag {
		s += fmt.Sprintf(" fragment at %d", p.offset)
		if p.more {
			s += "+"
		}
	}
	return s
}

func (p *packet) messageWords(kind, code uint8) string {
	key := int(kind)
	if p.proto == icmp6 {
		key += 256
	}
	s := messages[key]
	if s == "" {
		s = "type " + strconv.Itoa(int(kind))
	}
	if _, id, seq, ok := p.echo(); ok {
		return fmt.Sprintf("%s id %d seq %d", s, id, seq)
	}
	switch {
	case p.proto == icmp4 && kind == 3 && code == 4 && len(p.transport) >= 8:
		return fmt.Sprintf("frag-needed mtu %d", be.Uint16(p.transport[6:]))
	case p.proto == icmp6 && kind == 2 && len(p.transport) >= 8:
		return fmt.Sprintf("too big mtu %d", be.Uint32(p.transport[4:]))
	case code != 0:
		s += " code " + strconv.Itoa(int(code))
	}
	return s
}

// length tells how long the inner packet is, and what a superpacket is made of:
// its headers, packets of one size, and a shorter last one.
func length(r *engine.Record, p *packet) string {
	if r.Packets <= 1 {
		return "len " + strconv.Itoa(int(r.Len))
	}
	payload := int(r.Len) - p.headers
	if p.headers == 0 || payload <= 0 || r.Size == 0 {
		return fmt.Sprintf("len %d = %d packets", r.Len, r.Packets)
	}
	full, last := payload/int(r.Size), payload%int(r.Size)
	s := fmt.Sprintf("len %d = %d + %d × %d", r.Len, p.headers, full, r.Size)
	if last > 0 {
		s += fmt.Sprintf(" + %d", last)
	}
	return s
}

// inner tells what the inner packet is; empty if none could be read.
func inner(r *engine.Record) string {
	p, ok := decode(r.Inner())
	if !ok {
		return foreign(r)
	}
	words := []string{p.flow(), p.kind(), length(r, &p), "ttl " + strconv.Itoa(int(p.ttl))}
	if p.version == 4 && p.df && r.Limit != 0 {
		words = append(words, "DF")
	}
	return strings.Join(words, " ")
}

// etherTypes are names of what VXLAN frames may hold besides IP (IANA).
var etherTypes = map[uint16]string{0x0800: "ipv4", 0x0806: "arp", 0x86dd: "ipv6", 0x8100: "vlan", 0x88a8: "vlan", 0x88cc: "lldp", 0x888e: "eapol"}

// foreign tells what a datagram without an inner packet is.
func foreign(r *engine.Record) string {
	s := fmt.Sprintf("%d bytes", r.Len)
	if r.Kind != engine.VXLAN || len(r.Snap) < 8+14 {
		return s
	}
	frame := r.Snap[8:]
	kind := be.Uint16(frame[12:])
	name := etherTypes[kind]
	if name == "" {
		name = fmt.Sprintf("%#04x", kind)
	}
	return fmt.Sprintf("%s > %s %s %s", mac(frame[6:]), mac(frame), name, s)
}

func mac(b []byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5])
}

// ends are the outer addresses, whence and where to.
func ends(r *engine.Record) string {
	local := r.Local.String()
	if !r.Local.Addr().IsValid() {
		local = "*:" + strconv.Itoa(int(r.Local.Port()))
	}
	remote := "*"
	if r.Remote.Addr().IsValid() {
		remote = r.Remote.String()
	}
	if r.Dir == engine.In {
		return remote + " > " + local
	}
	return local + " > " + remote
}

// carrier is how the packet travels between the nodes.
func carrier(r *engine.Record) string {
	s := r.Kind.String()
	if r.Kind == engine.VXLAN {
		s += " vni " + strconv.Itoa(int(r.VNI))
	}
	return s
}

// outer tells of the datagram; empty if there is none.
func outer(r *engine.Record) string {
	if r.Kind == engine.NoKind || !r.Remote.Addr().IsValid() {
		return ""
	}
	if r.Dir == engine.Out && lostPacket(r) {
		return carrier(r) + " for " + r.Remote.String()
	}
	s := carrier(r) + " " + ends(r)
	if r.Kind != engine.WireGuard && len(r.Inner()) > 0 {
		s += " +" + strconv.Itoa(outerHeaders(r)+int(r.Prefix))
	}
	return s
}
