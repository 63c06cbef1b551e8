package explain

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"weft/encap"
	"weft/engine/control"
)

// The verdicts of an explanation.
const (
	Deliver  = "deliver"
	Drop     = "drop"
	TooBig   = "too_big"
	Fragment = "fragment"
	NotOurs  = "not_ours"
)

// Unknown is what a [Judgement] is where the packet filter cannot be evaluated.
const Unknown = "unknown"

// The stages of an explanation.
const (
	stageKernel = "kernel"
	stageEngine = "engine"
	stageSize   = "size"
	stageRules  = "rules"
	stagePeer   = "peer"
)

// A walk is one packet on its way past the stages.
type walk struct {
	Facts
	ctx   context.Context
	q     control.Question
	proto uint8

	in     string // the interface the packet comes in by; empty: it is the host's own
	here   bool   // its source is an address of this host or of a pod on it
	source Route  // the way to its source
	route  Route  // the way to its destination
	direct bool   // the kernel routes it past the tunnel, as it should
	peer   Peer
	found  bool       // there is a peer
	sentAs netip.Addr // the source that it bears in the overlay
	pieces int        // fragments that it goes in
	tooBig bool       // it is refused for its size
	asked  bool       // the peer, for its view
	view   *View      // the peer's; nil: not known
	blind  string     // why it is not

	doubt, backDoubt string // why the packet filter's verdict is not known, out and back

	out control.Explanation
}

// Explain says what would happen to the packet of q. An error is one of the
// question, a *control.Error; what the kernel or the peer cannot be asked is a
// part of the answer.
func Explain(ctx context.Context, q control.Question, f Facts) (control.Explanation, error) {
	q, err := Normal(q, f.Node.MTU)
	if err != nil {
		return control.Explanation{}, err
	}
	w := &walk{Facts: f, ctx: ctx, q: q, sentAs: q.Src, pieces: 1}
	w.proto, _ = protocol(q.Proto, q.Dst.Is6()) // Normal has read it
	w.out = control.Explanation{Schema: control.Schema, Question: q, Steps: []control.Step{}, Return: []control.Step{}}
	w.peer, w.found = f.Lookup(q.Dst)
	for _, stage := range [...]func() bool{w.family, w.kernel, w.engine, w.size, w.rules, w.remote} {
		if !stage() {
			break
		}
	}
	if w.found && w.here && !w.owns(q.Dst) {
		w.back()
	}
	w.conclude()
	return w.out, nil
}

// subnet is our own subnet of the packet's family.
func (w *walk) subnet() netip.Prefix {
	if w.q.Dst.Is4() {
		return w.Node.Subnet
	}
	return w.Node.Subnet6
}

// network is the overlay of the packet's family.
func (w *walk) network() netip.Prefix {
	if w.q.Dst.Is4() {
		return w.Node.Network
	}
	return w.Node.Network6
}

// owns tells whether a is in our own subnet.
func (w *walk) owns(a netip.Addr) bool { return w.subnet().IsValid() && w.subnet().Contains(a) }

// ours tells whether a device is the one that the packet is to enter.
func (w *walk) ours(device string) bool {
	if w.found && w.peer.Device != "" {
		return device == w.peer.Device
	}
	return slices.Contains(w.Node.Devices, device)
}

// step adds a step that the packet passes.
func (w *walk) step(stage string, facts map[string]string, format string, args ...any) {
	w.out.Steps = append(w.out.Steps, control.Step{Stage: stage, Text: fmt.Sprintf(format, args...), OK: true, Facts: facts})
}

// stop makes the latest step the one that ends the walk, with the verdict in
// words.
func (w *walk) stop(verdict string, drop encap.Drop, format string, args ...any) (goesOn bool) {
	w.out.Steps[len(w.out.Steps)-1].OK = false
	w.out.Verdict, w.out.Text = verdict, fmt.Sprintf(format, args...)
	if drop != encap.Delivered {
		w.out.Drop = drop.String()
	}
	return false
}

// family stops what is of a family that is off.
func (w *walk) family() bool {
	if w.subnet().IsValid() {
		return true
	}
	name := familyName(w.q.Dst)
	w.step(stageEngine, nil, "this node has no %s subnet", name)
	if !w.Node.Subnet.IsValid() && !w.Node.Subnet6.IsValid() {
		return w.stop(NotOurs, encap.Delivered, "NOT OURS: this node has no lease yet")
	}
	return w.stop(NotOurs, encap.Delivered, "NOT OURS: %s is off on this node, so weft carries none", name)
}

// conclude puts the verdict into words, once all stages were asked.
func (w *walk) conclude() {
	o := &w.out
	switch {
	case w.tooBig && o.Verdict == "":
		o.Verdict, o.Text = TooBig, fmt.Sprintf("TOOBIG at %d, DELIVER at ≤ %d", w.q.Size, o.MaxSize)
	case w.tooBig: // a shorter one fails as well
		o.Text = fmt.Sprintf("TOOBIG at %d; at ≤ %d: %s", w.q.Size, o.MaxSize, o.Text)
		o.Verdict = TooBig
		return
	case o.Verdict != "":
		return
	case w.pieces > 1:
		o.Verdict, o.Text = Fragment, fmt.Sprintf("DELIVER to %s in %d fragments", w.peer.label(), w.pieces)
	default:
		o.Verdict, o.Text = Deliver, "DELIVER to "+w.peer.label()
	}
	if w.doubt != "" {
		o.Text += ", unless the packet filter drops it: " + w.doubt
	}
	for _, s := range o.Return {
		if !s.OK {
			o.Text += "; but the way back fails: " + s.Text
			return
		}
	}
	if w.backDoubt != "" && w.backDoubt != w.doubt {
		o.Text += "; the answer arrives unless the packet filter drops that: " + w.backDoubt
	}
}

func familyName(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
