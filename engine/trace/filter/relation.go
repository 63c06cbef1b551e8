package filter

import "slices"

// A number is an arithmetic expression in the making.
type number struct {
	code    []step
	depth   int   // of the stack that the code needs
	literal bool  // one number, as it is in the text
	check   *node // what must be true of a packet before the code is run
}

// An operator stands between two numbers.
type operator struct {
	op   byte
	bind int // a larger one binds tighter; loosest for those without precedence
}

// operators has pcap-filter's precedence. Its grammar gives none to % and ^, which
// has an effect that C does not have: whatever stands left of them waits, and
// whatever stands right of them is their right operand.
var operators = map[string]operator{
	"|":  {'|', 2},
	"&":  {'&', 3},
	"<<": {opShiftLeft, 4}, ">>": {opShiftRight, 4},
	"+": {'+', 5}, "-": {'-', 5},
	"*": {'*', 6}, "/": {'/', 6},
	"%": {'%', loosest}, "^": {'^', loosest},
}

const (
	loosest  = 0
	tightest = 7 // the minus before a number
)

// relations are the signs between two numbers, with what to compare and whether
// to turn the answer round.
var relations = map[string]struct {
	cmp byte
	not bool
}{
	">": {'>', false}, ">=": {opAtLeast, false}, "=": {'=', false},
	"<": {opAtLeast, true}, "<=": {'>', true}, "!=": {'=', true},
}

// arithmetic tells whether a relation begins here, and not an address, a port or
// an expression in parentheses.
func (p *parser) arithmetic() bool {
	t, after := p.peek(), p.ahead()
	switch {
	case t.is("-"), t.is("len"), t.is("length"):
		return true
	case t.kind == tokNumber:
		return after.operates()
	case t.is("("):
		return t.pair != 0 && p.toks[t.pair+1].operates()
	case t.kind == tokWord && after.is("["):
		_, ok := protocols[t.text]
		return ok
	}
	return false
}

// operates tells whether t can only stand after a number.
func (t *token) operates() bool {
	if t.kind != tokSign {
		return false
	}
	_, between := operators[t.text]
	_, compares := relations[t.text]
	return between || compares
}

// relation is two numbers with a sign between them.
func (p *parser) relation() (*node, error) {
	left, err := p.number(loosest)
	if err != nil {
		return nil, err
	}
	sign := p.next()
	rel, ok := relations[sign.text]
	if !ok || sign.kind != tokSign {
		return nil, sign.errorf("want one of = != < <= > >= or an operator")
	}
	right, err := p.number(loosest)
	if err != nil {
		return nil, err
	}
	if max(left.depth, 1+right.depth) > maxDepth {
		return nil, sign.errorf("too much to work out at once; use fewer parentheses")
	}
	r := &relation{code: slices.Concat(left.code, right.code), cmp: rel.cmp}
	t, ok := r.simple()
	if !ok {
		t = test{op: opRelation, mask: 1, low: 1, rel: r}
	}
	t.outer = p.outer
	holds := leaf(t)
	if rel.not {
		holds = not(holds)
	}
	return and(left.check, right.check, holds), nil
}

// number reads operands and the operators that bind tighter than floor. As in
// libpcap, what must be true of a packet is taken from the first operand only.
func (p *parser) number(floor int) (*number, error) {
	defer p.leave()
	if err := p.enter(); err != nil {
		return nil, err
	}
	left, err := p.operand()
	for err == nil {
		t := p.peek()
		b, ok := operators[t.text]
		if !ok || t.kind != tokSign || b.bind != loosest && b.bind <= floor {
			return left, nil
		}
		p.next()
		var right *number
		if right, err = p.number(b.bind); err == nil {
			err = left.operate(t, b.op, right)
		}
	}
	return nil, err
}

func (n *number) constant() bool { return len(n.code) == 1 && n.code[0].op == opNumber }

// operate makes n the operator's result.
func (n *number) operate(sign *token, op byte, right *number) error {
	s := step{op: op}
	if right.constant() {
		s.imm, s.k = true, right.code[0].k
		switch {
		case right.literal && (op == '/' || op == '%') && s.k == 0:
			return sign.errorf("division by zero")
		case right.literal && (op == opShiftLeft || op == opShiftRight) && s.k > 31:
			return sign.errorf("a number has 32 bits; it cannot be shifted by %d", s.k)
		}
		n.immediate(s)
		return nil
	}
	n.literal = false
	n.code = append(append(n.code, right.code...), s)
	n.depth = max(n.depth, 1+right.depth)
	if n.depth > maxDepth {
		return sign.errorf("too much to work out at once; use fewer parentheses")
	}
	return nil
}

// immediate appends a step whose right operand is known; if the left one is too,
// so is the result, unless it is a division by zero.
func (n *number) immediate(s step) {
	n.literal = false
	if n.constant() {
		if v, ok := operate(s.op, n.code[0].k, s.k); ok {
			n.code[0].k = v
			return
		}
	}
	n.code = append(n.code, s)
}

// operand is a number, the length, a load, or one of these with a minus or in
// parentheses.
func (p *parser) operand() (*number, error) {
	t := p.next()
	switch {
	case t.kind == tokNumber:
		return &number{code: []step{{op: opNumber, imm: true, k: t.num}}, depth: 1, literal: true}, nil
	case t.is("len"), t.is("length"):
		return &number{code: []step{{op: opLength, imm: true}}, depth: 1}, nil
	case t.is("-"):
		n, err := p.number(tightest)
		if err == nil {
			n.code, n.literal = append(n.code, step{op: opNegate}), false
		}
		return n, err
	case t.is("("):
		n, err := p.number(loosest)
		if err == nil {
			err = p.close(t)
		}
		return n, err
	case t.kind == tokWord && p.peek().is("["):
		return p.load(t)
	}
	return nil, t.errorf("want a number, len, or bytes of a header such as ip[8] or tcp[0:2]")
}

// load is a protocol's word with an offset, and perhaps a size, in brackets.
func (p *parser) load(word *token) (*number, error) {
	open := p.next()
	proto, ok := protocols[word.text]
	if !ok || !proto.indexed {
		return nil, word.errorf("this cannot be indexed; ip, ip6, tcp, udp, sctp, icmp and icmp6 can")
	}
	n, err := p.number(loosest)
	if err != nil {
		return nil, err
	}
	size := uint32(1)
	if p.accept(":") {
		t := p.next()
		if size = t.num; t.kind != tokNumber || size != 1 && size != 2 && size != 4 {
			return nil, t.errorf("want the number of bytes: 1, 2 or 4")
		}
	}
	if !p.accept("]") {
		return nil, p.peek().errorf("want the ] of column %d", open.col)
	}
	s := step{op: opLoad, size: uint8(size)}
	q := qualifiers{outer: p.outer}
	n.check = q.indexable(&s, word.text, n.check)
	if n.constant() {
		s.imm, s.k = true, n.code[0].k
		n.code = n.code[:0]
	}
	n.code = append(n.code, s)
	return n, nil
}

// indexable sets where s loads from, and returns what libpcap asks of a packet
// before it: that it has the protocol, and, of what is behind an IPv4 header, that
// it is the first fragment. inner is what the offset itself asks for.
func (q *qualifiers) indexable(s *step, name string, inner *node) *node {
	proto := protocols[name]
	switch {
	case proto.link:
		return inner
	case proto.never:
		return and(inner, neverNode)
	case proto.number == 0:
		return and(inner, q.version(uint32(proto.family)))
	case proto.family == 6:
		s.base = header6
		return and(inner, q.version(6), q.field(opByte, proto6, 0xff, proto.number))
	}
	s.op = opLoadAfter
	return and(q.version(4), inner, q.carries(proto.family, proto.number), q.firstFragment())
}
