// Package plane sets up the data planes that the benchmarks compare. A plane
// takes a lab whose hosts know nothing of each other's pods, makes each host's
// pods reach the other's, and says how large a packet may be.
//
// To add one, write a type with the methods of [Plane] and add a line to
// [kinds]; `perf -planes NAME` then knows it. README.md shows an example.
package plane

import (
	"context"
	"fmt"
	"strings"

	"weft/perf/lab"
)

// A Plane is one way for pods to reach each other.
type Plane interface {
	// Setup connects the lab's hosts. A plane that chooses the subnets
	// itself writes them to the hosts.
	Setup(ctx context.Context, l *lab.Lab) error
	// MTU is the largest inner packet in bytes; valid after Setup.
	MTU() int
	// Processes are the ids of the plane's processes, at most one per
	// host; none for a host whose plane lives in the kernel. Valid after
	// Setup.
	Processes() []int
	// Device names the device that packets of pods leave host i by.
	Device(i int) string
	// Teardown ends what Setup started outside the lab's namespaces. It is
	// called after a failed Setup as well.
	Teardown() error
}

// The names of the planes that are always there.
const (
	Routes      = "routes"
	KernelVXLAN = "kernel-vxlan"
	WeftUDP     = "weft-udp"
	WeftPlain   = "weft-plain"
	WeftVXLAN   = "weft-vxlan"
	// One host of each kind; the load's sender is on the first named.
	WeftToKernel = "weft-to-kernel"
	KernelToWeft = "kernel-to-weft"
)

// Options are the settings of one plane under test.
type Options struct {
	Weft string   // path of the weft binary
	Env  []string // K=V, added to the environment of the plane's processes
	Args []string // added to the command line of the plane's processes
}

// A kind is a sort of plane.
type kind struct {
	name  string
	weft  bool // it runs the weft binary
	build func(Options) Plane
}

// kinds lists every kind, baselines first.
var kinds = []kind{
	{Routes, false, func(Options) Plane { return new(routes) }},
	{KernelVXLAN, false, func(Options) Plane { return new(kernelVXLAN) }},
	{WeftUDP, true, func(o Options) Plane { return &weft{options: o, backend: "udp", tunMode: "auto"} }},
	{WeftPlain, true, func(o Options) Plane { return &weft{options: o, backend: "udp", tunMode: "plain"} }},
	{WeftVXLAN, true, func(o Options) Plane { return &weft{options: o, backend: "vxlan", tunMode: "auto"} }},
	{WeftToKernel, true, func(o Options) Plane { return &mixed{options: o, weftHost: 0} }},
	{KernelToWeft, true, func(o Options) Plane { return &mixed{options: o, weftHost: 1} }},
}

// kindOf finds the kind of a name.
func kindOf(name string) (kind, bool) {
	for _, k := range kinds {
		if k.name == name {
			return k, true
		}
	}
	return kind{}, false
}

// A Spec names a plane of a run: a kind with its settings.
type Spec struct {
	Name    string
	Kind    string // one of the names above
	Options Options
}

// Default returns the specs of all kinds, baselines first.
func Default(o Options) []Spec {
	var specs []Spec
	for _, k := range kinds {
		specs = append(specs, Spec{Name: k.name, Kind: k.name, Options: o})
	}
	return specs
}

// New makes the plane that s describes.
func (s Spec) New() Plane {
	k, _ := kindOf(s.Kind)
	return k.build(s.Options)
}

// NeedsWeft reports whether the plane runs the weft binary.
func (s Spec) NeedsWeft() bool {
	k, _ := kindOf(s.Kind)
	return k.weft
}

// ParseSpec reads a variant, NAME=PART,PART…, where a part is
//
//	KIND        one of the kinds of planes; weft-udp when none is given
//	weft:PATH   the binary
//	env:K=V     an addition to the environment
//	arg:FLAG    an addition to the command line
//
// Settings that it does not give are those of base.
func ParseSpec(text string, base Options) (Spec, error) {
	name, parts, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return Spec{}, fmt.Errorf("plane %q: want NAME=PART,…", text)
	}
	s := Spec{Name: name, Kind: WeftUDP, Options: Options{
		Weft: base.Weft,
		Env:  append([]string(nil), base.Env...),
		Args: append([]string(nil), base.Args...),
	}}
	for part := range strings.SplitSeq(parts, ",") {
		key, value, _ := strings.Cut(part, ":")
		_, isKind := kindOf(part)
		switch {
		case isKind:
			s.Kind = part
		case key == "weft" && value != "":
			s.Options.Weft = value
		case key == "env" && strings.Contains(value, "="):
			s.Options.Env = append(s.Options.Env, value)
		case key == "arg" && value != "":
			s.Options.Args = append(s.Options.Args, value)
		default:
			return Spec{}, fmt.Errorf("plane %q: part %q: want %s, weft:PATH, env:K=V or arg:FLAG",
				text, part, strings.Join(kindNames(), ", "))
		}
	}
	return s, nil
}

func kindNames() []string {
	names := make([]string, 0, len(kinds))
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}
