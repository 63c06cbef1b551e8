package lab

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab/probe"
)

func TestStateRoots(t *testing.T) {
	t.Setenv("TMPDIR", "/scratch")
	for _, c := range []struct {
		uid        int
		runtimeDir string
		want       []string
	}{
		{1000, "/run/user/1000", []string{"/run/user/1000/weft", "/scratch/weft-1000"}},
		{1000, "", []string{"/scratch/weft-1000"}},
		{0, "", []string{"/run/weft", "/scratch/weft-0"}},
		{0, "/run/user/0", []string{"/run/user/0/weft", "/scratch/weft-0"}},
	} {
		if got := stateRoots(c.uid, c.runtimeDir); !slices.Equal(got, c.want) {
			t.Errorf("user %d, XDG_RUNTIME_DIR %q: %q, want %q", c.uid, c.runtimeDir, got, c.want)
		}
	}
}

// A root where nothing can be made is passed over; if that is all of them, the
// error says what to do.
func TestFirstUsable(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	blocked, good := filepath.Join(file, "weft"), filepath.Join(dir, "good")
	got, err := firstUsable([]string{blocked, good, filepath.Join(dir, "other")}, os.Getuid())
	if want := filepath.Join(good, "lab"); err != nil || got != want {
		t.Errorf("base %q, %v, want %q", got, err, want)
	}
	if _, err := firstUsable([]string{blocked}, os.Getuid()); err == nil ||
		!strings.Contains(err.Error(), blocked) || !strings.Contains(err.Error(), "cure: ") {
		t.Errorf("error %v, want one that names %s and a cure", err, blocked)
	}
	must(t, os.Chmod(good, 0o777))
	if got, err := firstUsable([]string{good, filepath.Join(dir, "other")}, os.Getuid()); err == nil {
		t.Errorf("base %q below a directory that anybody can write", got)
	}
}

// The lock file goes with its lab, but not with the next one of that name; and
// who was about to lock the removed file locks the new one.
func TestForget(t *testing.T) {
	s := state{base: t.TempDir(), name: "x"}
	old, err := os.OpenFile(s.lockFile(), os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer old.Close()
	must(t, s.forget())
	if left, err := os.ReadDir(s.base); err != nil || len(left) != 0 {
		t.Errorf("left after forget: %v, %v", left, err)
	}
	must(t, s.awaitEnd())
	lock, err := s.claim()
	must(t, err)
	defer lock.Close()
	if same, err := isAt(old, s.lockFile()); same || err != nil {
		t.Errorf("the removed file counts as the lock: %v, %v", same, err)
	}
	must(t, s.forget())
	if !s.running() {
		t.Error("the lock of a lab that is up was removed")
	}
	if _, err := s.lock(); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("second lock: %v, want %v", err, unix.EWOULDBLOCK)
	}
}

func TestVerdict(t *testing.T) {
	r := row{flow: &probe.Flow{SHA256: "aa"}, sent: "aa"}
	if got := r.verdict(); got != "= what was sent" {
		t.Errorf("same hash: %q", got)
	}
	r.sent = "bb"
	if got := r.verdict(); got != "≠ what was sent, bb" {
		t.Errorf("other hash: %q", got)
	}
}
