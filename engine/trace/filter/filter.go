package filter

import "strings"

// A Filter is a compiled expression. It does not change, and many goroutines may
// use it at once.
type Filter struct {
	text  string
	prog  []insn
	start int32
	outer bool
	nodes bool
}

// maxSteps is how long a program may be: what a packet costs at most, since no
// step is taken twice. It is room for a hundred hosts, or fifty ports.
const maxSteps = 512

// Compile compiles an expression; the empty one matches every packet. What is
// wrong with a text is told by a [SyntaxError].
func Compile(text string) (*Filter, error) {
	toks, err := lex(text)
	if err != nil {
		return nil, err
	}
	f := &Filter{text: strings.TrimSpace(text), start: accept}
	if len(toks) == 1 {
		return f, nil
	}
	p := parser{toks: toks}
	n, err := p.text()
	if err != nil {
		return nil, err
	}
	f.start = f.emit(n, accept, reject, anyVersions)
	if n := f.steps(); n > maxSteps {
		return nil, p.peek().errorf("the filter needs %d steps; at most %d", n, maxSteps)
	}
	return f, nil
}

// steps counts what Match does for a packet, at most.
func (f *Filter) steps() (n int) {
	for i := range f.prog {
		n += f.prog[i].steps()
	}
	return n
}

// Match tells whether p is what the expression describes. It allocates nothing
// and keeps nothing of p.
func (f *Filter) Match(p *Packet) bool { return f.run(p) == accept }

// Outer tells whether Match looks at Packet.Outer or Packet.OuterLen.
func (f *Filter) Outer() bool { return f.outer }

// Nodes tells whether Match looks at what Packet says of the other node: Remote,
// Other or Subnets.
func (f *Filter) Nodes() bool { return f.nodes }

// String returns the text that was compiled, without space around it.
func (f *Filter) String() string { return f.text }
