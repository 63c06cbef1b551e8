package ping

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"weft/engine/control"
)

// A court has what is needed for a verdict.
type court struct {
	plan
	by map[string]outcome // by layer; what was not asked for is not there
}

// judge says which layer is the first that fails ("" if none does that matters)
// and what that means.
func judge(p plan, all []outcome) (layer, text string) {
	c := court{plan: p, by: map[string]outcome{}}
	for _, o := range all {
		c.by[o.layer] = o
	}
	if layer, text = c.first(); layer == "" {
		if hole, why := c.hole(); why != "" {
			layer, text = hole, text+"; but "+why
		}
	}
	if c.anyTried() {
		text += c.losses()
	}
	return layer, text
}

func (c *court) tried(layer string) bool {
	o, asked := c.by[layer]
	return asked && o.skipped == ""
}

func (c *court) ok(layer string) bool    { return c.tried(layer) && c.by[layer].answered > 0 }
func (c *court) fails(layer string) bool { return c.tried(layer) && c.by[layer].answered == 0 }

func (c *court) anyTried() bool { return slices.ContainsFunc(layers, c.tried) }

// good names the layers that pass, as in "underlay and engine ok"; empty: none
// does.
func (c *court) good() string {
	var s []string
	for _, l := range layers {
		if c.ok(l) {
			s = append(s, l)
		}
	}
	if len(s) == 0 {
		return ""
	}
	return and(s) + " ok"
}

func and(s []string) string {
	if len(s) == 1 {
		return s[0]
	}
	return strings.Join(s[:len(s)-1], ", ") + " and " + s[len(s)-1]
}

// failing says what passes and that the layer does not, with the reason that
// somebody gave, if anybody did.
func (c *court) failing(layer, causes string) (string, string) {
	s := layer + " fails"
	if g := c.good(); g != "" {
		s = g + ", " + s
	}
	o := c.by[layer]
	if o.cause != "" {
		s += " (" + o.cause + ")"
	}
	switch {
	case o.tooBig:
		causes = fmt.Sprintf("%d bytes are too long for it; --sweep finds what passes", c.size)
	case o.damaged:
		causes = "answers come with other bytes than were sent: a device on the way, or its driver's checksum offload, changes packets"
	case c.size > plainSize:
		causes += fmt.Sprintf("; or only packets of %d bytes are lost: try without --size, or --sweep", c.size)
	}
	return layer, s + ": " + causes
}

// plainSize is the size above which the size itself is suspected, in bytes: what
// every host takes (RFC 791 3.1).
const plainSize = 576

// first finds the first layer that fails.
func (c *court) first() (layer, text string) {
	const underlay, engine, kernel, pod = control.LayerUnderlay, control.LayerEngine, control.LayerKernel, control.LayerPod
	inside := c.ok(engine) || c.ok(kernel) || c.ok(pod) // something passes the tunnel
	switch {
	case !c.anyTried():
		return "", "nothing could be tried: " + c.excuses()
	case c.fails(underlay) && !inside:
		return c.failing(underlay, c.underlayCauses())
	case c.fails(engine):
		return c.failing(engine, c.engineCauses())
	case c.fails(kernel):
		return c.failing(kernel, c.kernelCauses())
	case c.fails(pod):
		return c.failing(pod, c.podCauses())
	case c.fails(underlay):
		return "", c.good() + ", only underlay gets no answer: the underlay, or the peer's firewall, blocks ICMP echo; " +
			"the tunnel works, so there is nothing to worry about"
	}
	text = c.good() + ": all that was tried passes"
	if !inside {
		text += "; the tunnel itself was not tried"
	}
	if s := c.portSilent(); s != "" {
		text += "; " + s
	}
	return "", text
}

// excuses says why layers were not tried.
func (c *court) excuses() string {
	var s []string
	for _, l := range c.layers {
		s = append(s, join(l, cmp.Or(c.by[l].skipped, "not sent")))
	}
	return strings.Join(s, "; ")
}

// port returns the count of datagrams to the tunnel's port; nil: none was sent.
func (c *court) port() *tally {
	o := c.by[control.LayerUnderlay]
	for _, t := range o.ways {
		if t.way.port && t.sent > 0 {
			return t
		}
	}
	return nil
}

// portSilent remarks on a weft node that answers ICMP but no datagrams.
func (c *court) portSilent() string {
	if t := c.port(); t == nil || t.answered > 0 || c.peer.Weft == "" || !c.ok(control.LayerUnderlay) {
		return ""
	}
	return fmt.Sprintf("the peer's port %d gives no answer of its own, though it is a weft node", c.peer.Endpoint.Port())
}

func (c *court) underlayCauses() string {
	to := cmp.Or(c.peer.Endpoint.Addr(), c.peer.Public, c.peer.Public6)
	s := fmt.Sprintf("nothing answers at %s: the host is down, there is no route to it, its lease names a wrong address, or a firewall drops everything", to)
	if !c.tried(control.LayerEngine) && !c.tried(control.LayerKernel) && !c.tried(control.LayerPod) {
		s += "; many firewalls drop ICMP alone, which --layer engine would show"
	}
	return s
}

func (c *court) engineCauses() string {
	if c.ok(control.LayerKernel) || c.ok(control.LayerPod) {
		return "the kernel's packets arrive all the same: by a route past the tunnel (ip route get " +
			c.family.subnet(c.peer).Addr().String() + "), or the peer limits ICMP answers"
	}
	switch t := c.port(); {
	case !c.tried(control.LayerUnderlay):
		return "the underlay was not tried, so it may be the way to the peer, or the peer itself: " + c.refusal()
	case t != nil && t.answered > 0:
		eaten := ""
		if c.peer.Via == "vxlan" {
			eaten = "; or a device on the way drops what looks like VXLAN, which weft doctor tells"
		}
		return fmt.Sprintf("the peer's port %d is reached, so packets are refused there: %s, it holds no lease of ours, "+
			"or its kernel drops the echo (device down, INPUT rules)%s", c.peer.Endpoint.Port(), c.mismatch(), eaten)
	case c.portSilent() != "":
		return fmt.Sprintf("the host answers but its port %d does not: the peer's weft is down, or a firewall drops UDP to that port", c.peer.Endpoint.Port())
	}
	return "the host answers, so " + c.refusal()
}

// refusal is what a reachable host may have against tunnel packets.
func (c *court) refusal() string {
	port := "its port"
	if p := c.peer.Endpoint.Port(); p != 0 {
		port = fmt.Sprintf("UDP port %d", p)
	}
	return fmt.Sprintf("the peer's weft or flanneld is down, a firewall drops %s, or %s", port, c.mismatch())
}

// mismatch is what the two sides may not agree on.
func (c *court) mismatch() string {
	switch c.peer.Via {
	case "wireguard":
		return "keys or pre-shared keys do not match"
	case "vxlan":
		return "the VNI is another there"
	}
	return "the backend is another there"
}

func (c *court) kernelCauses() string {
	switch {
	case c.ok(control.LayerPod):
		return "pods' packets pass, only the tunnel addresses themselves do not answer: OUTPUT and INPUT rules here or INPUT rules there; pods are not harmed"
	case c.ok(control.LayerEngine):
		return "the tunnel works, so it is the kernel here: OUTPUT or INPUT rules, rp_filter, or a route or rule that leads past the tunnel (ip route get " +
			c.family.subnet(c.peer).Addr().String() + ")"
	case c.peer.Via == "direct":
		return "there is no tunnel to this peer: a route of the kernel leads to it (ip route get " + c.family.subnet(c.peer).Addr().String() +
			"), so its ip_forward and rules, rp_filter, or a network between that drops pods' addresses"
	}
	return "the engine was not tried, so it may be the tunnel (" + c.refusal() + ") or the kernel here (rules, rp_filter, a route past the tunnel); --layer engine tells which"
}

func (c *court) podCauses() string {
	s := "the peer's bridge is down, FORWARD rules or ip_forward there, or the pod's own firewall"
	if !c.to.IsValid() {
		s = "the peer's bridge (" + c.family.subnet(c.peer).Addr().Next().String() + ", which is there only while pods are; --to takes a pod's address), " +
			"INPUT rules there"
	}
	switch {
	case c.ok(control.LayerKernel):
		return s + ", or FORWARD rules, masquerading or rp_filter here"
	case c.ok(control.LayerEngine):
		return "the tunnel works, so it is a kernel, here or there: " + s + ", or rules, rp_filter or a route past the tunnel here; --layer kernel tells more"
	}
	return "the tunnel was not tried, so it may be that (" + c.refusal() + ") or a kernel (" + s + "); --layer engine,kernel tells which"
}

// hole finds the first layer where long packets vanish without a word. On the
// underlay this matters only if the tunnel's packets feel it.
func (c *court) hole() (layer, text string) {
	var holes []string
	swept := false
	for _, l := range layers {
		o := c.by[l]
		if o.hole {
			holes = append(holes, l)
		}
		swept = swept || l != control.LayerUnderlay && o.largest > 0
	}
	if len(holes) == 0 {
		return "", ""
	}
	which := fmt.Sprintf("packets of more than %d bytes", c.by[holes[0]].largest)
	if c.by[holes[0]].largest == 0 {
		which = "packets that may not be fragmented"
	}
	text = which + " vanish and nobody says so (a black hole): a link on the way has a smaller MTU than the hosts believe, " +
		"or a firewall drops \"fragmentation needed\""
	if len(holes) == 1 && holes[0] == control.LayerUnderlay && swept {
		return "", "on the underlay " + text + "; the tunnel's packets are short enough"
	}
	return holes[0], "in the layer " + holes[0] + " " + text
}

// losses remarks on layers that pass but lose packets.
func (c *court) losses() string {
	var s []string
	for _, l := range layers {
		o := c.by[l]
		for _, t := range o.ways {
			if lost := t.sent - t.answered; t.answered > 0 && lost > 0 {
				s = append(s, fmt.Sprintf("%s %d of %d", through(l, t.way), lost, t.sent))
			}
		}
	}
	if len(s) == 0 {
		return ""
	}
	return "; lost: " + strings.Join(s, ", ")
}

func through(layer string, w *way) string {
	if w.name == "" {
		return layer
	}
	return layer + " (" + w.name + ")"
}
