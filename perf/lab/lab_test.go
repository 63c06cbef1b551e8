package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/perf/meter"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == EnterCommand {
		fmt.Fprintln(os.Stderr, Enter(os.Args[2:]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("laying network namespaces needs root")
	}
}

// newLab lays a lab that the test removes.
func newLab(t *testing.T, wire Wire) *Lab {
	t.Helper()
	needRoot(t)
	l, err := New(wire)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if left := traces(t, l); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return l
}

// traces lists what there is of a lab in the places that others see.
func traces(t *testing.T, l *Lab) []string {
	t.Helper()
	var found []string
	for _, dir := range []string{namespaceDir, os.TempDir()} {
		names, err := filepath.Glob(filepath.Join(dir, l.tag+"*"))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, names...)
	}
	return found
}

func TestOwner(t *testing.T) {
	tests := []struct {
		name  string
		pid   int
		start uint64
		ok    bool
	}{
		{"weftperf-12-345-1-ha", 12, 345, true},
		{"weftperf-12-345-1", 12, 345, true},
		{"weftperf-12-345", 0, 0, false},
		{"weftperf-x-345-1-ha", 0, 0, false},
		{"weftperf-0-345-1-ha", 0, 0, false},
		{"other-12-345-1-ha", 0, 0, false},
	}
	for _, tt := range tests {
		pid, start, ok := owner(tt.name)
		if ok != tt.ok || ok && (pid != tt.pid || start != tt.start) {
			t.Errorf("%s: got %d, %d, %v", tt.name, pid, start, ok)
		}
	}
}

func TestOrphan(t *testing.T) {
	own, err := newTag()
	if err != nil {
		t.Fatal(err)
	}
	start, err := meter.StartTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		own + "-ha": false,
		fmt.Sprintf("%s%d-%d-1-ha", namePrefix, os.Getpid(), start+1): true, // the id was used again
		namePrefix + "4194305-1-1-ha":                                 true, // above the kernel's largest id
		"somebody-else":                                               false,
	} {
		if got := orphan(name); got != want {
			t.Errorf("%s: orphan %v, want %v", name, got, want)
		}
	}
}

func TestRemoveLeftovers(t *testing.T) {
	l := newLab(t, WireGSO) // must survive
	dead := namePrefix + "4194305-1-1"
	s, err := newSpace(dead + "-ha")
	if err != nil {
		t.Fatal(err)
	}
	s.Close() // the name stays
	folder := filepath.Join(os.TempDir(), dead)
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	removed, err := RemoveLeftovers()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dead + "-ha", folder} {
		if !slices.Contains(removed, name) {
			t.Errorf("%s was not removed, only %v", name, removed)
		}
	}
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", folder, err)
	}
	if n := len(traces(t, l)); n != 3 {
		t.Errorf("%d traces of the living lab, want two hosts and a folder", n)
	}
}

func TestWires(t *testing.T) {
	for wire, want := range map[Wire]bool{WireGSO: true, WireLike: false} {
		l := newLab(t, wire)
		for _, h := range l.Hosts {
			on, err := h.Features(Underlay)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"tx-tcp-segmentation", "tx-udp-segmentation"} {
				if slices.Contains(on, name) != want {
					t.Errorf("wire %s: %s is %v, want %v", wire, name, !want, want)
				}
			}
		}
	}
}

func TestUnknownFeature(t *testing.T) {
	l := newLab(t, WireGSO)
	err := l.Hosts[0].SetFeatures(Underlay, true, "tx-magic")
	if err == nil || !strings.Contains(err.Error(), "tx-magic") {
		t.Errorf("error %v, want one that names the feature", err)
	}
	if _, err := l.Hosts[0].Features("none0"); err == nil {
		t.Error("no error for a device that is not there")
	}
}

// TestCommandSeesItsOwnHost runs programs in the lab.
func TestCommandSeesItsOwnHost(t *testing.T) {
	l := newLab(t, WireGSO)
	if err := l.AttachPods(1400); err != nil {
		t.Fatal(err)
	}
	output := func(s *Space, program string, args ...string) string {
		cmd, err := s.Command(program, args...)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(out.String()), " ")
	}
	host, pod := l.Hosts[1].Space, l.Hosts[1].Pod
	named, err := os.Stat(filepath.Join(namespaceDir, host.Name()))
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Do(func() error {
		inside, err := os.Stat("/proc/thread-self/ns/net")
		if err == nil && !os.SameFile(named, inside) {
			t.Errorf("%s names another namespace", host.Name())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got := output(host, "/bin/ls", "/sys/class/net"); got != "cni0 eth0 lo pod0" {
		t.Errorf("devices of the host: %q", got)
	}
	if got := output(pod, "/bin/cat", "/sys/class/net/eth0/mtu"); got != "1400" {
		t.Errorf("MTU of the pod: %q", got)
	}
	if got := output(host, "/bin/ls", "/run"); got != "" {
		t.Errorf("/run of the host: %q, want it empty", got)
	}
	if got := output(host, "/bin/cat", "/proc/sys/net/ipv4/ip_forward"); got != "1" {
		t.Errorf("ip_forward of the host: %q", got)
	}
}

func TestEnterNeedsArguments(t *testing.T) {
	if err := Enter(nil); err == nil {
		t.Error("no error")
	}
}
