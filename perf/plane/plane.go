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
	"slices"
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
	// The userspace WireGuard of others, and that of weft.
	StockWireGuard = "wireguard-go"
	WeftWireGuard  = "weft-wireguard"
	// One host of each kind; the load's sender is on the first named.
	WeftToKernel = "weft-to-kernel"
	KernelToWeft = "kernel-to-weft"
)

// The names of the programs that planes run.
const (
	Weft        = "weft"
	WireGuardGo = "wireguard-go"
	WeftNoTap   = "weft-notap" // weft built without what `weft trace` listens to
)

// Options are the settings of one plane under test.
type Options struct {
	Program string   // path of the binary; none for a plane in the kernel
	Env     []string // K=V, added to the environment of the plane's processes
	Args    []string // added to the command line of the plane's processes
}

// with returns o with additions.
func (o Options) with(add Options) Options {
	if add.Program != "" {
		o.Program = add.Program
	}
	o.Env = append(slices.Clone(o.Env), add.Env...)
	o.Args = append(slices.Clone(o.Args), add.Args...)
	return o
}

// Programs are the settings of the programs, by their names.
type Programs map[string]Options

// A kind is a sort of plane.
type kind struct {
	name    string
	program string // the name of what it runs; "" for a plane in the kernel
	build   func(Options) Plane
}

// kinds lists every kind, baselines first.
var kinds = []kind{
	{Routes, "", func(Options) Plane { return new(routes) }},
	{KernelVXLAN, "", func(Options) Plane { return new(kernelVXLAN) }},
	{WeftUDP, Weft, func(o Options) Plane { return &weft{options: o, backend: "udp", tunMode: "auto"} }},
	{WeftPlain, Weft, func(o Options) Plane { return &weft{options: o, backend: "udp", tunMode: "plain"} }},
	{WeftVXLAN, Weft, func(o Options) Plane { return &weft{options: o, backend: "vxlan", tunMode: "auto"} }},
	{WeftToKernel, Weft, func(o Options) Plane { return &mixed{options: o, weftHost: 0} }},
	{KernelToWeft, Weft, func(o Options) Plane { return &mixed{options: o, weftHost: 1} }},
	{StockWireGuard, WireGuardGo, func(o Options) Plane { return &stockWireGuard{options: o} }},
	{WeftWireGuard, Weft, func(o Options) Plane { return &weftWireGuard{weft{options: o, backend: "wireguard", tunMode: "auto"}} }},
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
	// Base is the plane that ratios are taken against; "" for that of the run.
	Base string
	// Trace are the arguments of the `weft trace` that runs on both nodes
	// while the plane is measured, in the lab of Base; nil when nobody traces.
	Trace []string
	// Loads are the only loads that are made on the plane; nil for those that
	// are usual for its kind.
	Loads []string
}

// Default returns the specs of all kinds, baselines first.
func Default(programs Programs) []Spec {
	var specs []Spec
	for _, k := range kinds {
		specs = append(specs, Spec{Name: k.name, Kind: k.name, Options: programs[k.program]})
	}
	return specs
}

// New makes the plane that s describes.
func (s Spec) New() Plane {
	k, _ := kindOf(s.Kind)
	return k.build(s.Options)
}

// ParseSpec reads a variant, NAME=PART,PART…, where a part is
//
//	KIND                one of the kinds of planes; weft-udp when none is given
//	weft:PATH           the binary, for kinds that run weft
//	wireguard-go:PATH   the same, for the kind that runs wireguard-go
//	env:K=V             an addition to the environment
//	arg:FLAG            an addition to the command line
//
// Settings that it does not give are those that programs has of the program.
func ParseSpec(text string, programs Programs) (Spec, error) {
	name, parts, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return Spec{}, fmt.Errorf("plane %q: want NAME=PART,…", text)
	}
	s := Spec{Name: name, Kind: WeftUDP}
	var own Options
	program := "" // whose path was given
	for part := range strings.SplitSeq(parts, ",") {
		key, value, _ := strings.Cut(part, ":")
		_, isKind := kindOf(part)
		switch {
		case isKind:
			s.Kind = part
		case (key == Weft || key == WireGuardGo) && value != "":
			program, own.Program = key, value
		case key == "env" && strings.Contains(value, "="):
			own.Env = append(own.Env, value)
		case key == "arg" && value != "":
			own.Args = append(own.Args, value)
		default:
			return Spec{}, fmt.Errorf("plane %q: part %q: want %s, weft:PATH, wireguard-go:PATH, env:K=V or arg:FLAG",
				text, part, strings.Join(kindNames(), ", "))
		}
	}
	k, _ := kindOf(s.Kind)
	if program != "" && program != k.program {
		return Spec{}, fmt.Errorf("plane %q: part %s:%s: %s does not run %s", text, program, own.Program, s.Kind, program)
	}
	s.Options = programs[k.program].with(own)
	return s, nil
}

func kindNames() []string {
	names := make([]string, 0, len(kinds))
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}
