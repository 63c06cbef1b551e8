package filter

import (
	"strconv"
	"strings"
)

// Where the protocol is named in an IP header, IPv4's fragment offset, and the
// length of an IPv6 header (RFC 791, RFC 8200).
const (
	proto4   = 9
	frag4    = 6
	fragMask = 0x1fff
	proto6   = 6
	header6  = 40
)

// port is a port or a range of ports, by number or by name.
func (p *parser) port(q qualifiers) (*node, error) {
	t := p.next()
	if !protocols[q.proto].ports && q.proto != "" {
		return nil, t.errorf("%s has no ports; tcp, udp and sctp have", q.proto)
	}
	var low, high service
	var err error
	switch {
	case t.kind == tokNumber:
		if t.num > 65535 {
			return nil, t.errorf("ports go up to 65535")
		}
		low.port = t.num
		high = low
	case t.kind == tokName && q.kind == kindPortRange:
		low, high, err = t.portRange()
	case t.kind == tokName:
		low, err = t.portName(t.text)
		high = low
	default:
		return nil, t.errorf("want a port, as a number or by name")
	}
	if err != nil {
		return nil, err
	}
	if low.proto != high.proto {
		low.proto = 0
	}
	if own := protocols[q.proto].number; own != 0 {
		if low.proto != 0 && low.proto != own {
			return nil, t.errorf("this port's name is not one of %s", q.proto)
		}
		low.proto = own
	}
	return q.ports(low.proto, min(low.port, high.port), max(low.port, high.port)), nil
}

func (t *token) portName(name string) (service, error) {
	s, ok := lookupService(name)
	if !ok {
		return service{}, t.errorf("no port has the name %s; is it %s?", name, nearest(name, serviceNames()))
	}
	return s, nil
}

// portRange reads two ports with a hyphen between them.
func (t *token) portRange() (low, high service, err error) {
	a, b, ok := strings.Cut(t.text, "-")
	if !ok {
		return low, high, t.errorf("want two ports with a hyphen between them, such as 8000-8080")
	}
	if span(a, isDigit) == len(a) && span(b, isDigit) == len(b) {
		if low, err = t.decimalPort(a); err == nil {
			high, err = t.decimalPort(b)
		}
		return low, high, err
	}
	if low, err = t.portName(a); err == nil {
		high, err = t.portName(b)
	}
	return low, high, err
}

// decimalPort reads a port in a range, where 0 does not begin an octal number.
func (t *token) decimalPort(s string) (service, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return service{}, t.errorf("port %q is not a number up to 65535", s)
	}
	return service{port: uint32(n)}, nil
}

// ports is the test of whether a port is in a range; proto 0 stands for all
// protocols that have ports. As in libpcap, only the first fragment of an IPv4
// packet has ports, and of IPv6 only a packet without extension headers.
func (q *qualifiers) ports(proto, low, high uint32) *node {
	port := func(after bool, off uint32) *node {
		return leaf(test{op: opHalf, outer: q.outer, after: after, off: off,
			mask: 0xffff, low: low, span: high - low})
	}
	return or(
		and(q.version(6), q.withPorts(proto6, proto),
			q.sides(port(false, header6), port(false, header6+2))),
		and(q.version(4), q.withPorts(proto4, proto), q.firstFragment(),
			q.sides(port(true, 0), port(true, 2))),
	)
}

// withPorts is the test of whether the protocol named at off is proto, or any
// that has ports.
func (q *qualifiers) withPorts(off, proto uint32) *node {
	if proto == 0 {
		return q.field(opHasPorts, off, 1, 1)
	}
	return q.field(opByte, off, 0xff, proto)
}

func (q *qualifiers) firstFragment() *node {
	return q.field(opHalf, frag4, fragMask, 0)
}
