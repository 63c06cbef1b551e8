package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// One entry, byte by byte as the kernel's description has it.
func TestCpioEntry(t *testing.T) {
	var b bytes.Buffer
	c := &cpioWriter{w: &b}
	must(t, c.add(entry{name: "ab", mode: modeFile | 0o644, size: 5}, strings.NewReader("hello, more than is asked for")))
	want := "070701" + "00000001" + "000081a4" + "00000000" + "00000000" + "00000001" + "00000000" + "00000005" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000003" + "00000000" + "ab\x00" + "\x00\x00\x00" + "hello" + "\x00\x00\x00"
	if got := b.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	must(t, c.close())
	if b.Len()%512 != 0 || !bytes.Contains(b.Bytes(), []byte("0000000b00000000TRAILER!!!\x00")) {
		t.Errorf("%d bytes end with %q", b.Len(), b.Bytes()[len(want):])
	}
}

func TestCpioErrors(t *testing.T) {
	c := &cpioWriter{w: io.Discard}
	if err := c.add(entry{name: "short", mode: modeFile, size: 9}, strings.NewReader("123")); !errors.Is(err, io.EOF) {
		t.Errorf("a file that shrank: %v", err)
	}
	if err := c.close(); err == nil {
		t.Error("the archive of a file that shrank was closed as if it were whole")
	}
	c = &cpioWriter{w: io.Discard}
	if err := c.add(entry{name: "long", size: 1 << 32}, nil); err == nil {
		t.Error("4 GiB fit into 8 hex digits")
	}
}

// What is written is what another program unpacks.
func TestImage(t *testing.T) {
	cpio, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("busybox is not installed")
	}
	m := newImage()
	m.copy("tests/self", os.Args[0], 0o755)
	must(t, m.json("plan.json", plan{Modules: []string{"tun"}}))
	must(t, m.tree("none", "testdata/there-is-none"))
	archive, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	must(t, m.write(archive))
	in, err := os.Open(archive)
	must(t, err)
	defer in.Close()
	cmd := exec.Command(cpio, "cpio", "-i", "-d", "etc/*", "tests/*", "plan.json", "lib", "usr/bin")
	cmd.Stdin, cmd.Dir = in, dir
	_, err = output(cmd)
	must(t, err)
	var p plan
	must(t, readJSON(filepath.Join(dir, "plan.json"), &p))
	if len(p.Modules) != 1 || p.Modules[0] != "tun" {
		t.Errorf("plan %+v", p)
	}
	self, err := os.ReadFile(os.Args[0])
	must(t, err)
	if got, err := os.ReadFile(filepath.Join(dir, "tests/self")); err != nil || !bytes.Equal(got, self) {
		t.Errorf("tests/self differs: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "tests/self")); err != nil || info.Mode().Perm()&0o111 == 0 {
		t.Errorf("tests/self cannot be run: %v, %v", info, err)
	}
	if got, err := os.Readlink(filepath.Join(dir, "lib")); err != nil || got != "usr/lib" {
		t.Errorf("lib leads to %q, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "etc/passwd")); err != nil {
		t.Error(err)
	}
}
