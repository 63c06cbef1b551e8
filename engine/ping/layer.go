package ping

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"weft/engine/control"
)

// A layer is what is to be tried under one name.
type layer struct {
	name string
	ways []*way // none: skip says why
	skip string
	text string // from where to where
}

func (l *layer) close() {
	for _, w := range l.ways {
		if w.close != nil {
			w.close()
		}
	}
}

// skipped is a layer that cannot be tried.
func skipped(name, format string, args ...any) layer {
	return layer{name: name, skip: fmt.Sprintf(format, args...)}
}

// layer finds out how the layer with this name is to be tried.
func (r *runner) layer(name string) layer {
	switch name {
	case control.LayerUnderlay:
		return r.underlay()
	case control.LayerEngine:
		return r.engine()
	case control.LayerKernel:
		return r.kernel()
	}
	return r.pod()
}

// outer is where the peer's datagrams go.
func (r *runner) outer() netip.Addr {
	return cmp.Or(r.peer.Endpoint.Addr(), r.peer.Public, r.peer.Public6).Unmap()
}

func (r *runner) underlay() layer {
	to := r.outer()
	if !to.IsValid() {
		return skipped(control.LayerUnderlay, "the lease of the peer names no outer address")
	}
	from := familyOf(to).pick(r.facts.Outer)
	l := layer{name: control.LayerUnderlay, text: between(from, to)}
	if w := r.handshake(time.Now()); w != "" {
		l.text += ", " + w
	}
	l.ways = append(l.ways, r.icmpWay("icmp", from, to))
	if r.facts.Underlay != nil && r.peer.Endpoint.Port() != 0 && r.peer.Via != "direct" && !r.sized && !r.df {
		l.ways = append(l.ways, r.portWay())
	}
	return l
}

// handshake says how it stands with the peer's WireGuard session.
func (r *runner) handshake(now time.Time) string {
	if r.peer.Via != "wireguard" {
		return ""
	}
	var s []string
	if r.peer.Handshake.IsZero() {
		s = append(s, "no WireGuard handshake yet")
	} else {
		s = append(s, fmt.Sprintf("latest WireGuard handshake %v ago", now.Sub(r.peer.Handshake).Round(time.Second)))
	}
	if a := r.peer.Answers; a != nil && !*a {
		s = append(s, "handshakes are not answered")
	}
	return strings.Join(s, ", ")
}

func (r *runner) engine() layer {
	switch {
	case r.peer.Via == "direct":
		return skipped(control.LayerEngine, "the peer is reached by a route of the kernel, past the tunnel")
	case r.facts.Engine == nil:
		return skipped(control.LayerEngine, "this node makes no echoes of its own")
	}
	to := r.family.subnet(r.peer).Addr()
	return layer{name: control.LayerEngine, text: between(r.family.pick(r.facts.Self), to), ways: []*way{r.engineWay(to)}}
}

func (r *runner) kernel() layer {
	from, to := r.family.pick(r.facts.Self), r.family.subnet(r.peer).Addr()
	if !from.IsValid() {
		return skipped(control.LayerKernel, "this node has no tunnel address of %s", r.family)
	}
	return layer{name: control.LayerKernel, text: between(from, to), ways: []*way{r.icmpWay("", from, to)}}
}

func (r *runner) pod() layer {
	from, to := r.from, r.to
	if !to.IsValid() {
		to = r.family.subnet(r.peer).Addr().Next()
	}
	if !from.IsValid() {
		var err error
		if from, err = r.bridge(); err != nil {
			return skipped(control.LayerPod, "%v", err)
		}
	}
	return layer{name: control.LayerPod, text: between(from, to), ways: []*way{r.icmpWay("", from, to)}}
}

// bridge returns the address in our own subnet that some interface has which is
// not the tunnel's.
func (r *runner) bridge() (netip.Addr, error) {
	have, err := r.locals()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("addresses of this host: %w", err)
	}
	subnet := netip.Prefix{}
	for _, s := range r.facts.Subnets {
		if familyOf(s.Addr()) == r.family {
			subnet = s
		}
	}
	if !subnet.IsValid() {
		return netip.Addr{}, fmt.Errorf("this node has no %s subnet", r.family)
	}
	for _, a := range have {
		if subnet.Contains(a.addr) && !a.on(r.facts.Devices) {
			return a.addr, nil
		}
	}
	return netip.Addr{}, errors.New("no interface here but the tunnel's has an address in " + subnet.String() +
		": the bridge comes with the first pod; --from takes another address of this host")
}

func between(from, to netip.Addr) string {
	if !from.IsValid() {
		return "to " + to.String()
	}
	return from.String() + " to " + to.String()
}
