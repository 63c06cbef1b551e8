package report

import (
	"fmt"
	"strings"
)

// A Figure is a goal that the project has set itself: a ratio of two planes, or
// a value of one.
type Figure struct {
	Title  string
	Load   string
	Key    string
	Plane  string
	By     string // what Plane's value is divided by; "" for the value itself
	Wire   string
	Goal   float64
	AtMost bool // what is measured should be at most Goal, not at least
}

// Figures are the goals of the data planes of UDP, VXLAN and WireGuard. The
// load's sender is on the host that a plane of two kinds of hosts names first.
// WireGuard's memory is that of the load which is measured first of all, when
// no other has left anything in the heap.
var Figures = []Figure{
	{"TCP 1 stream, weft-udp ÷ kernel-vxlan", TCP1, Gbps, "weft-udp", "kernel-vxlan", "gso", 0.75, false},
	{"TCP 1 stream, weft-udp ÷ kernel-vxlan", TCP1, Gbps, "weft-udp", "kernel-vxlan", "wire", 0.85, false},
	{"TCP 1 stream, weft-udp ÷ weft-plain", TCP1, Gbps, "weft-udp", "weft-plain", "gso", 10, false},
	{"TCP 1 stream, weft-udp ÷ weft-plain", TCP1, Gbps, "weft-udp", "weft-plain", "wire", 10, false},
	{"UDP 64 B packets/s, weft-udp ÷ kernel-vxlan", UDP64, Kpps, "weft-udp", "kernel-vxlan", "gso", 0.6, false},
	{"UDP 64 B packets/s, weft-udp ÷ kernel-vxlan", UDP64, Kpps, "weft-udp", "kernel-vxlan", "wire", 0.6, false},
	{"request-response p50, weft-udp ÷ weft-plain", RR, P50, "weft-udp", "weft-plain", "gso", 1.0, true},
	{"request-response p50, weft-udp ÷ weft-plain", RR, P50, "weft-udp", "weft-plain", "wire", 1.0, true},
	{"TCP 1 stream, weft-vxlan ÷ kernel-vxlan", TCP1, Gbps, "weft-vxlan", "kernel-vxlan", "gso", 0.75, false},
	{"TCP 1 stream, weft-vxlan ÷ kernel-vxlan", TCP1, Gbps, "weft-vxlan", "kernel-vxlan", "wire", 0.85, false},
	{"TCP 1 stream, weft-vxlan ÷ weft-udp", TCP1, Gbps, "weft-vxlan", "weft-udp", "gso", 0.95, false},
	{"TCP 1 stream, weft-vxlan ÷ weft-udp", TCP1, Gbps, "weft-vxlan", "weft-udp", "wire", 0.95, false},
	{"TCP 1 stream, weft-to-kernel ÷ kernel-vxlan", TCP1, Gbps, "weft-to-kernel", "kernel-vxlan", "gso", 0.5, false},
	{"TCP 1 stream, weft-to-kernel ÷ kernel-vxlan", TCP1, Gbps, "weft-to-kernel", "kernel-vxlan", "wire", 0.5, false},
	{"TCP 1 stream, kernel-to-weft ÷ kernel-vxlan", TCP1, Gbps, "kernel-to-weft", "kernel-vxlan", "gso", 0.5, false},
	{"TCP 1 stream, kernel-to-weft ÷ kernel-vxlan", TCP1, Gbps, "kernel-to-weft", "kernel-vxlan", "wire", 0.5, false},
	{"TCP 1 stream, weft-wireguard ÷ wireguard-go", TCP1, Gbps, "weft-wireguard", "wireguard-go", "gso", 1.3, false},
	{"TCP 1 stream, weft-wireguard ÷ wireguard-go", TCP1, Gbps, "weft-wireguard", "wireguard-go", "wire", 1.5, false},
	{"UDP 64 B packets/s, weft-wireguard ÷ wireguard-go", UDP64, Kpps, "weft-wireguard", "wireguard-go", "gso", 1.3, false},
	{"UDP 64 B packets/s, weft-wireguard ÷ wireguard-go", UDP64, Kpps, "weft-wireguard", "wireguard-go", "wire", 1.3, false},
	{"p50 beside a TCP stream, weft-wireguard ÷ wireguard-go", RRLoaded, P50, "weft-wireguard", "wireguard-go", "gso", 0.5, true},
	{"p50 beside a TCP stream, weft-wireguard ÷ wireguard-go", RRLoaded, P50, "weft-wireguard", "wireguard-go", "wire", 0.5, true},
	{"peak memory under TCP 1 stream, weft-wireguard", TCP1, PlanePeak, "weft-wireguard", "", "gso", 64, true},
	{"peak memory under TCP 1 stream, weft-wireguard", TCP1, PlanePeak, "weft-wireguard", "", "wire", 64, true},
}

// MemoryGoal is the resident memory in bytes of one weft with MemoryLeases
// leases.
const (
	MemoryGoal   = 40 << 20
	MemoryLeases = 1000
)

// verdict says whether value meets the goal.
func verdict(value, goal float64, atMost bool) string {
	if atMost == (value <= goal) || value == goal {
		return "reached"
	}
	return "**not reached**"
}

// measured is what the run has of the figure, and with how many digits after
// the point it is shown.
func (f Figure) measured(r *Result) (s Summary, digits int) {
	if f.By == "" {
		return r.Summary(f.Wire, f.Plane, f.Load, f.Key), 1
	}
	return r.Ratio(f.Wire, f.Plane, f.By, f.Load, f.Key), 2
}

// unit is written after the goal; a ratio has none.
func (f Figure) unit() string {
	if f.By == "" && f.Key == PlanePeak {
		return " MiB"
	}
	return ""
}

// writeFigures writes the table of goals.
func writeFigures(b *strings.Builder, r *Result) {
	b.WriteString("\n## Figures\n\n")
	head(b, "what", "wire", "goal", "measured", "verdict")
	if r.Settings.Suite == TraceSuite {
		writeTraceFigures(b, r)
		return
	}
	for _, f := range Figures {
		s, digits := f.measured(r)
		sign, result := "≥", "not measured"
		if f.AtMost {
			sign = "≤"
		}
		if s.N > 0 {
			result = verdict(s.Median, f.Goal, f.AtMost)
		}
		row(b, f.Title, f.Wire, fmt.Sprintf("%s %g%s", sign, f.Goal, f.unit()), s.text(digits), result)
	}
	measured, result := "–", "not measured"
	if m := r.Memory; m != nil {
		measured = fmt.Sprintf("%.1f MiB with %d leases", float64(m.RSSBytes)/(1<<20), m.Leases)
		if m.Leases >= MemoryLeases { // few leases say nothing about many
			result = verdict(float64(m.RSSBytes), MemoryGoal, true)
		}
	}
	row(b, "resident memory at 1,000 leases", "–", fmt.Sprintf("≤ %d MiB", MemoryGoal>>20), measured, result)
}
