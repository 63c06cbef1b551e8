package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"weft/lease"
)

// An entry is a lease as it lies in the folder.
type entry struct {
	lease.Lease
	name string // of the file
	rec  record
	bad  error // the name names subnets, but the text cannot be read
}

const (
	suffix   = ".json"
	mostText = 64 << 10 // bytes of a lease file
)

var errBadName = errors.New("the file name names no subnets")

func (s *Store) path(name string) string { return filepath.Join(s.subnets, name) }

func fileName(l lease.Lease) string { return l.Key() + suffix }

// isLease reports whether a file of that name wants to be a lease; temporary
// files begin with a dot.
func isLease(name string) bool {
	return strings.HasSuffix(name, suffix) && !strings.HasPrefix(name, ".")
}

// list reads every lease. Files that name no subnets are left out.
func (s *Store) list() ([]entry, error) {
	files, err := os.ReadDir(s.subnets)
	if err != nil {
		return nil, err
	}
	var all []entry
	for _, f := range files {
		if !isLease(f.Name()) {
			continue
		}
		e, err := s.read(f.Name())
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, errBadName):
		case err != nil:
			return nil, err
		default:
			all = append(all, e)
		}
	}
	return all, nil
}

// read reads one lease. Text that cannot be understood is no error of the disk
// but noted in the entry.
func (s *Store) read(name string) (entry, error) {
	v4, v6, err := lease.ParseKey(strings.TrimSuffix(name, suffix))
	if err != nil {
		return entry{}, fmt.Errorf("%w: %w", errBadName, err)
	}
	e := entry{name: name, Lease: lease.Lease{Subnet: v4, Subnet6: v6}}
	data, err := readText(s.path(name))
	if err != nil {
		return e, err
	}
	if e.rec, e.bad = decode(data); e.bad == nil {
		e.Attrs = e.rec.Attrs
	}
	return e, nil
}

// readText reads a small regular file. Opening never waits, as it would for a
// named pipe.
func readText(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, nil // empty text is no lease
	}
	return io.ReadAll(io.LimitReader(f, mostText))
}

// nameless reports whether e says nothing about whose it is.
func (e entry) nameless() bool {
	return e.rec.node == "" && !e.rec.PublicIP.IsValid() && !e.rec.PublicIPv6.IsValid()
}

// A handle is an open lease file.
type handle interface {
	io.ReadWriteCloser
	io.WriterAt
	Sync() error
	Stat() (fs.FileInfo, error)
}

// An opener opens a file as [os.OpenFile] does.
type opener func(path string, flag int, perm fs.FileMode) (handle, error)

// claim makes the file of that name if there is none; else the error is
// fs.ErrExist.
func (s *Store) claim(name string, text []byte) error {
	f, err := os.CreateTemp(s.subnets, ".claim-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	err = os.Link(f.Name(), s.path(name))
	switch {
	case err == nil:
		return nil
	case linked(f):
		return nil // over NFS a repeated request can fail although the first one worked
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.ENOSYS):
		return s.claimWithoutLink(name, text)
	}
	return err
}

// linked reports whether the file has a second name.
func linked(f *os.File) bool {
	fi, err := os.Stat(f.Name())
	if err != nil {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && st.Nlink > 1
}

// claimWithoutLink is for file systems without hard links (vfat, some FUSE).
// For a moment others can see a file that is not complete; they pass over it
// and look again.
func (s *Store) claimWithoutLink(name string, text []byte) error {
	f, err := s.open(s.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		// Half a claim would be nobody's, and keep the subnet from everybody.
		err = errors.Join(err, os.Remove(s.path(name)))
	}
	return err
}

// replace gives an existing lease new contents.
func (s *Store) replace(name string, r record) error {
	text, err := r.encode()
	if err != nil {
		return err
	}
	return lease.WriteFile(s.path(name), text, 0o644)
}
