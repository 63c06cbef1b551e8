package filter

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// Where the addresses lie in an IP header (RFC 791, RFC 8200).
const (
	src4, dst4 = 12, 16
	src6, dst6 = 8, 24
)

// version is the test of whether a packet's first four bits say IPv4 or IPv6. As
// libpcap has it for raw IP, everything that looks at a header asks this first.
func (q *qualifiers) version(v uint32) *node {
	return q.field(opByte, 0, 0xf0, v<<4)
}

// field is the test of whether bits of a field have a value.
func (q *qualifiers) field(op op, off, mask, value uint32) *node {
	return leaf(test{op: op, outer: q.outer, off: off, mask: mask, low: value})
}

// sides joins what is found out of the source and of the destination.
func (q *qualifiers) sides(s, d *node) *node {
	switch q.dir {
	case src:
		return s
	case dst:
		return d
	case both:
		return and(s, d)
	default:
		return or(s, d)
	}
}

// host is an address, or with the word "net" a network.
func (p *parser) host(q qualifiers) (*node, error) {
	t := p.next()
	switch t.kind {
	case tokNumber, tokIPv4:
		addr, mask, err := p.ipv4(t, &q)
		if err != nil {
			return nil, err
		}
		return q.host4(t, addr, mask)
	case tokIPv6:
		prefix, err := p.ipv6(t, &q)
		if err != nil {
			return nil, err
		}
		return q.host6(t, prefix)
	case tokName:
		return nil, t.errorf("want an address; names are not looked up")
	case tokMAC:
		return nil, t.errorf("want an IP address; %s", noLink)
	}
	return nil, t.errorf("want an IP address%s", map[bool]string{true: " or a network"}[q.kind == kindNet])
}

// ipv4 reads an address that began with t, and its mask. An address with fewer
// than four numbers means all that begin so; a single number is the whole
// address, but as a network the beginning of one.
func (p *parser) ipv4(t *token, q *qualifiers) (addr, mask uint32, err error) {
	mask = 1<<32 - 1
	if t.kind == tokNumber {
		addr = t.num
		for q.kind == kindNet && addr != 0 && addr>>24 == 0 {
			addr, mask = addr<<8, mask<<8
		}
		return addr, mask, nil
	}
	if addr, mask, err = t.dotted(); err != nil {
		return 0, 0, err
	}
	switch {
	case p.accept("/"):
		bits, err := p.bits(32)
		if err != nil {
			return 0, 0, err
		}
		mask = ^uint32(1<<(32-bits) - 1)
	case p.accept("mask"):
		m := p.next()
		if m.kind != tokIPv4 {
			return 0, 0, m.errorf("want a mask, such as 255.255.255.0")
		}
		if mask, _, err = m.dotted(); err != nil {
			return 0, 0, err
		}
	default:
		return addr, mask, nil
	}
	if q.kind != kindNet {
		return 0, 0, t.errorf("only net takes a network; say net %s/…", t.text)
	}
	if addr&^mask != 0 {
		return 0, 0, t.errorf("bits are set behind the mask")
	}
	return addr, mask, nil
}

// dotted is the value of two to four numbers with dots, and a mask of as many bytes.
func (t *token) dotted() (addr, mask uint32, err error) {
	shift := 32
	for part := range strings.SplitSeq(t.text, ".") {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			return 0, 0, t.errorf("an IPv4 address has numbers up to 255; %s is too large", part)
		}
		shift -= 8
		addr |= uint32(n) << shift
	}
	return addr, ^uint32(1<<shift - 1), nil
}

// bits reads a prefix length.
func (p *parser) bits(most uint32) (uint32, error) {
	t := p.next()
	if t.kind != tokNumber || t.num > most {
		return 0, t.errorf("want a prefix length, 0 to %d", most)
	}
	return t.num, nil
}

func (p *parser) ipv6(t *token, q *qualifiers) (netip.Prefix, error) {
	bits := uint32(128)
	if p.accept("/") {
		var err error
		if bits, err = p.bits(128); err != nil {
			return netip.Prefix{}, err
		}
		if q.kind != kindNet && bits != 128 {
			return netip.Prefix{}, t.errorf("only net takes a network; say net %s/%d", t.text, bits)
		}
	}
	prefix := netip.PrefixFrom(t.addr, int(bits))
	if prefix.Masked() != prefix {
		return netip.Prefix{}, t.errorf("bits are set behind the first %d", bits)
	}
	return prefix, nil
}

func (q *qualifiers) host4(t *token, addr, mask uint32) (*node, error) {
	switch proto := protocols[q.proto]; {
	case q.proto == "arp", q.proto == "rarp":
		return neverNode, nil
	case q.proto != "" && q.proto != "ip" || proto.never:
		return nil, t.errorf("%s does not go with an IPv4 address", q.proto)
	}
	side := func(off uint32) *node {
		return and(q.version(4), q.field(opWord, off, mask, addr))
	}
	return q.sides(side(src4), side(dst4)), nil
}

func (q *qualifiers) host6(t *token, net netip.Prefix) (*node, error) {
	if q.proto != "" && q.proto != "ip6" {
		return nil, t.errorf("%s does not go with an IPv6 address", q.proto)
	}
	addr := net.Addr().As16()
	side := func(off uint32) *node {
		all := q.version(6)
		for i := uint32(0); i < 16; i += 4 {
			set := min(max(net.Bits()-int(i)*8, 0), 32)
			mask := ^uint32(1<<(32-set) - 1)
			all = and(all, q.field(opWord, off+i, mask, binary.BigEndian.Uint32(addr[i:])))
		}
		return all
	}
	return q.sides(side(src6), side(dst6)), nil
}
