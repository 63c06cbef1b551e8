package metrics

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"weft/engine/control"
)

// Info describes a metric.
type Info struct {
	Name   string
	Type   string   // counter or gauge
	Labels []string // in the order of their values
	Help   string   // its meaning
}

// A sink takes one sample of a metric, with the values of its labels.
type sink func(value float64, labels ...string)

// A metric is a row of the table.
type metric struct {
	name   string
	kind   prometheus.ValueType
	labels []string
	help   string
	read   func(*snapshot, sink)
}

// A snapshot is what the samples of one scrape are read from.
type snapshot struct {
	control.Status
	shown   []shownPeer // those with series of their own
	omitted int         // peers without
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

// all is the whole table.
func all() []metric {
	var t []metric
	for _, part := range [...][]metric{nodeMetrics, trafficMetrics, storeMetrics, peerMetrics} {
		t = append(t, part...)
	}
	return t
}

// Names lists the metrics of a node, without those of the process and of the Go
// runtime.
func Names() (names []Info) {
	for _, m := range all() {
		kind := "gauge"
		if m.kind == counter {
			kind = "counter"
		}
		names = append(names, Info{m.name, kind, m.labels, m.help})
	}
	return names
}

// Table writes [Names] as a Markdown table.
func Table() string {
	var b strings.Builder
	b.WriteString("| name | type | labels | meaning |\n|---|---|---|---|\n")
	for _, n := range Names() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", n.Name, n.Type, strings.Join(n.Labels, ", "), n.Help)
	}
	return b.String()
}

// is is a condition as a sample.
func is(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// one makes a reader of a metric that has one sample always.
func one(value func(*snapshot) float64) func(*snapshot, sink) {
	return func(s *snapshot, out sink) { out(value(s)) }
}
