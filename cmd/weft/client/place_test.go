package client

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// listenIn makes sockets in dir at which somebody listens.
func listenIn(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
}

// The one socket there is need not be named; of several the user chooses.
func TestFind(t *testing.T) {
	root := shortDir(t)
	a, b := filepath.Join(root, "a"), filepath.Join(root, "b")
	dirs := []string{a, filepath.Join(root, "none"), b}
	for _, dir := range []string{a, b} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := find("", dirs); err == nil || !strings.Contains(err.Error(), a) || !strings.Contains(err.Error(), b) || !strings.Contains(err.Error(), "weft up") {
		t.Errorf("none there: %v, %v", s, err)
	}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(a, "dead.sock")})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if err := os.WriteFile(filepath.Join(a, "file.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	listenIn(t, b, "n1.sock", "other")
	want := Socket{Name: "n1", Path: filepath.Join(b, "n1.sock")}
	if s, err := find("", dirs); err != nil || s != want {
		t.Errorf("one there: %v, %v", s, err)
	}
	listenIn(t, a, "n2.sock")
	if s, err := find("", dirs); err == nil || !strings.Contains(err.Error(), "n1 (") || !strings.Contains(err.Error(), "n2 (") || !strings.Contains(err.Error(), "--socket") {
		t.Errorf("two there: %v, %v", s, err)
	}
	for _, name := range []string{"n1", "n1.sock", want.Path} {
		if s, err := find(name, dirs); err != nil || s != want {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	if s, err := find("dead", dirs); err == nil || !strings.Contains(err.Error(), "n2 (") {
		t.Errorf("a name at which nobody listens: %v, %v", s, err)
	}
}

// A directory that others can write to is not looked at, nor used.
func TestForeignDirectory(t *testing.T) {
	dir := shortDir(t)
	listenIn(t, dir, "n1.sock")
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if list := socketsIn([]string{dir}); list != nil {
		t.Errorf("sockets in a directory of everybody's: %v", list)
	}
	if path, err := MakePath([]string{dir}, "n1"); err == nil {
		t.Errorf("a socket in a directory of everybody's: %s", path)
	}
	link := filepath.Join(shortDir(t), "link")
	if err := os.Symlink(shortDir(t), link); err != nil {
		t.Fatal(err)
	}
	if path, err := MakePath([]string{link}, "n1"); err == nil {
		t.Errorf("a socket behind a link: %s", path)
	}
}

func TestMakePath(t *testing.T) {
	root := shortDir(t)
	file := filepath.Join(root, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "weft")
	path, err := MakePath([]string{filepath.Join(file, "weft"), filepath.Join(root, "no", "weft"), dir}, "n1")
	if err != nil || path != filepath.Join(dir, "n1.sock") {
		t.Fatalf("%s, %v", path, err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st, err)
	}
	if again, err := MakePath([]string{dir}, "n1"); err != nil || again != path {
		t.Errorf("a second time %s, %v", again, err)
	}
	if _, err := MakePath([]string{file}, "n1"); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
}

// A directory is made with its mode whatever the umask is, and keeps what an
// administrator gave it.
func TestMakeDirMode(t *testing.T) {
	dir := filepath.Join(shortDir(t), "weft")
	old := unix.Umask(0o077)
	err := makeDir(dir, 0o755)
	unix.Umask(old)
	if st, statErr := os.Stat(dir); err != nil || statErr != nil || st.Mode().Perm() != 0o755 {
		t.Fatalf("made %v, %v, %v", st, err, statErr)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := makeDir(dir, 0o755); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("its mode was changed: %v, %v", st, err)
	}
}

func TestFileName(t *testing.T) {
	for node, want := range map[string]string{
		"n1": "n1.sock", "node-1.example.org": "node-1.example.org.sock", "": "weft.sock", "../../etc/x": "etc-x.sock", ".hidden": "hidden.sock",
		"a b/c\n": "a-b-c-.sock", "ü": "weft.sock", strings.Repeat("x", 300): strings.Repeat("x", 64) + ".sock",
	} {
		if got := FileName(node); got != want {
			t.Errorf("%q: %s, want %s", node, got, want)
		}
	}
}

func TestDirs(t *testing.T) {
	env := map[string]string{"XDG_RUNTIME_DIR": "/run/user/1000/", "TMPDIR": "/var/tmp"}
	got := strings.Join(Dirs(func(k string) string { return env[k] }), " ")
	if !strings.HasPrefix(got, "/run/weft /run/user/1000/weft /var/tmp/weft-") {
		t.Error(got)
	}
	env["XDG_RUNTIME_DIR"] = "/run"
	if got := Dirs(func(k string) string { return env[k] }); len(got) != 2 {
		t.Errorf("%q: one directory twice", got)
	}
}
