package filter

// qualifiers are the words before an address, a port or another value. They
// hold for the values that follow without words of their own:
// "tcp dst port 80 or 443".
type qualifiers struct {
	outer bool   // of the outer packet
	proto string // one of protocols, or empty
	dir   direction
	kind  kind
}

// A kind says what a value is.
type kind uint8

const (
	kindNone kind = iota // there were no qualifiers: there can be no value
	kindHost
	kindNet
	kindPort
	kindPortRange
	kindProto
	kindProtoChain
	kindPeer
	kindLease
	kindVNI
	kindDrop
	kindDir
)

var kinds = map[string]kind{
	"host": kindHost, "net": kindNet, "port": kindPort, "portrange": kindPortRange,
	"proto": kindProto, "protochain": kindProtoChain,
	"peer": kindPeer, "lease": kindLease, "vni": kindVNI, "drop": kindDrop, "dir": kindDir,
}

// A direction says which of two addresses or ports a primitive looks at.
type direction uint8

const (
	either direction = iota // "src or dst", or nothing
	src
	dst
	both // "src and dst"
)

// primitive is a term that begins with a word.
func (p *parser) primitive() (*node, qualifiers, error) {
	t := p.peek()
	if why, ok := refused[t.text]; ok {
		return nil, qualifiers{}, t.errorf("%s", why)
	}
	switch t.text {
	case "drop":
		return p.drop()
	case "peer", "lease", "vni", "dir":
		p.next()
		q := qualifiers{outer: p.outer, kind: kinds[t.text]}
		n, err := p.id(q)
		return n, q, err
	case "less", "greater", "byte", "inbound", "outbound":
		n, err := p.single(p.next())
		return n, qualifiers{}, err
	}
	return p.qualified()
}

// qualified is a protocol, a direction, the kind of a value and values; all but
// one may be left out.
func (p *parser) qualified() (*node, qualifiers, error) {
	q := qualifiers{outer: p.outer}
	first := p.peek()
	if _, ok := protocols[first.text]; ok {
		q.proto = p.next().text
	}
	t := p.peek()
	if why, ok := refused[t.text]; ok && t.kind == tokWord {
		return nil, q, t.errorf("%s", why)
	}
	directed := p.direction(&q)
	t = p.peek()
	switch {
	case t.is("host"), t.is("net"), t.is("port"), t.is("portrange"):
		q.kind = kinds[p.next().text]
	case (t.is("proto") || t.is("protochain")) && !directed:
		q.kind = kinds[p.next().text]
	case (t.is("broadcast") || t.is("multicast")) && !directed:
		n, err := p.cast(p.next(), q)
		return n, qualifiers{}, err
	case directed:
		q.kind = kindHost
	case q.proto != "":
		n, err := q.abbreviation(first)
		return n, qualifiers{}, err
	default:
		return nil, q, t.errorf("%s", wantPrimitive)
	}
	n, err := p.id(q)
	return n, q, err
}

// direction reads "src", "dst" or both of them.
func (p *parser) direction(q *qualifiers) bool {
	t := p.peek()
	if !t.is("src") && !t.is("dst") {
		return false
	}
	q.dir = src
	other := "dst"
	if p.next().text == "dst" {
		q.dir, other = dst, "src"
	}
	if join := p.peek(); (join.is("or") || join.is("and")) && p.ahead().is(other) {
		q.dir = either
		if join.is("and") {
			q.dir = both
		}
		p.at += 2
	}
	return true
}

// id is a value, or several in parentheses, that q qualifies.
func (p *parser) id(q qualifiers) (*node, error) {
	defer p.leave()
	if err := p.enter(); err != nil {
		return nil, err
	}
	t := p.peek()
	switch {
	case p.accept("!"):
		n, err := p.id(q)
		if err != nil {
			return nil, err
		}
		return not(n), nil
	case !p.accept("("):
		return p.value(q)
	}
	n, err := p.id(q)
	for err == nil {
		var right *node
		switch {
		case p.accept("and"):
			right, err = p.id(q)
			n = and(n, right)
		case p.accept("or"):
			right, err = p.id(q)
			n = or(n, right)
		default:
			return n, p.close(t)
		}
	}
	return nil, err
}

// value makes a node of one value.
func (p *parser) value(q qualifiers) (*node, error) {
	switch q.kind {
	case kindHost, kindNet:
		return p.host(q)
	case kindPort, kindPortRange:
		return p.port(q)
	case kindProto, kindProtoChain:
		return p.proto(q)
	case kindPeer, kindLease:
		return p.node(q)
	case kindVNI:
		return p.vni()
	case kindDrop:
		return p.reason()
	case kindDir:
		return p.dir()
	}
	return nil, p.peek().errorf("want a word that says what this is, such as host, net, port or peer")
}
