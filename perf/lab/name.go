package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/vishvananda/netns"

	"weft/perf/meter"
)

// namePrefix begins the name of everything that a lab leaves in a place
// visible to others: namespaces in namespaceDir and folders in os.TempDir.
const namePrefix = "weftperf-"

// namespaceDir is where ip-netns(8) keeps named namespaces.
const namespaceDir = "/run/netns"

var sequence atomic.Uint64

// newTag returns a name that is unique on this machine:
// weftperf-PID-START-N, with the process's start time in clock ticks since
// boot, so that a process id used again is not mistaken for this run.
func newTag() (string, error) {
	start, err := meter.StartTime(os.Getpid())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s%d-%d-%d", namePrefix, os.Getpid(), start, sequence.Add(1)), nil
}

// owner reads the process id and start time from a name made by newTag.
func owner(name string) (pid int, start uint64, ok bool) {
	rest, ok := strings.CutPrefix(name, namePrefix)
	if !ok {
		return 0, 0, false
	}
	parts := strings.SplitN(rest, "-", 3)
	if len(parts) != 3 {
		return 0, 0, false
	}
	pid, err := strconv.Atoi(parts[0])
	if err != nil || pid <= 0 {
		return 0, 0, false
	}
	start, err = strconv.ParseUint(parts[1], 10, 64)
	return pid, start, err == nil
}

// orphan reports whether name belongs to a run that is over.
func orphan(name string) bool {
	pid, start, ok := owner(name)
	if !ok {
		return false
	}
	now, err := meter.StartTime(pid)
	return err != nil || now != start
}

// RemoveLeftovers removes the namespaces and folders of runs that were killed
// before they could clean up, and returns their names.
func RemoveLeftovers() ([]string, error) {
	var removed []string
	spaces, err := filepath.Glob(filepath.Join(namespaceDir, namePrefix+"*"))
	if err != nil {
		return nil, err
	}
	for _, path := range spaces {
		name := filepath.Base(path)
		if !orphan(name) {
			continue
		}
		if err := netns.DeleteNamed(name); err != nil {
			return removed, fmt.Errorf("removing left-over namespace %s: %w", name, err)
		}
		removed = append(removed, name)
	}
	folders, err := filepath.Glob(filepath.Join(os.TempDir(), namePrefix+"*"))
	if err != nil {
		return removed, err
	}
	for _, path := range folders {
		if !orphan(filepath.Base(path)) {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return removed, fmt.Errorf("removing left-over folder: %w", err)
		}
		removed = append(removed, path)
	}
	return removed, nil
}
