package report

import "slices"

// A subject is one value of one load that a plot shows.
type subject struct {
	load, key, label string
}

// plots lists the files of plots and what each shows.
var plots = []struct {
	file, title, unit string
	subjects          []subject
}{
	{"throughput.svg", "TCP throughput between pods", "Gbit/s", []subject{
		{TCP1, Gbps, "1 stream"}, {TCP1NoDelay, Gbps, "no delay"}, {TCP4, Gbps, "4 streams"},
	}},
	{"packets.svg", "UDP packets received", "10³/s", []subject{
		{UDP64, Kpps, "64 bytes"}, {UDP1400, Kpps, "1,400 bytes"},
	}},
	{"latency.svg", "Round trip of an idle connection, median", "µs", []subject{
		{RR, P50, "TCP, 1 byte"}, {PingPong, P50, "UDP, 64 bytes"},
	}},
	{"latency-loaded.svg", "Round trip while a TCP stream runs", "µs", []subject{
		{RRLoaded, P50, "p50"}, {RRLoaded, P99, "p99"},
	}},
	{"cost.svg", "Processor time of the whole machine, TCP", "s/GB", []subject{
		{TCP1, CPUPerGB, "1 stream"}, {TCP4, CPUPerGB, "4 streams"},
	}},
}

// Plots draws the plots of a result, by file name. Plots of which nothing was
// measured are left out.
func Plots(r *Result) map[string]string {
	files := make(map[string]string)
	for _, p := range plots {
		drawing := plot{title: p.title, unit: p.unit}
		for _, plane := range r.Planes {
			drawing.series = append(drawing.series, plane.Name)
		}
		for _, s := range p.subjects {
			drawing.groups = append(drawing.groups, r.groups(s)...)
		}
		if len(drawing.groups) > 0 {
			files[p.file] = drawing.svg()
		}
	}
	return files
}

// groups makes one group of bars per wire over which there are values.
func (r *Result) groups(s subject) []group {
	var groups []group
	for _, wire := range r.wires() {
		g := group{label: s.label + " (" + wire + ")"}
		for _, p := range r.Planes {
			g.bars = append(g.bars, r.Summary(wire, p.Name, s.load, s.key))
		}
		if slices.ContainsFunc(g.bars, func(s Summary) bool { return s.N > 0 }) {
			groups = append(groups, g)
		}
	}
	return groups
}
