package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Mode is what a control socket's file has in the end.
const Mode fs.FileMode = 0o660

// DefaultGroup is the group whose members may read, if there is one of that name.
const DefaultGroup = "weft"

// names is how many names are tried for a socket: NAME.sock, NAME-2.sock, …
const names = 9

// A Listener listens at a control socket. Closing it removes the socket's file.
type Listener struct {
	net.Listener
	Path string // where it is: as asked for, or a name next to it

	dir  *os.File // that the file is in
	file fileID
}

// fileID tells one file from another.
type fileID struct{ dev, ino uint64 }

// Listen makes a control socket at path, in a directory that exists. A socket
// that a dead process left there is replaced; beside one that is in use, NAME.sock,
// the next free name is taken, as in NAME-2.sock. group is a group's name or
// number; empty: DefaultGroup if there is one. A group that cannot be given to
// the file is a warning in the log.
func Listen(path, group string, log *slog.Logger) (*Listener, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	unlock := lockDir(dir)
	defer unlock()
	for i := 1; i <= names; i++ {
		at := numbered(path, i)
		l, err := listenAt(dir, at, group, log)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, errInUse) || i == names {
			dir.Close()
			return nil, fmt.Errorf("control socket %s: %w", at, err)
		}
	}
	panic("unreachable")
}

// numbered is the i-th name to try: i is put in front of the extension.
func numbered(path string, i int) string {
	if i == 1 {
		return path
	}
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(path, ext), i, ext)
}

// lockDir keeps other daemons from making their sockets in dir until the result
// is called, so that none takes a socket that is about to listen for a dead one.
// Whoever may read the directory can lock it too, so there is an end to patience.
func lockDir(dir *os.File) (unlock func()) {
	const tries, pause = 20, 10 * time.Millisecond
	for range tries {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = unix.Flock(int(dir.Fd()), unix.LOCK_UN) } // or when dir is closed
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break // a file system without locks
		}
		time.Sleep(pause)
	}
	return func() {}
}

// errInUse says that another process listens at a name.
var errInUse = errors.New("another process listens there")

// listenAt makes the socket at path, in dir.
func listenAt(dir *os.File, path, group string, log *slog.Logger) (*Listener, error) {
	name := filepath.Base(path)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	sock := os.NewFile(uintptr(fd), path)
	defer sock.Close()
	// The kernel gives the file the socket's mode, less the umask.
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return nil, os.NewSyscallError("fchmod", err)
	}
	err = bind(fd, dir, name)
	if errors.Is(err, unix.EADDRINUSE) {
		if err = clear(dir, name); err == nil {
			err = bind(fd, dir, name)
		}
	}
	if err != nil {
		return nil, err
	}
	l := &Listener{Path: path, dir: dir}
	if l.file, err = open(dir, name, group, log); err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, unix.SOMAXCONN))
	}
	if err == nil {
		l.Listener, err = net.FileListener(sock)
	}
	if err != nil {
		return nil, errors.Join(err, l.remove())
	}
	return l, nil
}

// bind names the socket.
func bind(fd int, dir *os.File, name string) error {
	return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrUnix{Name: short(dir, name)}))
}

// maxName is the longest name of a socket, in bytes (unix(7)).
const maxName = 107

// short is a path of a file in dir that a socket can have as its name: by way of
// the directory's descriptor if its own is too long.
func short(dir *os.File, name string) string {
	if path := filepath.Join(dir.Name(), name); len(path) <= maxName {
		return path
	}
	return "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + name
}

// clear removes a socket at which nobody listens.
func clear(dir *os.File, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("stat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errors.New("there is a file that is no socket")
	}
	c, err := net.Dial("unix", short(dir, name))
	if err == nil {
		c.Close()
		return errInUse
	}
	if !errors.Is(err, unix.ECONNREFUSED) { // as EACCES: somebody else's
		return fmt.Errorf("%w: %w", errInUse, err)
	}
	return os.NewSyscallError("unlink", unix.Unlinkat(int(dir.Fd()), name, 0))
}

// open gives the socket's file its group, then its mode. It goes by a descriptor
// of the file, so that nothing else is changed if something else stands there.
func open(dir *os.File, name, group string, log *slog.Logger) (fileID, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fileID{}, os.NewSyscallError("open", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fileID{}, os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fileID{}, errors.New("something else took the place of the socket")
	}
	if gid, err := groupID(group); err != nil {
		log.Warn("control socket: group not set; only this user and root can connect", "group", group, "err", err)
	} else if gid >= 0 {
		if err := unix.Fchownat(fd, "", -1, gid, unix.AT_EMPTY_PATH); err != nil {
			log.Warn("control socket: group not set; members of it cannot connect", "gid", gid, "err", err)
		}
	}
	err = os.NewSyscallError("chmod", unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), uint32(Mode)))
	return fileID{uint64(st.Dev), st.Ino}, err
}

// groupID is the number of a group; -1: leave the file's as it is.
func groupID(group string) (int, error) {
	if n, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(n), nil
	}
	name := group
	if name == "" {
		name = DefaultGroup
	}
	g, err := user.LookupGroup(name)
	if err != nil && group == "" {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	return strconv.Atoi(g.Gid)
}

// Close stops listening and removes the file, unless another has taken its
// place.
func (l *Listener) Close() error {
	err := l.Listener.Close()
	if errors.Is(err, net.ErrClosed) {
		return err
	}
	return errors.Join(err, l.remove(), l.dir.Close())
}

func (l *Listener) remove() error {
	name := filepath.Base(l.Path)
	var st unix.Stat_t
	err := unix.Fstatat(int(l.dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && (l.file == fileID{} || l.file == fileID{uint64(st.Dev), st.Ino}) {
		err = unix.Unlinkat(int(l.dir.Fd()), name, 0)
	}
	if errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return os.NewSyscallError("remove socket", err)
}

// Dial connects to a control socket; its path may be as long as any.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	dir, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return new(net.Dialer).DialContext(ctx, "unix", short(dir, filepath.Base(path)))
}
