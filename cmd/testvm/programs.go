package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// addPrograms puts the host's programs that tests call into the image, and
// busybox for everything else that has a name in it.
func (m *image) addPrograms(ctx context.Context) error {
	for _, t := range guestTools {
		found, err := exec.LookPath(t.program)
		if err != nil {
			continue // ensureTools has said so
		}
		if err := m.addProgram(ctx, t.program, found); err != nil {
			return err
		}
	}
	if m.has("usr/bin/iptables") {
		if err := m.addExtensions(ctx); err != nil {
			return err
		}
	}
	return m.addBusybox(ctx)
}

// addProgram adds a dynamic program under its name, however many links the
// host needs to get from there to the file.
func (m *image) addProgram(ctx context.Context, name, found string) error {
	real, err := filepath.EvalSymlinks(found)
	if err != nil {
		return err
	}
	at := path.Join("usr/bin", filepath.Base(real))
	m.copy(at, real, 0o755)
	if name != filepath.Base(real) {
		m.link(path.Join("usr/bin", name), filepath.Base(real)) // one file that acts by its name
	}
	return m.addLibraries(ctx, real)
}

func (m *image) addLibraries(ctx context.Context, program string) error {
	out, err := output(exec.CommandContext(ctx, "ldd", program))
	var exit *exec.ExitError
	if errors.As(err, &exit) && strings.Contains(err.Error(), "not a dynamic executable") {
		return nil
	}
	if err != nil {
		return err
	}
	libraries, err := parseLdd(out)
	if err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	for _, l := range libraries {
		real, err := filepath.EvalSymlinks(l)
		if err != nil {
			return err
		}
		at := strings.TrimPrefix(l, "/")
		if strings.HasPrefix(at, "lib") {
			at = "usr/" + at // where the image's links lead
		}
		m.copy(at, real, 0o755)
	}
	return nil
}

// parseLdd returns the files that ldd names, in lines such as
//
//	linux-vdso.so.1 (0x00007ffe4b5f2000)
//	libmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x00007f1c)
//	/lib64/ld-linux-x86-64.so.2 (0x00007f1d)
func parseLdd(text string) (files []string, err error) {
	for line := range strings.Lines(text) {
		name, found, arrow := strings.Cut(strings.TrimSpace(line), " => ")
		if arrow {
			name = found
		}
		name, _, _ = strings.Cut(name, " (0x")
		switch {
		case strings.HasPrefix(name, "/"):
			files = append(files, name)
		case arrow:
			return nil, fmt.Errorf("library: %s", strings.TrimSpace(line))
		}
	}
	return files, nil
}

// addExtensions adds what iptables loads at run time.
func (m *image) addExtensions(ctx context.Context) error {
	files, err := filepath.Glob("/usr/lib/*/xtables/*.so")
	if err != nil {
		return err
	}
	for _, f := range files {
		real, err := filepath.EvalSymlinks(f)
		if err != nil {
			return err
		}
		m.copy(f, real, 0o644)
	}
	if len(files) == 0 {
		return nil
	}
	return m.addLibraries(ctx, files[0])
}

func (m *image) addBusybox(ctx context.Context) error {
	found, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	if err := m.addProgram(ctx, "busybox", found); err != nil {
		return err
	}
	names, err := output(exec.CommandContext(ctx, found, "--list"))
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(names) {
		if at := path.Join("usr/bin", name); !m.has(at) {
			m.link(at, "busybox")
		}
	}
	return nil
}
