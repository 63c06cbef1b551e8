package wg

import (
	"bufio"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// shortDir is a directory whose name leaves room for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "wg")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(d) })
	return d
}

func ask(t *testing.T, path, question string) []string {
	t.Helper()
	c, err := net.Dial("unix", path)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(limit)))
	_, err = c.Write([]byte(question))
	must(t, err)
	var lines []string
	for s := bufio.NewScanner(c); s.Scan() && s.Text() != ""; {
		lines = append(lines, s.Text())
	}
	return lines
}

// wg(8) gets what the device has, and can change it.
func TestSocket(t *testing.T) {
	a, b := pair(t, 0, nil)
	dir := filepath.Join(shortDir(t), "run", "wireguard") // is made
	s, err := a.Serve(dir)
	must(t, err)
	path := filepath.Join(dir, "wg-test.sock")
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	text := strings.Join(ask(t, path, "get=1\n\n"), "\n")
	for _, want := range []string{"public_key=" + hexOf(b.key()), "endpoint=" + b.at(0).String(), "allowed_ip=10.5.2.0/24", "listen_port=", "errno=0"} {
		if !strings.Contains(text, want) {
			t.Errorf("the answer lacks %s:\n%s", want, text)
		}
	}
	set := "set=1\npublic_key=" + hexOf(b.key()) + "\npersistent_keepalive_interval=25\n\n"
	if got := strings.Join(ask(t, path, set), " "); got != "errno=0" {
		t.Errorf("set: %q", got)
	}
	if text, _ := a.dev.IpcGet(); !strings.Contains(text, "persistent_keepalive_interval=25") {
		t.Error("nothing was set")
	}
	if got := strings.Join(ask(t, path, "set=1\nnonsense=1\n\n"), " "); !strings.HasPrefix(got, "errno=") || got == "errno=0" {
		t.Errorf("nonsense: %q", got)
	}

	open, err := net.Dial("unix", path)
	must(t, err)
	defer open.Close()
	_, err = open.Write([]byte("set=1\n")) // and no more: the device waits for it
	must(t, err)
	must(t, s.Close())
	must(t, open.SetDeadline(time.Now().Add(limit)))
	if _, err := open.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a client of a closed socket: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	a.meet(b)
}

// A socket that nobody serves is replaced; one that somebody does, is not, and
// stays.
func TestSocketTaken(t *testing.T) {
	a, b := newNode(t, 1, nil), newNode(t, 2, nil)
	dir := shortDir(t)
	path := filepath.Join(dir, "wg-test.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	must(t, err)
	dead.SetUnlinkOnClose(false)
	must(t, dead.Close())
	s, err := a.Serve(dir)
	must(t, err)
	if _, err := b.Serve(dir); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), path) {
		t.Errorf("the second: %v", err)
	}
	if got := ask(t, path, "get=1\n\n"); len(got) < 2 {
		t.Errorf("the first answers %q", got)
	}
	must(t, s.Close())
	s, err = b.Serve(dir)
	must(t, err)
	must(t, s.Close())
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := b.Serve(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a directory that is none: %v", err)
	}
}

// One that lives and is too busy to answer is not taken for dead.
func TestSocketBusy(t *testing.T) {
	a := newNode(t, 1, nil)
	dir := shortDir(t)
	path := filepath.Join(dir, "wg-test.sock")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	must(t, unix.Listen(fd, 0))
	for range 8 { // nobody accepts
		c, err := net.DialTimeout("unix", path, time.Second)
		if err != nil {
			break
		}
		defer c.Close()
	}
	before, err := os.Lstat(path)
	must(t, err)
	if s, err := a.Serve(dir); err == nil {
		s.Close()
		t.Fatal("a living socket was replaced")
	}
	if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("it is another one: %v", err)
	}
}
