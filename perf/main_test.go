package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/lease"
	"weft/perf/lab"
	"weft/perf/load"
	"weft/perf/meter"
	"weft/perf/plane"
	"weft/perf/report"
)

// TestMain lets the test program play the parts that perf calls itself for.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == lab.EnterCommand || os.Args[1] == load.Command) {
		if err := dispatch(context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-quick", "-plane", "old=weft:/x", "-planes", "routes,old", "-wires", "wire", "-only", "tcp1,udp64"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.rounds != 1 || o.length.Seconds() != 2 || o.out != "" {
		t.Errorf("-quick: %d rounds of %v into %q", o.rounds, o.length, o.out)
	}
	if len(o.planes) != 2 || o.planes[1].Options.Program != "/x" {
		t.Errorf("planes %+v", o.planes)
	}
	if len(o.wires) != 1 || len(o.loads) != 2 || o.leases != 0 {
		t.Errorf("wires %v, %d loads, %d leases", o.wires, len(o.loads), o.leases)
	}
	o, err = parseOptions([]string{"-quick", "-rounds", "5", "-out", "x"}, io.Discard)
	if err != nil || o.rounds != 5 || o.out != "x" {
		t.Errorf("-quick with -rounds 5 -out x: %+v, %v", o, err)
	}
	o, err = parseOptions(nil, io.Discard)
	if err != nil || len(o.planes) != 9 || len(o.wires) != 2 || len(o.loads) != len(loadKinds) || o.leases != 1000 || o.rounds < 3 {
		t.Errorf("defaults: %+v, %v", o, err)
	}
}

func TestBadOptions(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-only", "tcp9"}, "tcp9"},
		{[]string{"-planes", "kernel"}, "kernel"},
		{[]string{"-wires", "air"}, "air"},
		{[]string{"-plane", "routes=routes"}, "routes"},
		{[]string{"-plane", "x=y"}, `"y"`},
		{[]string{"-rounds", "0"}, "-rounds 0"},
		{[]string{"again"}, "again"},
	} {
		if _, err := parseOptions(tt.args, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want one with %q", tt.args, err, tt.want)
		}
	}
}

func TestMissingProgram(t *testing.T) {
	for _, tt := range []struct {
		args  []string
		fails bool
	}{
		{[]string{"-weft", "/none", "-wireguard-go", "/none"}, false},
		{[]string{"-weft", "/none", "-planes", "weft-udp"}, true},
		{[]string{"-wireguard-go", "/none", "-planes", "wireguard-go"}, true},
		{[]string{"-weft", "/none", "-planes", "routes"}, false},
	} {
		o, err := parseOptions(tt.args, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		r := &report.Result{Skipped: make(map[string]string)}
		err = o.dropMissing(r)
		if (err != nil) != tt.fails {
			t.Errorf("%q: error %v, want one: %v", tt.args, err, tt.fails)
		}
		if !tt.fails && slices.ContainsFunc(o.planes, func(s plane.Spec) bool { return s.Options.Program != "" }) {
			t.Errorf("%q: kept %+v", tt.args, o.planes)
		}
		for name, why := range r.Skipped {
			if told := strings.Contains(why, "go build -o bin/wireguard-go"); told != (name == plane.StockWireGuard) {
				t.Errorf("%s was left out: %s", name, why)
			}
		}
	}
}

// TestLimits checks that the planes that need only some loads are measured with
// those alone unless the user names the loads.
func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		args  []string
		cells int
		limit []string // of the last plane
	}{
		{nil, 3 * 2 * (5*len(loadKinds) + 2*len(bulk) + 2*len(queues)), queues},
		{[]string{"-only=rr,leases"}, 3 * 2 * 9, nil},
		{[]string{"-planes=weft-vxlan,kernel-to-weft", "-rounds=1", "-wires=gso"}, len(loadKinds) + len(bulk), bulk},
		{[]string{"-plane=old=kernel-to-weft,weft:/x", "-planes=old", "-rounds=1", "-wires=gso"}, len(bulk), bulk},
	} {
		o, err := parseOptions(tt.args, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.plannedCells(); got != tt.cells {
			t.Errorf("%q: %d cells, want %d", tt.args, got, tt.cells)
		}
		if got := o.limit(o.planes[len(o.planes)-1]); !slices.Equal(got, tt.limit) {
			t.Errorf("%q: only loads %q, want %q", tt.args, got, tt.limit)
		}
	}
	for name, loads := range usual {
		for _, l := range loads {
			if !slices.Contains(loadNames(), l) {
				t.Errorf("plane %s is limited to the unknown load %s", name, l)
			}
		}
	}
}

// TestLoadsHaveTables checks that what is measured is also shown.
func TestLoadsHaveTables(t *testing.T) {
	for _, kind := range loadKinds {
		if !slices.ContainsFunc(report.Tables, func(t report.Table) bool { return t.Load == kind.name }) {
			t.Errorf("load %s has no table", kind.name)
		}
	}
}

func TestValuesOfNothing(t *testing.T) {
	for _, kind := range loadKinds {
		if values, err := kind.values(&window{seconds: 1}); !errors.Is(err, errNothing) {
			t.Errorf("%s: %v, %v, want %v", kind.name, values, err, errNothing)
		}
	}
}

func TestStreamValues(t *testing.T) {
	w := &window{
		seconds: 2, cpu: meter.CPU{User: 1, System: 1, SoftIRQ: 1, Idle: 1},
		roles: map[string]roleWindow{"tcp-recv": {seconds: 2, bytes: 2e9}},
	}
	w.pods[client] = map[string]float64{"Tcp.RetransSegs": 7}
	got, err := streamValues(w)
	if err != nil || got[report.Gbps] != 8 || got[report.CPUPerGB] != 1.5 || got[report.Retransmits] != 7 {
		t.Errorf("got %v, %v, want 8 Gbit/s at 1.5 s/GB and 7 retransmits", got, err)
	}
}

func TestFloodValues(t *testing.T) {
	w := &window{seconds: 2, cpu: meter.CPU{System: 2}, roles: map[string]roleWindow{
		"udp-recv": {seconds: 2, packets: 500_000, bytes: 32_000_000, reordered: 3},
		"udp-send": {seconds: 2, packets: 2_000_000},
	}}
	got, err := floodValues(w)
	if err != nil || got[report.Kpps] != 250 || got[report.OfferedKpps] != 1000 || got[report.LossPercent] != 75 ||
		got[report.CPUPerPacket] != 4 || got[report.Reordered] != 3 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestFlags(t *testing.T) {
	quiet := &window{cpu: meter.CPU{User: 10, Idle: 90, Steal: 0.5}, roleTime: 5, plane: meter.Process{User: 4}}
	if got := quiet.flags(); got != nil {
		t.Errorf("flags %q of a quiet window", got)
	}
	loud := &window{cpu: meter.CPU{User: 30, Idle: 68, Steal: 2}, roleTime: 5, plane: meter.Process{User: 4}}
	if got := loud.flags(); len(got) != 2 {
		t.Errorf("flags %q, want steal and other programs", got)
	}
}

func TestCPUModel(t *testing.T) {
	for text, want := range map[string]string{
		"processor\t: 0\nmodel name\t: Fast One\n": "Fast One",
		"cpu\t\t: POWER9\n":                        "POWER9",
	} {
		if got := cpuModel([]byte(text)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if cpuModel(nil) == "" {
		t.Error("no name at all")
	}
}

// TestBuiltFrom reads a program of another module, this test program, which is
// built from a working copy, and files that are no programs.
func TestBuiltFrom(t *testing.T) {
	const module = "golang.zx2c4.com/wireguard"
	path := filepath.Join(t.TempDir(), "wireguard-go")
	if text, err := exec.Command("go", "build", "-o", path, module).CombinedOutput(); err != nil {
		t.Fatalf("building wireguard-go: %v\n%s", err, text)
	}
	if got := builtFrom(path); !strings.HasPrefix(got, module+"@v") {
		t.Errorf("wireguard-go is built from %q, want %s and its version", got, module)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{self, os.DevNull, "/none"} {
		if got := builtFrom(path); got != "" {
			t.Errorf("%s is built from %q", path, got)
		}
	}
}

func TestWriteLeases(t *testing.T) {
	dir := t.TempDir()
	if err := writeLeases(dir, 300); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "subnets", "10.129.43.0-24.json"))
	if err != nil {
		t.Fatal(err)
	}
	var a lease.Attrs
	if err := json.Unmarshal(text, &a); err != nil || a.PublicIP.String() != "172.16.1.44" {
		t.Errorf("lease 299 is %s, %v", text, err)
	}
	files, err := os.ReadDir(filepath.Join(dir, "subnets"))
	if err != nil || len(files) != 300 {
		t.Errorf("%d files, %v", len(files), err)
	}
}
