package main

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weft/perf/report"
)

// environment describes the machine and the source tree.
func environment() (report.Environment, error) {
	var uname unix.Utsname
	var info unix.Sysinfo_t
	if err := errors.Join(unix.Uname(&uname), unix.Sysinfo(&info)); err != nil {
		return report.Environment{}, err
	}
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return report.Environment{}, err
	}
	mitigations, err := vulnerabilities("/sys/devices/system/cpu/vulnerabilities")
	if err != nil {
		return report.Environment{}, err
	}
	return report.Environment{
		Time: time.Now().UTC().Truncate(time.Second), Commit: commit(),
		Kernel: unix.ByteSliceToString(uname.Release[:]), CPU: cpuModel(cpu), Cores: runtime.NumCPU(),
		MemoryBytes: uint64(info.Totalram) * uint64(info.Unit), Mitigations: mitigations,
		GoVersion: runtime.Version(), Wires: make(map[string][]string),
	}, nil
}

// revision is the version of the source, stamped by make.
var revision string

// commit is the revision that the program was built from, as make stamped it
// or the Go tool noted it; "" when neither did.
func commit() string {
	if revision != "" {
		return revision
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var noted, dirty string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			noted = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	return noted + dirty
}

// builtFrom is the module and version that a Go program was built from; "" when
// it does not tell, as a program built from a working copy.
func builtFrom(program string) string {
	info, err := buildinfo.ReadFile(program)
	if err != nil || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return ""
	}
	return info.Main.Path + "@" + info.Main.Version
}

// cpuModel reads the model's name from /proc/cpuinfo. Architectures name it
// differently, and some not at all.
func cpuModel(cpuinfo []byte) string {
	for line := range bytes.Lines(cpuinfo) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		switch string(bytes.TrimSpace(key)) {
		case "model name", "cpu", "Processor", "uarch":
			return string(bytes.TrimSpace(value))
		}
	}
	return runtime.GOARCH
}

// vulnerabilities reads what the kernel does against each processor fault it
// knows. Kernels before 4.15 do not tell.
func vulnerabilities(folder string) (map[string]string, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		return nil, err
	}
	state := make(map[string]string)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("mitigations: %w", err)
		}
		state[filepath.Base(path)] = strings.TrimSpace(string(text))
	}
	return state, nil
}
