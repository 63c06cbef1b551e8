package explain

import (
	"fmt"
	"net/netip"
	"strconv"

	"weft/encap"
)

// kernel asks where the kernel sends the packet.
func (w *walk) kernel() bool {
	if !w.locate() {
		return false
	}
	l := Lookup{Dst: w.q.Dst, In: w.in}
	if w.in != "" || w.source.Type == "local" {
		l.Src = w.q.Src // the kernel has no way for a packet of its own from an address that is not
	}
	var err error
	if w.route, err = w.Kernel.Route(w.ctx, l); err != nil {
		w.step(stageKernel, nil, "the route is not known: %v", err)
		return true
	}
	r := &w.route
	w.step(stageKernel, r.facts(), "%s", r)
	switch {
	case r.Refuse != "":
		return w.stop(Drop, encap.Delivered, "DROP by the kernel, before weft: %s", r.Refuse)
	case r.Type == "local":
		return w.stop(NotOurs, encap.Delivered, "NOT OURS: %v is this host's own address, the kernel delivers it here", w.q.Dst)
	case r.Device == "":
		return w.noRoute()
	case w.ours(r.Device):
		return true
	case w.found && w.peer.Direct && (r.Via == w.peer.Public || !r.Via.IsValid() && r.Type == "unicast"):
		w.direct = true
		return true
	}
	return w.elsewhere()
}

// locate finds out where the packet comes from, and whether it is forwarded.
func (w *walk) locate() bool {
	s, err := w.Kernel.Route(w.ctx, Lookup{Dst: w.q.Src})
	switch {
	case err != nil:
		w.step(stageKernel, nil, "where %v is, is not known: %v", w.q.Src, err)
		w.here = w.owns(w.q.Src)
		return true
	case s.Type == "local":
		w.here = true
	case s.Type == "unicast" && !w.ours(s.Device):
		w.in, w.here = s.Device, w.owns(w.q.Src) || !w.network().Contains(w.q.Src)
	case w.owns(w.q.Src):
		w.here = true
		w.step(stageKernel, s.facts(), "no interface of this node leads to %v: it has no such pod; %s", w.q.Src, &s)
	}
	w.source = s
	if w.in == "" {
		return true
	}
	name := "net/ipv4/conf/" + w.in + "/forwarding"
	if w.q.Dst.Is6() {
		name = "net/ipv6/conf/all/forwarding"
	}
	if v, err := w.Kernel.Sysctl(name); err == nil && v == "0" {
		w.step(stageKernel, map[string]string{"sysctl": name, "value": v}, "sysctl %s is 0", name)
		return w.stop(Drop, encap.Delivered, "DROP by the kernel, before weft: it does not forward what comes in by %s; set sysctl %s to 1", w.in, name)
	}
	return true
}

// noRoute deals with a packet that the kernel sends nowhere.
func (w *walk) noRoute() bool {
	if w.owns(w.q.Dst) {
		return w.stop(Drop, encap.Delivered, "DROP by the kernel, before weft: %v is in this node's own subnet and no pod has it", w.q.Dst)
	}
	return w.stop(Drop, encap.Delivered, "DROP by the kernel, before weft: %s to %v", &w.route, w.q.Dst)
}

// elsewhere deals with a packet that does not enter our device.
func (w *walk) elsewhere() bool {
	r := &w.route
	switch {
	case w.owns(w.q.Dst):
		return w.stop(NotOurs, encap.Delivered, "NOT OURS: %v is in this node's own subnet, the kernel delivers it by %s", w.q.Dst, r.Device)
	case w.q.Dst.IsMulticast() || w.q.Dst.IsLinkLocalUnicast():
		return w.stop(NotOurs, encap.Delivered, "NOT OURS: %v leaves by %s; the overlay carries neither multicast nor link-local packets", w.q.Dst, r.Device)
	case !w.found && !w.network().Contains(w.q.Dst):
		return w.stop(NotOurs, encap.Delivered, "NOT OURS: %v is not in the overlay %v, the kernel sends it by %s", w.q.Dst, w.network(), r.Device)
	}
	why := ""
	switch n := w.network(); {
	case r.Dst.IsValid() && r.Dst.Bits() > n.Bits() && n.Overlaps(r.Dst):
		why = ", which is more specific than " + n.String()
	case r.Table != "" && r.Table != "main":
		why = " of table " + r.Table
	}
	return w.stop(NotOurs, encap.Delivered, "NOT OURS: the kernel sends it by %s and not by %s, because of the route %v%s",
		r.Device, w.device(), r.Dst, why)
}

// device is the one that the packet is to enter.
func (w *walk) device() string {
	switch {
	case w.found && w.peer.Device != "":
		return w.peer.Device
	case len(w.Node.Devices) > 0:
		return w.Node.Devices[0]
	}
	return "a device of weft"
}

// engine asks the table of the data plane.
func (w *walk) engine() bool {
	if w.direct {
		w.step(stageEngine, w.peer.facts(), "not passed: the way to %s is direct", w.peer.label())
		return true
	}
	if !w.found {
		return w.unrouted()
	}
	w.step(stageEngine, w.peer.facts(), "lookup %v → %s", w.q.Dst, w.lease())
	if d := w.peer.Drop; d != encap.Delivered {
		return w.stop(Drop, d, "DROP %v: %s", d, w.whyDropped(d))
	}
	if !w.Engine.Open {
		return w.stop(Drop, encap.Delivered, "DROP: the data plane is not open, nothing reads from %s", w.device())
	}
	return true
}

// whyDropped says why nothing is sent to the peer.
func (w *walk) whyDropped(d encap.Drop) string {
	who := w.peer.label()
	switch d {
	case encap.WantsWireGuard:
		return who + " asks for wireguard, which this node does not speak, and nothing goes to it in the clear"
	case encap.NotWireGuard:
		return "this node speaks wireguard only, and the lease of " + who + " asks for another backend"
	case encap.NoFamily:
		return "this node has no socket of the address family of " + who
	case encap.WGNoSession:
		return "the tunnel to " + who + " is not open"
	}
	return "nothing is sent to " + who
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// unrouted gives the reason why the engine has no way for the packet, in the
// order in which the data plane looks for one.
func (w *walk) unrouted() bool {
	dst := w.q.Dst
	w.step(stageEngine, nil, "lookup %v → no lease", dst)
	switch {
	case dst.IsMulticast(), dst == broadcast:
		return w.stop(Drop, encap.Multicast, "DROP %v: the overlay carries unicast only", encap.Multicast)
	case dst.IsLinkLocalUnicast(), w.q.Src.IsLinkLocalUnicast():
		return w.stop(Drop, encap.LinkLocal, "DROP %v: link-local addresses mean nothing on another node", encap.LinkLocal)
	case w.owns(dst):
		return w.stop(Drop, encap.OwnSubnet, "DROP %v: %v is in this node's own subnet, but the kernel routes it into %s; is there no pod with it?",
			encap.OwnSubnet, dst, w.device())
	case !w.Listed:
		return w.stop(Drop, encap.NoRoute, "DROP %v: the leases were not listed yet", encap.NoRoute)
	}
	return w.stop(Drop, encap.NoRoute, "DROP %v: no lease covers %v; no node has that subnet, or its lease has expired", encap.NoRoute, dst)
}

// rules asks the packet filter.
func (w *walk) rules() bool {
	j, err := w.Kernel.Filter(w.ctx, Passage{Src: w.q.Src, Dst: w.q.Dst, Proto: w.proto, Port: w.q.Port, In: w.in, Out: w.route.Device})
	if err != nil {
		j = Judgement{Verdict: Unknown, Text: fmt.Sprintf("not checked: %v", err)}
	}
	if j.Verdict == Unknown {
		w.doubt = j.Text
	}
	w.step(stageRules, j.facts(), "%s: %s", j.Verdict, j.Text)
	if j.Verdict == Drop {
		return w.stop(Drop, encap.Delivered, "DROP by the packet filter, before weft: %s", j.Text)
	}
	return true
}

// facts are those of a judgement, for programs: certain is false where the
// verdict of the whole is one only if the packet filter lets the packet pass.
func (j Judgement) facts() map[string]string {
	return map[string]string{"verdict": j.Verdict, "certain": strconv.FormatBool(j.Verdict != Unknown)}
}

// facts are those of a route, for programs.
func (r *Route) facts() map[string]string {
	m := map[string]string{"type": r.Type}
	for k, v := range map[string]string{"device": r.Device, "table": r.Table, "refuse": r.Refuse} {
		if v != "" {
			m[k] = v
		}
	}
	if r.Dst.IsValid() {
		m["route"] = r.Dst.String()
	}
	if r.Via.IsValid() {
		m["via"] = r.Via.String()
	}
	if r.Rule != 0 {
		m["rule"] = strconv.Itoa(r.Rule)
	}
	return m
}
