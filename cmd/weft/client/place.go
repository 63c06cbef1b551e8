package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weft/engine/control"
)

// SystemDir is where the sockets of the system's nodes are.
const SystemDir = "/run/weft"

// ext is how the name of a socket's file ends.
const ext = ".sock"

// A Socket is a control socket at which a process listens.
type Socket struct {
	Name   string // of the node, as a rule
	Path   string
	Denied bool // this user may not connect
}

// Dirs lists the directories that sockets can be in, the best first. getenv is
// os.Getenv, or stands for it.
func Dirs(getenv func(string) string) []string {
	dirs := []string{SystemDir}
	if run := getenv("XDG_RUNTIME_DIR"); run != "" {
		dirs = append(dirs, filepath.Join(run, "weft"))
	}
	tmp := cmp.Or(getenv("TMPDIR"), "/tmp")
	dirs = append(dirs, filepath.Join(tmp, fmt.Sprintf("weft-%d", os.Geteuid())))
	for i, d := range dirs {
		dirs[i] = filepath.Clean(d)
	}
	return dedup(dirs)
}

// dedup leaves the first of equal strings.
func dedup(list []string) (kept []string) {
	for _, s := range list {
		if !slices.Contains(kept, s) {
			kept = append(kept, s)
		}
	}
	return kept
}

// MakePath returns the path for the socket of a node, in the first of dirs that
// can be used, which it makes if need be: SystemDir open to all, so that the
// socket's own mode decides, and every other one for this user alone.
func MakePath(dirs []string, node string) (string, error) {
	var errs []error
	for _, dir := range dirs {
		mode := fs.FileMode(0o700)
		if dir == SystemDir {
			mode = 0o755
		}
		err := makeDir(dir, mode)
		if err == nil {
			return filepath.Join(dir, FileName(node)), nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("no directory for the control socket: %w", errors.Join(errs...))
}

// makeDir makes sure that dir is this user's, that he can write to it, and that
// nobody else can. A directory that is made has mode; one that was there keeps
// its own, which somebody may have chosen.
func makeDir(dir string, mode fs.FileMode) error {
	err := os.Mkdir(dir, mode)
	switch {
	case err == nil:
		err = os.Chmod(dir, mode) // whatever the umask is
	case errors.Is(err, fs.ErrExist):
		err = own(dir)
	}
	if err != nil {
		return err
	}
	return os.NewSyscallError("access "+dir, unix.Access(dir, unix.W_OK))
}

// own returns an error unless dir is a directory of this user that nobody else
// may write to.
func own(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s: not a directory", dir)
	case int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0:
		return fmt.Errorf("%s: owned by user %d with mode %#o, want user %d and writable by nobody else",
			dir, st.Uid, st.Mode&0o7777, os.Geteuid())
	}
	return nil
}

// FileName is the name of the socket's file of a node: the node's own name, with
// "-" for what does not belong into a file's name.
func FileName(node string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("-_.", r):
			return r
		}
		return '-'
	}, node)
	name = strings.TrimLeft(name, ".-")
	const longest = 64
	return cmp.Or(name[:min(len(name), longest)], "weft") + ext
}

// Sockets lists the sockets at which somebody listens, in all of Dirs.
func Sockets() []Socket { return socketsIn(Dirs(os.Getenv)) }

func socketsIn(dirs []string) (list []Socket) {
	for _, dir := range dirs {
		if dir != SystemDir && own(dir) != nil {
			continue // somebody else's, who could answer what he likes
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // not there, or not for us
		}
		for _, e := range entries {
			name, ok := strings.CutSuffix(e.Name(), ext)
			if !ok || e.Type() != fs.ModeSocket {
				continue
			}
			s := Socket{Name: name, Path: filepath.Join(dir, e.Name())}
			if s.answers() {
				list = append(list, s)
			}
		}
	}
	return list
}

// answers reports whether somebody listens, and notes whether he lets us in.
func (s *Socket) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := control.Dial(ctx, s.Path)
	if err == nil {
		c.Close()
	}
	s.Denied = errors.Is(err, fs.ErrPermission)
	return err == nil || s.Denied
}

// find returns the path of the socket that is meant by socket, a path or a name
// or empty.
func find(socket string, dirs []string) (Socket, error) {
	if strings.Contains(socket, "/") {
		return Socket{Name: strings.TrimSuffix(filepath.Base(socket), ext), Path: socket}, nil
	}
	list := socketsIn(dirs)
	if socket != "" {
		name := strings.TrimSuffix(socket, ext)
		for _, s := range list {
			if s.Name == name {
				return s, nil
			}
		}
		return Socket{}, fmt.Errorf("no node %q answers in %s%s", socket, strings.Join(dirs, ", "), choice(list))
	}
	switch len(list) {
	case 0:
		return Socket{}, fmt.Errorf("no weft answers: there is no control socket in %s; start a node with \"weft up\", "+
			"or name its socket with --socket or $%s", strings.Join(dirs, ", "), Env)
	case 1:
		return list[0], nil
	}
	return Socket{}, fmt.Errorf("several nodes run here, choose one with --socket NAME%s", choice(list))
}

// choice lists sockets for a message.
func choice(list []Socket) string {
	if len(list) == 0 {
		return ""
	}
	var items []string
	for _, s := range list {
		items = append(items, fmt.Sprintf("%s (%s)", s.Name, s.Path))
	}
	return ": " + strings.Join(items, ", ")
}
