package explain

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// An outcome is the set of things that may become of a packet in a chain. It
// has more than one member where a rule looks at what is not known here, as the
// members of a set or a mark.
type outcome uint8

const (
	accepts outcome = 1 << iota
	drops
	falls // to the end of the chain, or to a return
)

// A match says whether a rule is about the packet.
type match uint8

const (
	no match = iota
	maybe
	yes
)

// maxDepth bounds jumps, as NFT_JUMP_STACK_SIZE does in the kernel.
const maxDepth = 16

// An evaluation is one packet in the chains at a hook.
type evaluation struct {
	rules  map[chainID][]*nftables.Rule
	packet *packet
	why    string // the latest place that may drop it
}

// base is what becomes of the packet in a base chain: accepts, drops, or both
// of them if that is not known.
func (e *evaluation) base(c *nftables.Chain) outcome {
	out := e.chain(c, 0)
	if out&falls == 0 {
		return out
	}
	out &^= falls
	if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
		e.why = chainName(c) + ": policy drop"
		return e.doubtful(out | drops)
	}
	return e.doubtful(out | accepts)
}

// doubtful says so in the reason if out is more than one thing.
func (e *evaluation) doubtful(out outcome) outcome {
	if out == accepts|drops {
		e.why += ", or not: that depends on what is not known here (sets, marks, connections, programs)"
	}
	return out
}

func (e *evaluation) chain(c *nftables.Chain, depth int) (out outcome) {
	if depth > maxDepth {
		e.why = chainName(c) + ": too many jumps, the kernel drops it"
		return accepts | drops
	}
	for i, r := range e.rules[idOf(c)] {
		m := e.packet.match(r)
		if m == no {
			continue
		}
		o, goesOn := e.act(c, r, i, depth)
		out |= o
		if m == yes && !goesOn {
			return out
		}
	}
	return out | falls
}

// act is what a rule does with a packet that it is about; goesOn tells that the
// next rule may see it.
func (e *evaluation) act(c *nftables.Chain, r *nftables.Rule, i, depth int) (out outcome, goesOn bool) {
	for _, x := range r.Exprs {
		switch x := x.(type) {
		case *expr.Reject:
			e.why = fmt.Sprintf("%s: rule %d rejects it", chainName(c), i+1)
			return drops, false
		case *expr.Target:
			switch x.Name {
			case "REJECT":
				e.why = fmt.Sprintf("%s: rule %d rejects it", chainName(c), i+1)
				return drops, false
			case "NFQUEUE":
				return e.queue(c, i), false
			}
		case *expr.Verdict:
			return e.verdict(c, x, i, depth)
		}
	}
	return 0, true
}

func (e *evaluation) verdict(c *nftables.Chain, v *expr.Verdict, i, depth int) (out outcome, goesOn bool) {
	switch v.Kind {
	case expr.VerdictAccept:
		return accepts, false
	case expr.VerdictDrop:
		e.why = fmt.Sprintf("%s: rule %d drops it", chainName(c), i+1)
		return drops, false
	case expr.VerdictReturn:
		return falls, false
	case expr.VerdictJump, expr.VerdictGoto:
		out = e.chain(&nftables.Chain{Name: v.Chain, Table: c.Table}, depth+1)
		if v.Kind == expr.VerdictJump && out&falls != 0 {
			return out &^ falls, true
		}
		return out, false
	case expr.VerdictContinue, expr.VerdictBreak:
		return 0, true
	}
	return e.queue(c, i), false
}

// queue is what becomes of a packet that a program decides about.
func (e *evaluation) queue(c *nftables.Chain, i int) outcome {
	e.why = fmt.Sprintf("%s: rule %d has a program drop it", chainName(c), i+1)
	return accepts | drops
}
