package control

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

var quiet = slog.New(slog.DiscardHandler)

func listen(t *testing.T, path, group string) *Listener {
	t.Helper()
	l, err := Listen(path, group, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dial(t *testing.T, path string) error {
	c, err := Dial(t.Context(), path)
	if err == nil {
		c.Close()
	}
	return err
}

// The socket has its mode whatever the umask is, and is gone after Close.
func TestListen(t *testing.T) {
	for _, mask := range []int{0, 0o077, 0o777} {
		path := filepath.Join(shortDir(t), "n1.sock")
		old := syscall.Umask(mask)
		l := listen(t, path, "")
		syscall.Umask(old)
		st, err := os.Stat(path)
		if err != nil || st.Mode() != Mode|os.ModeSocket || l.Path != path {
			t.Errorf("umask %#o: %v, %v at %s", mask, st, err, l.Path)
		}
		if err := dial(t, path); err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// What a dead process left is replaced; what is alive is not.
func TestListenBesideOthers(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "n1.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	first := listen(t, path, "")
	defer first.Close()
	second := listen(t, path, "")
	defer second.Close()
	third := listen(t, path, "")
	if first.Path != path || second.Path != filepath.Join(dir, "n1-2.sock") || third.Path != filepath.Join(dir, "n1-3.sock") {
		t.Errorf("sockets at %s, %s, %s", first.Path, second.Path, third.Path)
	}
	third.Close()
	if err := dial(t, first.Path); err != nil {
		t.Error(err)
	}
	if err := dial(t, second.Path); err != nil {
		t.Error(err)
	}
}

// A file that is no socket is left alone.
func TestListenOnAFile(t *testing.T) {
	path := filepath.Join(shortDir(t), "n1.sock")
	if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if l, err := Listen(path, "", quiet); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v, %v", l, err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := Listen(filepath.Join(path, "x.sock"), "", quiet); err == nil {
		t.Error("a socket below a file")
	}
}

// Close leaves alone what took the socket's place.
func TestCloseAfterReplacement(t *testing.T) {
	path := filepath.Join(shortDir(t), "n1.sock")
	l := listen(t, path, "")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other := listen(t, path, "")
	defer other.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := dial(t, path); err != nil {
		t.Error(err)
	}
}

// A path that is too long for a socket's name works all the same.
func TestListenFarDown(t *testing.T) {
	dir := filepath.Join(shortDir(t), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "n1.sock")
	l := listen(t, path, "")
	defer l.Close()
	if second := listen(t, path, ""); second.Path != filepath.Join(dir, "n1-2.sock") {
		t.Errorf("second at %s: the first was taken for dead", second.Path)
	} else {
		second.Close()
	}
	if err := dial(t, path); err != nil {
		t.Error(err)
	}
}

// A statWriter notes what the socket is like while something is logged.
type statWriter struct {
	t    *testing.T
	path string
	seen []os.FileMode
}

func (w *statWriter) Write(b []byte) (int, error) {
	st, err := os.Stat(w.path)
	if err != nil {
		return 0, err
	}
	w.seen = append(w.seen, st.Mode())
	if err := dial(w.t, w.path); err == nil {
		w.t.Error("it listens before it has its group and its mode")
	}
	return len(b), nil
}

// Until it has its group the socket is for nobody else, and nobody is let in.
func TestListenNeverTooOpen(t *testing.T) {
	w := &statWriter{t: t, path: filepath.Join(shortDir(t), "n1.sock")}
	defer syscall.Umask(syscall.Umask(0))
	l, err := Listen(w.path, "no-such-group", slog.New(slog.NewTextHandler(w, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if len(w.seen) != 1 || w.seen[0].Perm() != 0o600 {
		t.Errorf("modes before the group was set: %v, want 0600 once", w.seen)
	}
}

func TestListenGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to give a file to any group takes root")
	}
	path := filepath.Join(shortDir(t), "n1.sock")
	l := listen(t, path, "4242")
	defer l.Close()
	st, err := os.Stat(path)
	if err != nil || st.Sys().(*syscall.Stat_t).Gid != 4242 || st.Mode().Perm() != Mode {
		t.Errorf("%+v, %v", st, err)
	}
	var b bytes.Buffer
	odd, err := Listen(path, "no-such-group", slog.New(slog.NewTextHandler(&b, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer odd.Close()
	if !strings.Contains(b.String(), "level=WARN") || !strings.Contains(b.String(), "no-such-group") {
		t.Errorf("log: %s", &b)
	}
}
