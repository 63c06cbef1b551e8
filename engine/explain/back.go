package explain

import (
	"errors"
	"fmt"

	"weft/encap"
	"weft/engine/control"
)

// remote asks whether the peer is there and takes the packet.
func (w *walk) remote() bool {
	if !w.leased() {
		return false
	}
	p := &w.peer
	w.step(stagePeer, map[string]string{"state": string(p.State)}, "%s", w.state())
	switch {
	case p.Kind == "wireguard" && p.Answers != nil && !*p.Answers:
		return w.stop(Drop, encap.WGNoSession, "DROP %v: %s does not answer handshakes: it is down, has another key or PSK, or does not get our datagrams",
			encap.WGNoSession, p.label())
	case p.State == control.PeerDown:
		return w.stop(Drop, encap.Delivered, "LOST: it is sent to %v, where nothing answers%s", p.Endpoint, because(p.Reason))
	case p.State == control.PeerUnusable:
		return w.stop(Drop, encap.Delivered, "LOST: %s cannot be sent to%s", p.label(), because(p.Reason))
	}
	return w.believed()
}

// leased tells whether the source is in our lease, as the peer demands.
func (w *walk) leased() bool {
	src, d := w.q.Src, encap.InnerSrcNotLeased
	switch {
	case w.owns(src):
		return true
	case !w.network().Contains(src) && w.Masq:
		w.sentAs = w.subnet().Masked().Addr()
		w.step(stageRules, map[string]string{"masqueraded": w.sentAs.String()}, "masqueraded: %v enters the overlay as %v", src, w.sentAs)
		return true
	}
	w.step(stagePeer, nil, "%s takes from this node what comes from %v; %v does not", w.peer.label(), w.subnet(), src)
	if of, ok := w.Lookup(src); ok {
		return w.stop(Drop, d, "DROP by the peer, %v: %v is in the lease of %s, so from here it counts as forged; ask on that node", d, src, of.label())
	}
	return w.stop(Drop, d, "DROP by the peer, %v: %v is not in this node's lease %v", d, src, w.subnet())
}

// believed tells whether the peer's view of our lease lets the packet pass.
func (w *walk) believed() bool {
	v := w.look()
	if v == nil {
		return true
	}
	d, who := encap.InnerSrcNotLeased, w.peer.label()
	switch {
	case !v.Subnet.Contains(w.sentAs):
		w.step(stagePeer, nil, "%s knows no lease for %v", who, w.sentAs)
		return w.stop(Drop, d, "DROP by the peer, %v: %s knows no lease for %v; its view of the leases is out of date", d, who, w.sentAs)
	case !w.meansUs(v):
		w.step(stagePeer, nil, "%s expects %v from %v", who, w.sentAs, v.Endpoint.Addr())
		return w.stop(Drop, d, "DROP by the peer, %v: %s takes %v for the owner of %v", d, who, v.Endpoint.Addr(), w.sentAs)
	}
	return true
}

// meansUs tells whether a peer would send to one of our addresses. Where a
// WireGuard peer sends to is for the session to say, which may have roamed.
func (w *walk) meansUs(v *View) bool {
	a := v.Endpoint.Addr()
	return !a.IsValid() || v.Kind == "wireguard" || a == w.Node.Public || a == w.Node.Public6
}

// look asks the peer for its view, once; nil if it is not known.
func (w *walk) look() *View {
	if w.asked {
		return w.view
	}
	w.asked = true
	if w.View == nil {
		w.blind = "was not asked"
		return nil
	}
	v, err := w.View(w.ctx, w.peer, w.sentAs)
	switch {
	case errors.Is(err, ErrNotWeft):
		w.blind = "is no weft node"
	case err != nil:
		w.blind = "did not tell: " + err.Error()
	default:
		w.view = &v
	}
	return w.view
}

// way adds a step of the way back.
func (w *walk) way(stage string, ok bool, facts map[string]string, format string, args ...any) {
	w.out.Return = append(w.out.Return, control.Step{Stage: stage, Text: fmt.Sprintf(format, args...), OK: ok, Facts: facts})
}

// back follows an answer from the destination to the source.
func (w *walk) back() {
	w.backPeer()
	w.backEngine()
	w.backKernel()
}

// backPeer tells how the peer would send.
func (w *walk) backPeer() {
	v, who, to := w.look(), w.peer.label(), w.sentAs
	switch {
	case v == nil:
		w.way(stagePeer, true, nil, "%v → %v: %s %s; its view is not known", w.q.Dst, to, who, w.blind)
	case !v.Subnet.IsValid():
		w.way(stagePeer, false, nil, "%v → %v: %s knows no lease for it", w.q.Dst, to, who)
	case v.Drop != "":
		w.way(stagePeer, false, map[string]string{"drop": v.Drop}, "%v → %v: %s drops it: %s", w.q.Dst, to, who, v.Drop)
	default:
		ok, mark := w.meansUs(v), "symmetric"
		switch {
		case !ok:
			mark = "which is not this node"
		case v.Kind != w.peer.Kind:
			mark = "asymmetric: out by " + w.peer.Kind
		}
		limit := ""
		if v.Limit > 0 {
			limit = fmt.Sprintf(", ≤ %d", v.Limit)
		}
		w.way(stagePeer, ok, map[string]string{"lease": "true", "kind": v.Kind, "endpoint": v.Endpoint.String()},
			"%v → %v: %s told %s: it has a lease for it, sends %s to %v%s, %s", w.q.Dst, to, who, ago(w.Now, v.Time), v.Kind, v.Endpoint, limit, mark)
	}
}

// backEngine judges the answer as our own data plane would.
func (w *walk) backEngine() {
	from := w.peer.Public
	if w.view != nil && w.view.From.IsValid() {
		from = w.view.From
	}
	strict := w.Engine.SourceCheck == "strict"
	fail := func(ok bool, d encap.Drop, format string, args ...any) {
		w.way(stageEngine, ok, map[string]string{"drop": d.String()}, "%v: %s", d, fmt.Sprintf(format, args...))
	}
	switch {
	case w.direct:
		w.way(stageEngine, true, nil, "not passed if it comes as it goes: direct")
	case w.peer.Drop == encap.WantsWireGuard:
		fail(false, encap.ClearFromWireGuard, "what comes in the clear from a lease that says wireguard is dropped")
	case !w.owns(w.sentAs):
		fail(false, encap.InnerDstNotLocal, "%v is not in this node's subnet %v", w.sentAs, w.subnet())
	case w.peer.Kind == "wireguard":
		w.way(stageEngine, true, nil, "what is sealed with the key of %s may come from %v", w.peer.label(), w.peer.Subnet)
	case from != w.peer.Public:
		fail(!strict, encap.OuterSrcUnknown, "it comes from %v, the lease of %s says %v; source check: %s", from, w.peer.label(), w.peer.Public, w.Engine.SourceCheck)
	default:
		w.way(stageEngine, true, nil, "%v may come from %v: it is in its lease %v (source check: %s)", w.q.Dst, from, w.peer.Subnet, w.Engine.SourceCheck)
	}
}

// backKernel asks for the way from the device to the source, which is where
// reverse path filtering would strike, and for the rules on it.
func (w *walk) backKernel() {
	in := w.device()
	if w.direct {
		in = w.route.Device
	}
	r, err := w.Kernel.Route(w.ctx, Lookup{Dst: w.sentAs, Src: w.q.Dst, In: in})
	switch {
	case err != nil:
		w.way(stageKernel, true, nil, "the route to %v is not known: %v", w.sentAs, err)
		return
	case r.Refuse != "":
		w.way(stageKernel, false, r.facts(), "the kernel drops what comes in by %s: %s", in, r.Refuse)
		return
	case r.Type != "local" && (r.Device == "" || w.ours(r.Device)):
		w.way(stageKernel, false, r.facts(), "%s: no pod has %v", &r, w.sentAs)
		return
	}
	w.way(stageKernel, true, r.facts(), "%s", &r)
	p := Passage{Src: w.q.Dst, Dst: w.sentAs, Proto: w.proto, In: in, Out: r.Device, Reply: true}
	if r.Type == "local" {
		p.Out = ""
	}
	j, err := w.Kernel.Filter(w.ctx, p)
	if err != nil {
		j = Judgement{Verdict: Unknown, Text: fmt.Sprintf("not checked: %v", err)}
	}
	if j.Verdict == Unknown {
		w.backDoubt = j.Text
	}
	w.way(stageRules, j.Verdict != Drop, j.facts(), "%s: %s", j.Verdict, j.Text)
}
