package meter

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// A Process is what /proc tells about one process.
type Process struct {
	User, System float64 // processor time in seconds, threads and reaped children's own excluded
	RSS, Peak    uint64  // VmRSS and VmHWM in bytes; see ResetPeak
}

// ReadProcess reads the counters of a process.
func ReadProcess(pid int) (Process, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, err
	}
	st, err := parseStat(text)
	if err != nil {
		return Process{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	text, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Process{}, err
	}
	p := Process{User: Seconds(st.utime).Seconds(), System: Seconds(st.stime).Seconds()}
	if p.RSS, err = statusBytes(text, "VmRSS:"); err == nil {
		p.Peak, err = statusBytes(text, "VmHWM:")
	}
	if err != nil {
		return Process{}, fmt.Errorf("/proc/%d/status: %w", pid, err)
	}
	return p, nil
}

// ResetPeak makes what a process has resident now its peak (proc(5),
// clear_refs, since Linux 4.0; the kernel needs CONFIG_PROC_PAGE_MONITOR, which
// all distributions have).
func ResetPeak(pid int) error {
	const peakOnly = "5"
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte(peakOnly), 0)
}

// StartTime returns when a process started, in ticks since boot. Together
// with its id it names a process for good.
func StartTime(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	st, err := parseStat(text)
	if err != nil {
		return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	return st.start, nil
}

// Written returns how many bytes a process has written so far, to whatever it
// writes to (wchar of /proc/PID/io; the kernel needs CONFIG_TASK_XACCT, which
// all distributions have).
func Written(pid int) (uint64, error) {
	path := fmt.Sprintf("/proc/%d/io", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("wchar: ")); ok {
			return strconv.ParseUint(string(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no line %q", path, "wchar:")
}

// stat holds the fields of /proc/PID/stat in use here, in ticks.
type stat struct{ utime, stime, start uint64 }

// parseStat reads /proc/PID/stat. The second field, the program's name in
// parentheses, may hold spaces and parentheses itself, so the fields are
// counted from the last closing one.
func parseStat(text []byte) (stat, error) {
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return stat{}, fmt.Errorf("no program name in %q", text)
	}
	fields := bytes.Fields(text[end+1:]) // fields[0] is field 3 of proc(5)
	var st stat
	for _, f := range []struct {
		number int
		value  *uint64
	}{{14, &st.utime}, {15, &st.stime}, {22, &st.start}} {
		if f.number-3 >= len(fields) {
			return stat{}, fmt.Errorf("field %d is missing in %q", f.number, text)
		}
		v, err := strconv.ParseUint(string(fields[f.number-3]), 10, 64)
		if err != nil {
			return stat{}, fmt.Errorf("field %d: %w", f.number, err)
		}
		*f.value = v
	}
	return st, nil
}

// statusBytes reads a line "Key:  123 kB" of /proc/PID/status.
func statusBytes(text []byte, key string) (uint64, error) {
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) == 3 && string(fields[0]) == key && string(fields[2]) == "kB" {
			kb, err := strconv.ParseUint(string(fields[1]), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no line %q", key)
}
