package report

import (
	"slices"
	"time"
)

// A Result is everything that a run measured.
type Result struct {
	Environment Environment
	Settings    Settings
	Planes      []Plane
	Cells       []Cell
	Micro       []Micro           `json:",omitempty"`
	Memory      *Memory           `json:",omitempty"`
	Skipped     map[string]string `json:",omitempty"` // plane → why it was left out
	Failures    []string          `json:",omitempty"`
}

// Environment is where a run took place.
type Environment struct {
	Time        time.Time
	Commit      string              // of the source tree; "" when unknown
	Kernel      string              // uname -r
	CPU         string              // model name
	Cores       int                 // online
	MemoryBytes uint64              // physical
	Mitigations map[string]string   // /sys/devices/system/cpu/vulnerabilities
	GoVersion   string              // of the perf program
	Wires       map[string][]string // wire → active features of its devices
}

// Settings are how a run was made.
type Settings struct {
	Rounds        int
	Seconds       float64 // length of a window
	WarmupSeconds float64 // before it
	Base          string  // the plane that ratios are taken against
	Suite         string  `json:",omitempty"` // the selection that was run; "" for what is always compared
}

// A Plane is one data plane of a run.
type Plane struct {
	Name    string
	Kind    string
	Program string   `json:",omitempty"` // path of its binary
	Module  string   `json:",omitempty"` // with its version, that the binary was built from
	Env     []string `json:",omitempty"`
	Args    []string `json:",omitempty"`
	MTU     int      // inner, bytes
	// Loads are the only loads that were made on it; none: all of the run's.
	Loads []string `json:",omitempty"`
	// Base is the plane that its ratios are taken against; none: Settings.Base.
	Base string `json:",omitempty"`
	// Trace are the arguments of the weft trace that ran on both nodes: none
	// for a trace of every packet, nil when nobody traced.
	Trace []string `json:",omitzero"`
}

// A Cell is one measurement.
type Cell struct {
	Round  int
	Wire   string
	Plane  string
	Load   string
	Values map[string]float64 `json:",omitempty"` // by the keys of Metrics
	Flags  []string           `json:",omitempty"` // what makes the cell doubtful
	Error  string             `json:",omitempty"` // why there are no values
}

// Memory is how much one weft holds with many leases.
type Memory struct {
	Leases   int
	RSSBytes uint64
	Peak     uint64 // VmHWM, bytes
}

// planesOf lists the planes that a load was made on.
func (r *Result) planesOf(load string) []Plane {
	var list []Plane
	for _, p := range r.Planes {
		if len(p.Loads) == 0 || slices.Contains(p.Loads, load) {
			list = append(list, p)
		}
	}
	return list
}

// byRound returns a value of every round.
func (r *Result) byRound(wire, plane, load, key string) map[int]float64 {
	values := make(map[int]float64)
	for _, c := range r.Cells {
		if c.Wire == wire && c.Plane == plane && c.Load == load && c.Error == "" {
			if v, ok := c.Values[key]; ok {
				values[c.Round] = v
			}
		}
	}
	return values
}

// Summary summarises a value over the rounds.
func (r *Result) Summary(wire, plane, load, key string) Summary {
	m := r.byRound(wire, plane, load, key)
	values := make([]float64, 0, len(m))
	for _, round := range sortedKeys(m) {
		values = append(values, m[round])
	}
	return Summarize(values)
}

// Ratio summarises, over the rounds, a value of one plane divided by the same
// value of another.
func (r *Result) Ratio(wire, plane, by, load, key string) Summary {
	return Summarize(Ratios(r.byRound(wire, plane, load, key), r.byRound(wire, by, load, key)))
}

// wires and loads list what was measured, in the order of the first cell.
func (r *Result) wires() []string { return distinct(r.Cells, func(c Cell) string { return c.Wire }) }
func (r *Result) loads() []string { return distinct(r.Cells, func(c Cell) string { return c.Load }) }

func distinct(cells []Cell, of func(Cell) string) []string {
	var list []string
	for _, c := range cells {
		if v := of(c); !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}
