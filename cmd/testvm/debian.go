package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// A release of Debian, and the series of the kernel that it has.
type release struct {
	series, suite string
}

var releases = []release{{"6.1", "bookworm"}, {"5.10", "bullseye"}}

// keyring is Debian's public keys; the package debian-archive-keyring has them.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// kernelPackage is the package that depends on the release's newest kernel of
// the flavour for virtual machines: small, yet with every network module.
const kernelPackage = "linux-image-cloud-amd64"

// A kernel is what one package of Debian was unpacked into.
type kernel struct {
	release
	image   string // the file to boot
	modules string // the folder of its modules
}

// A mirror gets kernels and keeps them below dir.
type mirror struct {
	url    string // with debian and debian-security below it
	dir    string
	update bool // look for a newer kernel than the kept one
}

// kernel returns a release's kernel: the kept one, or Debian's newest.
//
// The packages are fetched by apt, with an apt folder of our own, so that the
// system's own lists and packages stay as they are. Apt checks the signature of
// the release by Debian's keys, by the signed sums the list of packages, and by
// the list's sums the package.
func (m mirror) kernel(ctx context.Context, r release) (kernel, error) {
	dir := filepath.Join(m.dir, r.suite, "kernel")
	if _, err := os.Stat(dir); err != nil || m.update {
		if err := m.fetch(ctx, r, dir); err != nil {
			return kernel{}, fmt.Errorf("kernel %s of Debian's %s: %w", r.series, r.suite, err)
		}
	}
	k := kernel{release: r}
	var err error
	if k.image, err = one(filepath.Join(dir, "boot/vmlinuz-"+r.series+"*")); err != nil {
		return k, err
	}
	k.modules, err = one(filepath.Join(dir, "lib/modules/*"))
	return k, err
}

func (m mirror) fetch(ctx context.Context, r release, dir string) error {
	a := apt{ctx: ctx, dir: filepath.Join(m.dir, r.suite, "apt")}
	if err := a.prepare(m.sources(r)); err != nil {
		return err
	}
	fmt.Printf("%s: reading the package lists of %s\n", r.series, r.suite)
	if _, err := a.run("apt-get", "-qq", "update"); err != nil {
		return fmt.Errorf("%w\n(a release that is no longer supported may have moved: try -mirror http://archive.debian.org)", err)
	}
	about, err := a.run("apt-cache", "show", "--no-all-versions", kernelPackage)
	if err != nil {
		return err
	}
	name, err := imagePackage(about)
	if err != nil {
		return err
	}
	fmt.Printf("%s: downloading %s\n", r.series, name)
	if _, err := a.run("apt-get", "-qq", "download", name); err != nil {
		return err
	}
	deb, err := one(filepath.Join(a.dir, name+"_*.deb"))
	if err != nil {
		return err
	}
	return unpack(ctx, deb, dir)
}

// sources is the text of a sources.list.
func (m mirror) sources(r release) string {
	line := "deb [arch=amd64 signed-by=" + keyring + "] " + strings.TrimSuffix(m.url, "/")
	return fmt.Sprintf("%s/debian %s main\n%[1]s/debian-security %[2]s-security main\n", line, r.suite)
}

var dependsImage = regexp.MustCompile(`(?m)^Depends: (linux-image-[0-9][a-z0-9.+-]*)`)

// imagePackage finds the kernel's package in what apt-cache says about the one
// that depends on it.
func imagePackage(about string) (string, error) {
	m := dependsImage.FindStringSubmatch(about)
	if m == nil {
		return "", fmt.Errorf("%s depends on no linux-image-…: %q", kernelPackage, about)
	}
	return m[1], nil
}

// unpack puts the files of a package into dir, all or none, and removes it.
func unpack(ctx context.Context, deb, dir string) error {
	fresh := dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if _, err := output(exec.CommandContext(ctx, "dpkg-deb", "-x", deb, fresh)); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return err
	}
	return os.Remove(deb)
}

// An apt is Debian's package tool with state, cache and settings below dir.
type apt struct {
	ctx context.Context
	dir string
}

func (a apt) prepare(sources string) error {
	for _, d := range []string{"lists/partial", "archives/partial", "sources.list.d", "preferences.d"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return err
		}
	}
	old, err := filepath.Glob(filepath.Join(a.dir, "*.deb")) // of a run that was interrupted
	if err != nil {
		return err
	}
	for _, f := range old {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(a.dir, "status"), nil, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(a.dir, "sources.list"), []byte(sources), 0o644)
}

// run calls a tool of apt in a.dir.
func (a apt) run(tool string, args ...string) (string, error) {
	options := []string{
		"-o", "Dir::State=" + a.dir,
		"-o", "Dir::State::status=" + filepath.Join(a.dir, "status"),
		"-o", "Dir::Cache=" + a.dir,
		"-o", "Dir::Etc=" + a.dir,
		"-o", "APT::Architecture=amd64",
		"-o", "APT::Architectures::=amd64",
		"-o", "APT::Sandbox::User=root", // _apt may not enter a home
		"-o", "Acquire::Languages=none",
		"-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"-o", "Acquire::Retries=3",
		// The lists of an archived release are signed but not renewed.
		"-o", "Acquire::Check-Valid-Until=false",
	}
	cmd := exec.CommandContext(a.ctx, tool, append(options, args...)...)
	cmd.Dir = a.dir
	return output(cmd)
}

// output runs a command; an error carries what the command said.
func output(cmd *exec.Cmd) (string, error) {
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out, said.String())
	}
	return string(out), nil
}

// one returns the only file that matches a pattern.
func one(pattern string) (string, error) {
	files, err := filepath.Glob(pattern)
	if err == nil && len(files) != 1 {
		err = fmt.Errorf("%d files match %s, want one", len(files), pattern)
	}
	if err != nil {
		return "", err
	}
	return files[0], nil
}
