package metrics

import (
	"net/netip"
	"runtime"

	"weft/encap"
	"weft/engine/control"
)

// nodeMetrics say what the node is and how it fares.
var nodeMetrics = []metric{
	{"weft_build_info", gauge, []string{"version", "platform", "goversion"},
		"Always 1; the labels name the build.",
		func(s *snapshot, out sink) { out(1, s.Node.Version, s.Node.Platform, runtime.Version()) }},
	{"weft_node_info", gauge, []string{"node", "backend", "iface", "subnet", "subnet6", "public", "public6", "source_check", "nested"},
		"Always 1; the labels say what the node is. A label is empty where there is no such thing.",
		func(s *snapshot, out sink) {
			n := &s.Node
			out(1, n.Name, n.Backend, n.Iface, text(n.Subnet), text(n.Subnet6), addr(n.Public), addr(n.Public6), s.Engine.SourceCheck, n.Nested)
		}},
	{"weft_up", gauge, nil, "1 if the node carries packets, even if something is wrong; 0 if it does not.",
		one(func(s *snapshot) float64 { return is(s.Health == control.OK || s.Health == control.Degraded) })},
	{"weft_health", gauge, []string{"state"}, "1 for the state the node is in (ok, degraded or down), 0 for the others.",
		func(s *snapshot, out sink) {
			for _, h := range [...]control.Health{control.OK, control.Degraded, control.Down} {
				out(is(s.Health == h), string(h))
			}
		}},
	{"weft_engine_open", gauge, nil, "1 if the data plane has its device and its ports.",
		one(func(s *snapshot) float64 { return is(s.Engine.Open) })},
	{"weft_feature_enabled", gauge, []string{"feature"}, "1 for each capability of the kernel in use, 0 for each that is not: switched off, or refused.",
		features},
	{"weft_mtu_bytes", gauge, nil, "MTU of the node's overlay devices.",
		one(func(s *snapshot) float64 { return float64(s.Node.MTU) })},
	{"weft_underlay_mtu_bytes", gauge, []string{"iface"}, "MTU of the interface that datagrams leave by.",
		func(s *snapshot, out sink) { out(float64(s.Node.IfaceMTU), s.Node.Iface) }},
	{"weft_repairs_total", counter, []string{"what"}, "Things in the kernel that others broke and the node put right.",
		func(s *snapshot, out sink) {
			for _, r := range s.Engine.Repairs {
				out(float64(r.Count), r.What)
			}
		}},
	{"weft_trace_sessions", gauge, nil, "Traces that run now.",
		one(func(s *snapshot) float64 { return float64(s.Engine.Traces) })},
	{"weft_trace_records_lost_total", counter, nil, "Records that traces lost because their reader was too slow.",
		one(func(s *snapshot) float64 { return float64(s.Engine.TraceLost) })},
}

// trafficMetrics say what was carried and what was not.
var trafficMetrics = []metric{
	{"weft_packets_total", counter, []string{"direction"}, "Inner packets carried: out, from the pods to the wire, and in.",
		bothWays(func(t *control.Traffic) uint64 { return t.Packets })},
	{"weft_bytes_total", counter, []string{"direction"}, "Bytes of the inner packets carried.",
		bothWays(func(t *control.Traffic) uint64 { return t.Bytes })},
	{"weft_io_calls_total", counter, []string{"direction"}, "Messages (out) and device writes (in) that the packets were carried in.",
		bothWays(func(t *control.Traffic) uint64 { return t.Calls })},
	{"weft_batches_total", counter, []string{"direction"}, "Times that a loop of the data plane found packets to carry.",
		bothWays(func(t *control.Traffic) uint64 { return t.Batches })},
	{"weft_drops_total", counter, []string{"direction", "reason"}, "Packets that were not delivered, by reason; every reason is there from the start.",
		drops},
	{"weft_socket_drops_total", counter, []string{"kind", "address"}, "Datagrams that found a port's receive buffer full.",
		socketDrops},
	{"weft_tun_queue_drops_total", counter, nil, "Packets that found the device's queue full: the drops of the reason tun_queue_full.",
		one(func(s *snapshot) float64 {
			for _, d := range s.Drops {
				if d.Reason == encap.TunQueueFull.String() {
					return float64(d.Out + d.In)
				}
			}
			return 0
		})},
	{"weft_icmp_answers_total", counter, nil, "ICMP errors sent on behalf of the overlay.",
		one(func(s *snapshot) float64 { return float64(s.Engine.Answers) })},
}

// bothWays makes a reader of what both directions have.
func bothWays(of func(*control.Traffic) uint64) func(*snapshot, sink) {
	return func(s *snapshot, out sink) {
		out(float64(of(&s.Engine.Out)), "out")
		out(float64(of(&s.Engine.In)), "in")
	}
}

func features(s *snapshot, out sink) {
	seen := map[string]bool{}
	for i, names := range [...][]string{s.Engine.Features, s.Engine.Off} {
		for _, name := range names {
			if !seen[name] {
				seen[name] = true
				out(is(i == 0), name)
			}
		}
	}
}

// drops gives all reasons, those that did not occur with 0.
func drops(s *snapshot, out sink) {
	occurred := make(map[string]*control.Drops, len(s.Drops))
	for i := range s.Drops {
		occurred[s.Drops[i].Reason] = &s.Drops[i]
	}
	for d := encap.Delivered + 1; d < encap.NumDrops; d++ {
		var o, in uint64
		if x := occurred[d.String()]; x != nil {
			o, in = x.Out, x.In
		}
		out(float64(o), "out", d.String())
		out(float64(in), "in", d.String())
	}
}

// socketDrops adds up ports that share a kind and an address, as VXLAN networks
// of several VNIs may.
func socketDrops(s *snapshot, out sink) {
	type port struct {
		kind    string
		address netip.AddrPort
	}
	sum := map[port]uint64{}
	for _, p := range s.Engine.Ports {
		sum[port{p.Kind, p.Address}] += p.Drops
	}
	for p, n := range sum {
		out(float64(n), p.kind, p.address.String())
	}
}

// text is a prefix as a label's value.
func text(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// addr is an address as a label's value.
func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
