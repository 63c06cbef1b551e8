package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A state is where a lab that runs keeps its files:
//
//	BASE/NAME.lock     held (flock) for as long as the lab lives; its pid inside;
//	                   removed, by whoever holds it, once the lab has ended
//	BASE/NAME/         gone when the lab is down
//	    lab.sock       control socket
//	    lab.log        what the lab itself had to say
//	    hosts          the names of pods and nodes
//	    net-conf.json
//	    n1/weft.log  n1/subnet.env  …
//
// BASE is $XDG_RUNTIME_DIR/weft/lab, or without that variable /run/weft/lab for
// root; where that cannot be written, $TMPDIR/weft-UID/lab.
type state struct{ base, name string }

func (s state) dir() string      { return filepath.Join(s.base, s.name) }
func (s state) lockFile() string { return s.dir() + ".lock" }
func (s state) socket() string   { return filepath.Join(s.dir(), "lab.sock") }
func (s state) log() string      { return filepath.Join(s.dir(), "lab.log") }

// newState returns where the lab of that name keeps its files, and makes sure
// that nobody but the user can get at them.
func newState(name string) (state, error) {
	if !validName.MatchString(name) {
		return state{}, fmt.Errorf("lab name %q: want up to 32 letters, digits, '-', '_' or '.'", name)
	}
	base, err := stateBase()
	return state{base, name}, err
}

func stateBase() (string, error) {
	return firstUsable(stateRoots(os.Getuid(), os.Getenv("XDG_RUNTIME_DIR")), os.Getuid())
}

// stateRoots lists where a user's labs may be, the best place first.
func stateRoots(uid int, runtimeDir string) (roots []string) {
	if runtimeDir != "" {
		roots = append(roots, filepath.Join(runtimeDir, "weft"))
	} else if uid == 0 {
		roots = append(roots, "/run/weft")
	}
	return append(roots, filepath.Join(os.TempDir(), fmt.Sprintf("weft-%d", uid)))
}

// firstUsable makes the directory of the labs below the first root where it
// can be written. A root that belongs to somebody else is an error and not
// passed over: below /tmp someone might have been here first.
func firstUsable(roots []string, uid int) (string, error) {
	var errs []error
	for _, root := range roots {
		base := filepath.Join(root, "lab")
		err := os.MkdirAll(base, 0o700)
		if err == nil {
			if err := checkOwner(root, uid); err != nil {
				return "", err
			}
			err = unix.Access(base, unix.W_OK)
		}
		if err == nil {
			return base, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", base, err))
	}
	return "", fmt.Errorf("no directory for labs: %w\ncure: set XDG_RUNTIME_DIR or TMPDIR to a directory that can be written", errors.Join(errs...))
}

func checkOwner(root string, uid int) error {
	var st unix.Stat_t
	if err := unix.Lstat(root, &st); err != nil {
		return fmt.Errorf("state directory %s: %w", root, err)
	}
	if int(st.Uid) != uid || st.Mode&0o022 != 0 {
		return fmt.Errorf("state directory %s: owned by user %d with mode %#o, want user %d and writable by nobody else",
			root, st.Uid, st.Mode&0o7777, uid)
	}
	return nil
}

// claim takes the lock of the lab and empties its directory. The lock is held
// until every copy of the file is closed.
func (s state) claim() (*os.File, error) {
	lock, err := s.lock()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("lab %q is up already (pid %d); stop it with: %s", s.name, s.pid(), s.command("down"))
	}
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.RemoveAll(s.dir()), os.Mkdir(s.dir(), 0o700)); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// lock opens the lock file and locks it, or returns EWOULDBLOCK. Since forget
// removes the file while it holds it, a lock counts only if the path still
// leads to it afterwards.
func (s state) lock() (*os.File, error) {
	for {
		f, err := os.OpenFile(s.lockFile(), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		same := false
		if err == nil {
			same, err = isAt(f, s.lockFile())
		}
		if same {
			return f, nil
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// isAt reports whether path leads to the open file f.
func isAt(f *os.File, path string) (bool, error) {
	opened, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(opened, there), err
}

// forget removes all files of a lab that has ended. One that has come up under
// the same name meanwhile is left alone.
func (s state) forget() error {
	lock, err := s.lock()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	return errors.Join(os.RemoveAll(s.dir()), os.Remove(s.lockFile()))
}

// running reports whether the lab's lock is held.
func (s state) running() bool {
	f, err := os.Open(s.lockFile())
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// awaitEnd blocks until no process of the lab is left.
func (s state) awaitEnd() error {
	f, err := os.Open(s.lockFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has ended and is forgotten
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_SH)
		if err != unix.EINTR {
			return err
		}
	}
}

// pid is the process id of the lab as its starter saw it, 0 if unknown.
func (s state) pid() int {
	b, err := os.ReadFile(s.lockFile())
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}

func writePID(lock *os.File, pid int) error {
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err := lock.WriteAt([]byte(strconv.Itoa(pid)+"\n"), 0)
	return err
}

// kill ends the lab without asking it.
func (s state) kill() error {
	if pid := s.pid(); pid > 1 && s.running() {
		return syscall.Kill(pid, syscall.SIGKILL)
	}
	return nil
}

// states lists the labs of this user that run.
func states() ([]state, error) {
	base, err := stateBase()
	if err != nil {
		return nil, err
	}
	locks, err := filepath.Glob(filepath.Join(base, "*.lock"))
	if err != nil {
		return nil, err
	}
	var list []state
	for _, l := range locks {
		s := state{base, strings.TrimSuffix(filepath.Base(l), ".lock")}
		if s.running() {
			list = append(list, s)
		}
	}
	return list, nil
}

// command is a command line about this lab, for hints.
func (s state) command(args string) string {
	verb, rest, _ := strings.Cut(args, " ")
	line := "weft lab " + verb
	if s.name != "default" {
		line += " --name " + s.name
	}
	if rest != "" {
		line += " " + rest
	}
	return line
}
