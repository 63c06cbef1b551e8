package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mounts makes the file systems that programs expect.
func mounts() error {
	for _, m := range []struct {
		kind, at, options string
	}{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"devtmpfs", "/dev", ""},
		{"devpts", "/dev/pts", "ptmxmode=0666"},
		{"tmpfs", "/dev/shm", "mode=1777"},
		{"tmpfs", "/run", "mode=755"},
		{"tmpfs", "/tmp", "mode=1777"},
		{"cgroup2", "/sys/fs/cgroup", ""},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, m.options); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.kind, m.at, err)
		}
	}
	return nil
}

func environment() (err error) {
	for key, value := range map[string]string{"PATH": guestPath, "HOME": "/root", "TMPDIR": "/tmp", "WEFT_BIN": guestWeft, "WEFT_E2E_SLOW": "1"} {
		err = errors.Join(err, os.Setenv(key, value))
	}
	return err
}

// openReport opens the second serial port and keeps its terminal from
// changing what is written.
func openReport() (*os.File, error) {
	port, err := os.OpenFile(reportPort, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(port.Fd()), unix.TCGETS)
	if err == nil {
		t.Oflag &^= unix.OPOST
		t.Lflag &^= unix.ECHO | unix.ICANON
		err = unix.IoctlSetTermios(int(port.Fd()), unix.TCSETS, t)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", reportPort, err)
	}
	return port, nil
}

// loadModule loads what answers to a name or an alias, dependencies first.
func loadModule(request string) error {
	if _, err := os.Stat(filepath.Join("/sys/module", moduleName(request))); err == nil {
		return nil // loaded, or built in
	}
	var x index
	if err := readJSON(guestIndex, &x); err != nil {
		return err
	}
	names := x.find(request)
	if len(names) == 0 {
		return fmt.Errorf("there is no module %s", request)
	}
	for _, name := range names {
		list, err := x.order(name)
		if err != nil {
			return err
		}
		for _, m := range list {
			if err := insert(m); err != nil {
				return err
			}
		}
	}
	return nil
}

func insert(m module) error {
	f, err := os.Open(filepath.Join(guestModules, m.Path))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("module %s: %w", m.Name, err)
	}
	return nil
}

// runModprobe is what the kernel calls when somebody asks for a device, a
// protocol or a netfilter extension that no loaded module provides. Options
// are of no interest.
func runModprobe(args []string) int {
	status := 0
	for _, a := range args {
		if strings.HasPrefix(a, "-") {
			continue
		}
		if err := loadModule(a); err != nil {
			fmt.Fprintln(os.Stderr, "modprobe:", err)
			status = 1
		}
	}
	return status
}
