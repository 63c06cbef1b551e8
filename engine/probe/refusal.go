package probe

import (
	"fmt"
	"net/netip"
)

// A Refusal is an ICMP error about a packet of ours, from the inside of the
// tunnel.
type Refusal struct {
	From       netip.Addr // the inner address that sent it
	Type, Code uint8      // ICMP (RFC 792) or, if From is an IPv6 address, ICMPv6 (RFC 4443)
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("refused by %s: %s", r.From, r.text())
}

func (r *Refusal) text() string {
	names, v := refusals4, ""
	if r.From.Is6() {
		names, v = refusals6, "v6"
	}
	if name := names[[2]uint8{r.Type, r.Code}]; name != "" {
		return name
	}
	return fmt.Sprintf("ICMP%s type %d code %d", v, r.Type, r.Code)
}

var refusals4 = map[[2]uint8]string{
	{3, 0}: "network unreachable", {3, 1}: "host unreachable", {3, 3}: "port unreachable",
	{3, 4}: "packet too big", {3, 10}: "prohibited", {3, 13}: "prohibited", {11, 0}: "time exceeded",
}

var refusals6 = map[[2]uint8]string{
	{1, 0}: "no route", {1, 1}: "prohibited", {1, 3}: "address unreachable", {1, 4}: "port unreachable",
	{2, 0}: "packet too big", {3, 0}: "time exceeded",
}

// tooBig tells whether the packet was too big for a link.
func (r *Refusal) tooBig() bool {
	return r.From.Is4() && r.Type == 3 && r.Code == 4 || r.From.Is6() && r.Type == 2
}

// noPort tells whether nobody listens at the port.
func (r *Refusal) noPort() bool {
	return r.From.Is4() && r.Type == 3 && r.Code == 3 || r.From.Is6() && r.Type == 1 && r.Code == 4
}

// refusal reads p as an ICMP error and returns the packet that it quotes:
// destination unreachable, too big, time exceeded, parameter problem.
//
//	| type | code | checksum | unused or MTU | the packet, as much as fits |
func (p *ipPacket) refusal() (r Refusal, quoted ipPacket, ok bool) {
	m := p.body
	if len(m) < 8 {
		return r, quoted, false
	}
	switch {
	case p.src.Is4() && p.proto == protoICMP && (m[0] == 3 || m[0] == 11 || m[0] == 12):
	case p.src.Is6() && p.proto == protoICMPv6 && m[0] >= 1 && m[0] <= 4:
	default:
		return r, quoted, false
	}
	if quoted, ok = parseIP(m[8:], true); !ok || p.sum() != 0 {
		return r, quoted, false
	}
	return Refusal{From: p.src, Type: m[0], Code: m[1]}, quoted, true
}
