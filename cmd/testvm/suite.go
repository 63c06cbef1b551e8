package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// A suite is one package's tests, as far as a kernel can make a difference to
// them and an emulated processor can afford them.
type suite struct {
	dir  string // within the module
	run  string // -test.run
	skip string // -test.skip; empty for none
}

var suites = []suite{
	{dir: "tunnel", run: "."},
	// The guest's files are in memory and nowhere else, so no page of a program
	// can be dropped.
	{dir: "engine", run: ".", skip: "^TestDropProgramPages$"},
	{dir: "engine/route", run: "."},
	{dir: "engine/route/rtmon", run: "."},
	// What a user namespace may do is shown by the others, in less time.
	{dir: "engine/masq", run: ".", skip: "^TestUserNSPackets$|^TestReplacementHasNoGap$/^user"},
	// Kernel is what speaks with the kernel's own VXLAN and WireGuard devices.
	{dir: "cmd/e2e", run: "^Test(Kernel|VXLANFrames|VXLANWithoutIPv6|VXLANOnTheWire|IPv6Only|PathMTU|Masquerade|PublicIP|" +
		"SourceCheck|TakeOver|OtherPortTaken|FailedStart|ForeignVXLAN|CalledAs)"},
}

// backends are those whose data plane is opened once to see what the kernel
// offers it.
var backends = []string{"udp", "vxlan", "wireguard"}

// suiteLimit is when a test binary gives up by itself, which tells more than
// when the host pulls the plug.
const suiteLimit = 15 * time.Minute

// compile builds everything of ours that the guest runs, static, into dir.
func compile(ctx context.Context, dir string, suites []suite) error {
	began := time.Now()
	fmt.Print("compiling weft, the guest and ", len(suites), " packages of tests ... ")
	for out, pkg := range map[string]string{"weft": "./cmd/weft", "testvm": "./cmd/testvm"} {
		if err := goTool(ctx, "build", "-o", filepath.Join(dir, out), pkg); err != nil {
			return err
		}
	}
	for _, s := range suites {
		if err := goTool(ctx, "test", "-c", "-o", filepath.Join(dir, testFile(s.dir)), "./"+s.dir); err != nil {
			return err
		}
	}
	fmt.Println(time.Since(began).Round(time.Second))
	return nil
}

func goTool(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Args = append([]string{"go", args[0], "-ldflags=-s -w"}, args[1:]...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	_, err := output(cmd)
	return err
}

// testFile names the test binary of a package.
func testFile(dir string) string { return strings.ReplaceAll(dir, "/", "-") + ".test" }

// addTests puts what compile built into the image, each test binary in a
// folder like that of its package.
func (m *image) addTests(dir string, suites []suite) error {
	m.copy(guestWeft, filepath.Join(dir, "weft"), 0o755)
	m.copy("init", filepath.Join(dir, "testvm"), 0o755)
	m.link("usr/bin/modprobe", "/init")
	for _, s := range suites {
		at := path.Join(guestTests, s.dir)
		m.copy(path.Join(at, "tests"), filepath.Join(dir, testFile(s.dir)), 0o755)
		if err := m.tree(path.Join(at, "testdata")[1:], filepath.Join(s.dir, "testdata")); err != nil {
			return err
		}
	}
	return nil
}

// steps is what the guest is to run.
func steps(suites []suite) (list []step) {
	for _, b := range backends {
		list = append(list, step{Name: "lab with " + b, Dir: "/", Args: []string{"sh", "-c",
			"weft lab up 1 -d --ipv6 --leases $(mktemp -d) --backend " + b + " && weft lab logs n1 && weft lab down"}})
	}
	for _, s := range suites {
		at := path.Join(guestTests, s.dir)
		list = append(list, step{Name: s.dir, Dir: at, Args: []string{path.Join(at, "tests"),
			"-test.v=test2json", "-test.count=1", "-test.run=" + s.run, "-test.skip=" + s.skip, "-test.timeout=" + suiteLimit.String()}})
	}
	return list
}

// choose picks suites by folder, all if none is named, and replaces their
// choice of tests unless run is empty.
func choose(all []suite, dirs []string, run string) (list []suite, err error) {
	known := map[string]suite{}
	for _, s := range all {
		known[s.dir] = s
		if len(dirs) == 0 {
			list = append(list, s)
		}
	}
	for _, d := range dirs {
		s, ok := known[path.Clean(d)]
		if !ok {
			return nil, fmt.Errorf("-pkg: %q is no package with tests for a kernel", d)
		}
		list = append(list, s)
	}
	if run != "" {
		for i := range list {
			list[i].run = run
		}
	}
	return list, nil
}
