package wg

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Where keys lie. flannel reads the variable WIREGUARD_KEY_FILE first, and has
// only the first place by default; /run is empty after a boot, so each boot
// gives a flannel node another key.
const (
	FlannelKeyFile = "/run/flannel/wgkey"
	StateKeyFile   = "/var/lib/weft/wgkey"
)

// UserKeyFile returns where the key of a plain user lies, by the XDG base
// directory specification; "" if getenv knows neither XDG_STATE_HOME nor HOME.
func UserKeyFile(getenv func(string) string) string {
	state := getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) { // to be ignored, says the specification
		home := getenv("HOME")
		if !filepath.IsAbs(home) {
			return ""
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "weft", "wgkey")
}

// A StoredKey is a private key and the file that keeps it.
type StoredKey struct {
	Key     PrivateKey
	Path    string
	Created bool   // the file was not there before
	Why     string // why this file, in a few words for the log; from ResolveKeyFile
	Warning string // what is wrong with the file and how to put it right; or ""
}

// LoadKey reads the key in the file at path, a private key in base64 with or
// without white space around it. If there is no file it makes a key and the
// file, and its directory with mode 0755: the file has mode 0600 and its whole
// contents from the first moment, and of several processes that make it at
// once all return the one key that stays.
//
// A file that others can read or write is used, with a Warning. The error for
// one that holds no key names the path and never what is in it.
func LoadKey(path string) (StoredKey, error) {
	return readOrCreate(path, NewPrivateKey())
}

func readOrCreate(path string, key PrivateKey) (StoredKey, error) {
	k, err := readKey(path)
	if absent(err) {
		return createKey(path, key)
	}
	return k, err
}

// absent tells whether err says that there is no such file.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

// maxKeyFile bounds what is read as a key: 44 characters, and room for white
// space.
const maxKeyFile = 1024

func readKey(path string) (StoredKey, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO without a writer is no reason to wait
	if err != nil {
		return StoredKey{}, fmt.Errorf("WireGuard key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return StoredKey{}, fmt.Errorf("WireGuard key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return StoredKey{}, fmt.Errorf("WireGuard key: %s is not a regular file: mode %v", path, info.Mode())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return StoredKey{}, fmt.Errorf("WireGuard key: %w", err)
	}
	k := StoredKey{Path: path}
	if k.Key, err = parsePrivateKey(text); err != nil {
		return StoredKey{}, fmt.Errorf("WireGuard key: %s %w", path, err)
	}
	if mode := info.Mode().Perm(); mode&0o066 != 0 {
		k.Warning = fmt.Sprintf("%s has mode %04o, so others can get at the private key; chmod 0600 %[1]s", path, mode)
	}
	return k, nil
}

// parsePrivateKey words its errors to follow a file's name. They do not quote.
func parsePrivateKey(text []byte) (PrivateKey, error) {
	if len(text) > maxKeyFile {
		return PrivateKey{}, fmt.Errorf("is longer than %d bytes, which no key is", maxKeyFile)
	}
	s := strings.TrimSpace(string(text))
	if s == "" {
		return PrivateKey{}, errors.New("is empty")
	}
	raw, err := base64.StdEncoding.DecodeString(s)
	switch {
	case err != nil:
		return PrivateKey{}, errors.New("does not hold base64")
	case len(raw) != len(PrivateKey{}):
		return PrivateKey{}, fmt.Errorf("holds the base64 of %d bytes; a key has 32", len(raw))
	case PrivateKey(raw) == PrivateKey{}:
		return PrivateKey{}, errors.New("holds nothing but zeros")
	}
	return PrivateKey(raw), nil
}

var errCreate = errors.New("cannot be made")

// createKey puts key into a new file at path, as [LoadKey] describes. If
// another process has made one meanwhile it returns that one's key.
func createKey(path string, key PrivateKey) (StoredKey, error) {
	err := createFile(path, base64.StdEncoding.EncodeToString(key[:]))
	if errors.Is(err, fs.ErrExist) {
		k, err := readKey(path)
		if absent(err) {
			err = fmt.Errorf("WireGuard key: %s is a symbolic link to nothing", path)
		}
		return k, err
	}
	if err != nil {
		return StoredKey{}, fmt.Errorf("WireGuard key: %s %w: %w", path, errCreate, err)
	}
	return StoredKey{Key: key, Path: path, Created: true}, nil
}

// createFile makes a file of mode 0600 that was not there before, in one step
// that lasts through a crash. The error is fs.ErrExist if it is there.
func createFile(path, text string) (err error) {
	dir, name := filepath.Split(path)
	dir = filepath.Clean(dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+name+".*") // O_EXCL, 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // a second name after a link, nothing after a rename
	defer f.Close()           // a second Close does no harm
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := publish(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// publish gives the file called from the name to, if nothing has it. Not every
// file system can do each of the two.
func publish(from, to string) error {
	err := renameNew(from, to)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP) {
		return os.Link(from, to)
	}
	return err
}

func renameNew(from, to string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE); err != nil {
		return &os.LinkError{Op: "renameat2", Old: from, New: to, Err: err}
	}
	return nil
}

// syncDir makes a new name in dir last through a crash.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: this file system cannot
		return err
	}
	return nil
}

// ResolveKeyFile returns the node's key from the first place that can keep one,
// and makes it there if need be:
//
//  1. statePath, which outlasts a reboot. If it is not there yet and stock
//     flanneld has left a key in flannelPath, that key is copied, so that
//     taking over from flanneld changes nothing for the peers.
//  2. flannelPath, where statePath cannot be made or may not be read.
//  3. userPath, for a plain user, who may write neither; "" leaves it out.
//
// Why says which it was, and what was wrong with those before. A file that may
// be read and holds no key is an error, not a reason to go on: a node gets
// another key only by somebody's wish. But what cannot be copied is let be.
func ResolveKeyFile(flannelPath, statePath, userPath string) (StoredKey, error) {
	key, origin := NewPrivateKey(), ""
	left, err := readKey(flannelPath)
	if err == nil {
		key, origin = left.Key, ", adopted from "+flannelPath
		if left.Warning != "" {
			origin += " although " + left.Warning
		}
	} else if !absent(err) {
		origin = ", new: " + err.Error()
	}
	var failed error
	for _, place := range [...]struct{ path, why string }{
		{statePath, "kept over reboots"},
		{flannelPath, "in flannel's place, which a reboot clears"},
		{userPath, "the user's own"},
	} {
		if place.path == "" {
			continue
		}
		k, err := readOrCreate(place.path, key)
		if err == nil {
			k.Why = place.why
			if k.Created {
				k.Why += origin
			}
			if failed != nil {
				k.Why += "; " + failed.Error()
			}
			return k, nil
		}
		if failed == nil {
			failed = err
		} else {
			failed = fmt.Errorf("%w; %w", failed, err)
		}
		if !errors.Is(err, errCreate) && !errors.Is(err, fs.ErrPermission) {
			break
		}
	}
	return StoredKey{}, failed
}
