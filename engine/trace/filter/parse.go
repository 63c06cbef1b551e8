package filter

import "weft/encap"

// maxNesting is how deep parentheses, indices and prefixes may be nested.
const maxNesting = 100

// A parser makes a tree of tokens, by recursive descent.
type parser struct {
	toks  []token
	at    int
	depth int
	outer bool // look at the outer packet
}

func (p *parser) peek() *token { return &p.toks[p.at] }

// ahead returns the token after the next one; the last one stays the last.
func (p *parser) ahead() *token { return &p.toks[min(p.at+1, len(p.toks)-1)] }

func (p *parser) next() *token {
	t := p.peek()
	if t.kind != tokEnd {
		p.at++
	}
	return t
}

// accept takes the next token if it is the word or sign.
func (p *parser) accept(word string) bool {
	if p.peek().is(word) {
		p.at++
		return true
	}
	return false
}

// enter counts a level of nesting; the caller defers leave.
func (p *parser) enter() error {
	if p.depth++; p.depth > maxNesting {
		return p.peek().errorf("nested more than %d deep", maxNesting)
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

// text is the whole of a text that is not empty.
func (p *parser) text() (*node, error) {
	n, _, err := p.expr(qualifiers{})
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != tokEnd {
		return nil, t.errorf("want and, or, or the end%s", p.hint(t))
	}
	return n, nil
}

// hint says what may be meant by a word that does not fit where it is.
func (p *parser) hint(t *token) string {
	switch t.text {
	case "AND", "OR", "NOT":
		return "; the language's words are in small letters"
	case ")":
		return "; no parenthesis is open"
	}
	return ""
}

// expr is terms with "and" and "or" between them, which bind alike, from left to
// right. q is what the term before it was qualified with; the qualifiers of its
// last term are returned.
func (p *parser) expr(q qualifiers) (*node, qualifiers, error) {
	n, q, err := p.term(q)
	for err == nil {
		var right *node
		switch {
		case p.accept("and"):
			right, q, err = p.term(q)
			n = and(n, right)
		case p.accept("or"):
			right, q, err = p.term(q)
			n = or(n, right)
		default:
			return n, q, nil
		}
	}
	return nil, q, err
}

// term is one primitive, or an expression in parentheses, with what stands before.
func (p *parser) term(q qualifiers) (*node, qualifiers, error) {
	defer p.leave()
	if err := p.enter(); err != nil {
		return nil, q, err
	}
	t := p.peek()
	switch {
	case p.accept("!"):
		n, q, err := p.term(q)
		if err != nil {
			return nil, q, err
		}
		return not(n), q, nil
	case p.accept("outer"):
		return p.layer(q, true)
	case p.accept("inner"):
		return p.layer(q, false)
	case p.arithmetic():
		n, err := p.relation()
		return n, qualifiers{}, err
	case p.accept("("):
		n, _, err := p.expr(q)
		if err == nil {
			err = p.close(t)
		}
		return n, q, err
	case t.kind == tokWord && !(q.kind == kindDrop && dropNamed(t.text) != encap.Delivered):
		return p.primitive()
	case t.kind == tokEnd, t.kind == tokSign:
		return nil, q, t.errorf("%s", wantPrimitive)
	}
	n, err := p.id(q)
	return n, q, err
}

const wantPrimitive = "want a primitive, such as host ADDRESS, tcp port NUMBER or drop"

// layer is the term after "inner" or "outer".
func (p *parser) layer(q qualifiers, outer bool) (*node, qualifiers, error) {
	before := p.outer
	p.outer, q.outer = outer, outer
	n, q, err := p.term(q)
	p.outer = before
	return n, q, err
}

func (p *parser) close(open *token) error {
	if p.accept(")") {
		return nil
	}
	return p.peek().errorf("want and, or, or the ) of column %d%s", open.col, p.hint(p.peek()))
}
