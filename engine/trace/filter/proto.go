package filter

// abbreviation is a protocol's word by itself.
func (q *qualifiers) abbreviation(t *token) (*node, error) {
	proto := protocols[t.text]
	switch {
	case proto.link:
		return nil, t.errorf("%s", noLink)
	case proto.never:
		return neverNode, nil
	case proto.number == 0:
		return q.version(uint32(proto.family)), nil
	}
	return q.carries(proto.family, proto.number), nil
}

// carries is the test of whether a packet of a family, or of either if it is 0,
// carries a protocol. IPv6 may have a fragment header, and no other, before it.
func (q *qualifiers) carries(family uint8, number uint32) *node {
	v4 := and(q.version(4), q.field(opByte, proto4, 0xff, number))
	v6 := and(q.version(6), or(
		q.field(opByte, proto6, 0xff, number),
		and(q.field(opByte, proto6, 0xff, protoFrag), q.field(opByte, header6, 0xff, number))))
	switch family {
	case 4:
		return v4
	case 6:
		return v6
	}
	return or(v4, v6)
}

// proto is the value of "proto" and "protochain": a protocol's number or name. Of
// the link layer's there are two, for IPv4 and for IPv6.
func (p *parser) proto(q qualifiers) (*node, error) {
	t := p.next()
	own, ok := protocols[q.proto]
	switch {
	case own.link && q.kind == kindProto:
		return q.etherType(t)
	case ok && (own.number != 0 || own.link || own.never):
		return nil, t.errorf("%s does not go with proto; ip and ip6 do", q.proto)
	}
	number, err := t.protocol()
	if err != nil {
		return nil, err
	}
	if q.kind == kindProto {
		return q.carries(own.family, number), nil
	}
	chain := func(family, header uint32) *node {
		return and(q.version(family), leaf(test{
			op: opChain, outer: q.outer, off: number, set: uint64(header), mask: 1, low: 1}))
	}
	switch own.family {
	case 4:
		return chain(4, proto4), nil
	case 6:
		return chain(6, proto6), nil
	}
	return or(chain(4, proto4), chain(6, proto6)), nil
}

// protocol is the number of an IP protocol. A word of the language is taken for
// a protocol's name with or without a backslash.
func (t *token) protocol() (uint32, error) {
	switch t.kind {
	case tokNumber:
		if t.num > 255 {
			return 0, t.errorf("protocols go up to 255")
		}
		return t.num, nil
	case tokName, tokWord:
		if n, ok := ipProtocols[t.text]; ok {
			return n, nil
		}
		return 0, t.errorf("no IP protocol has this name; give its number")
	}
	return 0, t.errorf("want a protocol, as a number or by name")
}

func (q *qualifiers) etherType(t *token) (*node, error) {
	switch {
	case t.kind == tokNumber && t.num == 0x0800, t.text == "ip":
		return q.version(4), nil
	case t.kind == tokNumber && t.num == 0x86dd, t.text == "ip6":
		return q.version(6), nil
	case t.kind == tokNumber, protocols[t.text].never:
		return neverNode, nil
	}
	return nil, t.errorf("want an EtherType, as a number or by name")
}

// cast is "broadcast" and "multicast", of IP only. IPv4 knows the limited
// broadcast address and, as no subnet is known, 0.0.0.0.
func (p *parser) cast(t *token, q qualifiers) (*node, error) {
	switch {
	case t.text == "broadcast" && q.proto == "ip":
		return and(q.version(4), or(
			q.field(opWord, dst4, 1<<32-1, 0),
			q.field(opWord, dst4, 1<<32-1, 1<<32-1))), nil
	case t.text == "multicast" && q.proto == "ip":
		first := q.field(opByte, dst4, 0xff, 224)
		first.test.span = 255 - 224
		return and(q.version(4), first), nil
	case t.text == "multicast" && q.proto == "ip6":
		return and(q.version(6), q.field(opByte, dst6, 0xff, 0xff)), nil
	case t.text == "broadcast":
		return nil, t.errorf("%s; ip broadcast is understood", noLink)
	}
	return nil, t.errorf("%s; ip multicast and ip6 multicast are understood", noLink)
}

// single is one of the primitives that are a word of their own.
func (p *parser) single(word *token) (*node, error) {
	q := qualifiers{outer: p.outer}
	switch word.text {
	case "inbound":
		return q.from(true), nil
	case "outbound":
		return q.from(false), nil
	case "byte":
		return p.byteOp(q)
	}
	t := p.next()
	if t.kind != tokNumber {
		return nil, t.errorf("want a number of bytes after %s", word.text)
	}
	n := q.field(opLen, 0, 1<<32-1, 0)
	if word.text == "less" {
		n.test.span = t.num
	} else {
		n.test.low, n.test.span = t.num, 1<<32-1-t.num
	}
	return n, nil
}

// byteOp is "byte OFFSET OPERATOR NUMBER".
func (p *parser) byteOp(q qualifiers) (*node, error) {
	off, op, val := p.next(), p.next(), p.next()
	switch {
	case off.kind != tokNumber:
		return nil, off.errorf("want an offset after byte")
	case val.kind != tokNumber || val.num > 255:
		return nil, val.errorf("want a number up to 255")
	}
	n := q.field(opByte, off.num, 0xff, val.num)
	switch {
	case op.is("="):
	case op.is("<") && val.num == 0, op.is(">") && val.num == 255:
		n.test.mask, n.test.low = 0, 1 // never, but the byte must be there
	case op.is("<"):
		n.test.low, n.test.span = 0, val.num-1
	case op.is(">"):
		n.test.low, n.test.span = val.num+1, 254-val.num
	case op.is("&"):
		n.test.mask, n.test.low = val.num, 0
		return not(n), nil
	default:
		return nil, op.errorf("want one of = < > &")
	}
	return n, nil
}
