package status

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"weft/engine/control"
)

// A view is one answer of the node, and the one before it if rates are wanted.
type view struct {
	now    control.Status
	before *control.Status
}

// lines is the whole screen: the first part stays where it is when the rest is
// scrolled.
func (v view) lines() (head, rest []line) {
	head = append(head, v.node())
	head = append(head, v.health()...)
	for _, l := range []line{v.wire(), v.engine(), v.load(), v.leases(), v.drops()} {
		if l != nil {
			head = append(head, l)
		}
	}
	head = append(head, v.also()...)
	if t := v.peers(); len(t) > 1 {
		all := t.lines()
		head = append(head, nil, all[0])
		rest = all[1:]
	}
	if t := v.refused(); len(t) > 1 {
		rest = append(append(rest, nil), t.lines()...)
	}
	return head, rest
}

// heading begins a line of the upper part.
func heading(name string) line { return line{{fmt.Sprintf("%-6s", name), bold}} }

// each is a line for each item, the first one with the heading.
func each(name string, c color, items []string) (list []line) {
	for _, item := range items {
		l := heading(name)
		l.add(item, c)
		list, name = append(list, l), ""
	}
	return list
}

func (v view) node() line {
	n := v.now.Node
	l := heading("node")
	l.add(cmp.Or(n.Name, "?"), normal)
	l.add(cmp.Or(join(n.Subnet, n.Subnet6), "no subnet yet"), normal)
	l.add("up "+durationText(v.now.Time.Sub(n.Started)), normal)
	l.add(fmt.Sprintf("weft %s %s", n.Version, n.Platform), faint)
	return l
}

// wire tells of the underlay; nil: none is chosen yet.
func (v view) wire() line {
	n := v.now.Node
	if n.Iface == "" {
		return nil
	}
	l := heading("wire")
	l.add(fmt.Sprintf("%s mtu %d", n.Iface, n.IfaceMTU), normal)
	if n.Nested != "" {
		l.add("itself a tunnel: "+n.Nested, yellow)
	}
	if a := join(n.Public, n.Public6); a != "" {
		l.add("public "+a, normal)
	}
	if n.IfaceWhy != "" {
		l.add("("+n.IfaceWhy+")", faint)
	}
	return l
}

// healthColor is how a health looks.
func healthColor(h control.Health) color {
	switch h {
	case control.OK:
		return green
	case control.Degraded:
		return yellow
	}
	return red
}

func (v view) health() []line {
	texts := []string{string(v.now.Health)}
	for i, cause := range v.now.Causes {
		if i == 0 {
			texts[0] += ": " + cause
		} else {
			texts = append(texts, cause)
		}
	}
	return each("state", healthColor(v.now.Health), texts)
}

// engine is what the data plane is made of.
func (v view) engine() line {
	e, n := v.now.Engine, v.now.Node
	l := heading("engine")
	if !e.Open {
		l.add("not open", red)
	}
	for _, device := range n.Devices {
		l.add(fmt.Sprintf("%s %s mtu %d", n.Backend, device, n.MTU), normal)
	}
	if len(e.Features) > 0 {
		l.add("with "+strings.Join(e.Features, " "), normal)
	}
	if len(e.Off) > 0 {
		l.add("without "+strings.Join(e.Off, " "), faint)
	}
	return l
}

// load is what the data plane carries, and takes; nil: it is not open.
func (v view) load() line {
	e := v.now.Engine
	if !e.Open {
		return nil
	}
	l := heading("load")
	l.add("rx "+v.traffic(e.In, func(s *control.Status) control.Traffic { return s.Engine.In }), normal)
	l.add("tx "+v.traffic(e.Out, func(s *control.Status) control.Traffic { return s.Engine.Out }), normal)
	l.add(v.cpu(), normal)
	l.add("memory "+exactBytes(e.Memory), normal)
	return l
}

func (v view) leases() line {
	s := v.now.Store
	l := heading("leases")
	l.add(strings.TrimSpace(s.Kind+" "+s.Where), normal)
	if s.Connected {
		l.add("connected", green)
	} else {
		l.add("not connected, last contact "+ago(v.now.Time, s.Contact), yellow)
	}
	l.add(plural(s.Leases, "lease"), normal)
	if !s.Expires.IsZero() {
		l.add("own "+until(v.now.Time, s.Expires), normal)
	}
	if !s.Changed.IsZero() {
		l.add("last change "+ago(v.now.Time, s.Changed), normal)
	}
	const skewed = 2.0 // seconds
	if k := s.ClockSkew; k != nil && (*k > skewed || *k < -skewed) {
		l.add(fmt.Sprintf("its clock is %+.0fs off ours", *k), yellow)
	}
	if s.Error != "" {
		l.add(s.Error, yellow)
	}
	return l
}

// drops sums up, with the most frequent reasons; nil: there were none.
func (v view) drops() line {
	var sum uint64
	var reasons []string
	const shown = 4
	for i, d := range v.now.Drops {
		sum += d.In + d.Out
		if i < shown {
			reasons = append(reasons, fmt.Sprintf("%s %d", d.Reason, d.In+d.Out))
		}
	}
	if sum == 0 {
		return nil
	}
	if more := len(v.now.Drops) - shown; more > 0 {
		reasons = append(reasons, fmt.Sprintf("and %d more", more))
	}
	l := heading("drops")
	up := durationText(v.now.Time.Sub(v.now.Node.Started))
	l.add(fmt.Sprintf("%d in %s: %s", sum, up, strings.Join(reasons, ", ")), normal)
	l.add("← weft drops", faint)
	return l
}

// also tells what is seldom worth telling.
func (v view) also() []line {
	e := v.now.Engine
	var items []string
	for _, p := range e.Ports {
		if p.Drops > 0 {
			items = append(items, fmt.Sprintf("%d datagrams found the receive buffer of %s full", p.Drops, p.Address))
		}
	}
	for _, r := range e.Repairs {
		if r.Count > 0 {
			items = append(items, fmt.Sprintf("%s put right %s", r.What, times(r.Count)))
		}
	}
	if e.Traces > 0 {
		items = append(items, fmt.Sprintf("%s running, %d records lost", plural(e.Traces, "trace"), e.TraceLost))
	}
	if e.SourceCheck != "" && e.SourceCheck != "strict" {
		items = append(items, "source check "+e.SourceCheck)
	}
	return each("also", normal, items)
}

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// join puts the values of two families side by side.
func join[T netip.Addr | netip.Prefix](a, b T) string {
	var list []string
	var zero T
	for _, x := range []T{a, b} {
		if x != zero {
			list = append(list, fmt.Sprint(x))
		}
	}
	return strings.Join(list, " ")
}
