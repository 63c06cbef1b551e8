package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weft/encap"
	"weft/engine/control"
	"weft/engine/trace"
)

// trafficRows are the checks of what is dropped.
var trafficRows = []row{
	{"drops", "what is dropped, most of it first", checkDrops},
	{"wrong-vni", "no frames of another VXLAN network", checkVNI},
	{"spoof", "no packets with a source that is not their sender's", checkSpoof},
	{"stranger", "no datagrams of hosts that hold no lease", checkStranger},
}

const (
	recent   = 10 * time.Minute // a drop that long ago is history
	topDrops = 5
)

// harmless are reasons that hosts give rise to by themselves: multicast of
// mDNS, router solicitations, neighbour discovery.
var harmless = []string{encap.Multicast.String(), encap.LinkLocal.String(), encap.Neighbour.String()}

func checkDrops(v *visit) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	var list []control.Check
	for i, d := range v.Status.Drops {
		if i == topDrops {
			list = append(list, info("%d more reasons: weft drops", len(v.Status.Drops)-i)...)
			break
		}
		c := control.Check{Verdict: control.Info, Text: dropText(v, d), Cause: d.Meaning}
		if v.fresh(d) && !slices.Contains(harmless, d.Reason) {
			c.Verdict, c.Fix = control.Warn, d.Hint
		}
		list = append(list, c)
	}
	return found(list, pass("nothing was dropped"))
}

func dropText(v *visit, d control.Drops) string {
	var words []string
	if d.Out > 0 {
		words = append(words, fmt.Sprintf("%d out", d.Out))
	}
	if d.In > 0 {
		words = append(words, fmt.Sprintf("%d in", d.In))
	}
	text := d.Reason + " " + strings.Join(words, ", ")
	if !d.Latest.IsZero() {
		text += ", last " + span(v.Now().Sub(d.Latest)) + " ago"
	}
	return text
}

// fresh reports whether packets are dropped for this reason these days. A
// reason that the flight recorder does not see is taken for fresh.
func (v *visit) fresh(d control.Drops) bool {
	return d.Latest.IsZero() || v.Now().Sub(d.Latest) < recent
}

// count returns what was dropped for a reason.
func (v *visit) count(reason encap.Drop) (control.Drops, bool) {
	i := slices.IndexFunc(v.Status.Drops, func(d control.Drops) bool { return d.Reason == reason.String() })
	if i < 0 {
		return control.Drops{}, false
	}
	return v.Status.Drops[i], true
}

// records calls f for what the flight recorder holds of a reason.
func (v *visit) records(reason encap.Drop, f func(*trace.Record)) {
	for i := range v.Drops {
		if v.Drops[i].Drop == reason {
			f(&v.Drops[i])
		}
	}
}

// seen lists what f makes of the records of a reason, once each and sorted.
func (v *visit) seen(reason encap.Drop, f func(*trace.Record) string) string {
	set := map[string]bool{}
	v.records(reason, func(r *trace.Record) {
		if text := f(r); text != "" {
			set[text] = true
		}
	})
	if len(set) == 0 {
		return ""
	}
	return ": " + some(slices.Sorted(maps.Keys(set)))
}

// judgeDrop is a check of one reason. Old drops are worth knowing, fresh ones
// are warned of.
func (v *visit) judgeDrop(reason encap.Drop, good, what, cause, fix string, f func(*trace.Record) string) []control.Check {
	if v.Status == nil {
		return v.noDaemon()
	}
	d, ok := v.count(reason)
	if !ok {
		return pass("%s", good)
	}
	text := fmt.Sprintf("%s %s%s", plural(int(d.In+d.Out), "packet"), what, v.seen(reason, f))
	if !v.fresh(d) {
		return info("%s; the last %s ago", text, span(v.Now().Sub(d.Latest)))
	}
	return warn(text, cause, fix)
}

func checkVNI(v *visit) []control.Check {
	own := "another"
	if v.Status != nil {
		for _, p := range v.Status.Engine.Ports {
			if p.Kind == "vxlan" {
				own = fmt.Sprint(p.VNI)
			}
		}
	}
	return v.judgeDrop(encap.VXLANVNI, "no frames of another VXLAN network", "came with a VNI that is not "+own,
		"the sender's net-conf.json has another VNI, or another overlay uses this port",
		"set the same Backend.VNI in net-conf.json for all nodes, or another Port for the other overlay",
		func(r *trace.Record) string { return fmt.Sprintf("VNI %d from %s", r.VNI, r.Remote.Addr()) })
}

func checkSpoof(v *visit) []control.Check {
	return v.judgeDrop(encap.InnerSrcNotLeased, "every source was its sender's", "had a source that is not in their sender's lease",
		"the sender forwards for others (a gateway, a host with several interfaces, pods of a subnet it lost), or forges",
		"look at them with `weft drops`; if the sender is to be trusted, let its pods use its own subnet, or start this node with --source-check=report",
		func(r *trace.Record) string {
			if src := innerSource(r); src.IsValid() {
				return fmt.Sprintf("%s from %s", src, r.Remote.Addr())
			}
			return ""
		})
}

func checkStranger(v *visit) []control.Check {
	return v.judgeDrop(encap.OuterSrcUnknown, "every datagram was a node's", "came from hosts that hold no lease",
		"a node sends from another address than it registered, its lease is gone, or a stranger sends",
		"if it is a node: start it with the --iface or --public-ip that it sends from; else keep the port closed to others",
		func(r *trace.Record) string { return r.Remote.Addr().String() })
}

// innerSource reads the source of a record's inner packet; zero if it is not
// there.
func innerSource(r *trace.Record) netip.Addr {
	p := r.Inner()
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(p[12:16]))
	case len(p) >= 40 && p[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(p[8:24]))
	}
	return netip.Addr{}
}

// sentFrom returns the address that a peer's packets came from though its lease
// names another: the outer source of dropped datagrams that held a packet of
// the peer's subnet.
func (v *visit) sentFrom(p control.Peer) (from netip.Addr) {
	v.records(encap.OuterSrcUnknown, func(r *trace.Record) {
		src := innerSource(r)
		if src.IsValid() && (p.Subnet.Contains(src) || p.Subnet6.Contains(src)) {
			from = cmp.Or(from, r.Remote.Addr())
		}
	})
	return from
}
