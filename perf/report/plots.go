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
		planes := r.drawn(p.subjects)
		for _, plane := range planes {
			drawing.series = append(drawing.series, plane.Name)
		}
		for _, s := range p.subjects {
			drawing.groups = append(drawing.groups, r.groups(s, planes)...)
		}
		if len(drawing.groups) > 0 {
			files[p.file] = drawing.svg()
		}
	}
	return files
}

// drawn lists the planes that at least one of the loads was made on.
func (r *Result) drawn(subjects []subject) []Plane {
	var list []Plane
	for _, p := range r.Planes {
		if len(p.Loads) == 0 || slices.ContainsFunc(subjects, func(s subject) bool { return slices.Contains(p.Loads, s.load) }) {
			list = append(list, p)
		}
	}
	return list
}

// groups makes one group of bars per wire over which there are values.
func (r *Result) groups(s subject, planes []Plane) []group {
	var groups []group
	for _, wire := range r.wires() {
		g := group{label: s.label + " (" + wire + ")"}
		for _, p := range planes {
			g.bars = append(g.bars, r.Summary(wire, p.Name, s.load, s.key))
		}
		if slices.ContainsFunc(g.bars, func(s Summary) bool { return s.N > 0 }) {
			groups = append(groups, g)
		}
	}
	return groups
}
