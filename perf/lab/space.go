package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab/space"
)

// A Space is one network namespace of a lab, which ip-netns(8) knows by its
// name.
type Space struct{ *space.Space }

// newSpace makes a named network namespace with its loopback up.
func newSpace(name string) (*Space, error) {
	inner, err := space.New(name)
	if err != nil {
		return nil, err
	}
	s := &Space{inner}
	if err := s.publish(); err != nil {
		s.Close()
		return nil, fmt.Errorf("naming namespace %s: %w", name, err)
	}
	return s, nil
}

// publish gives the namespace its name: a mount of it in namespaceDir.
func (s *Space) publish() error {
	if err := os.MkdirAll(namespaceDir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(namespaceDir, s.Name())
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	err = errors.Join(f.Close(), s.Do(func() error {
		return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	}))
	if err != nil {
		return errors.Join(fmt.Errorf("mount on %s: %w", path, err), os.Remove(path))
	}
	return nil
}

// remove kills what runs in the namespace and takes its name away. The kernel
// takes it down, with its devices, when the last process in it is gone.
func (s *Space) remove() error {
	s.Close()
	if err := netns.DeleteNamed(s.Name()); err != nil {
		return fmt.Errorf("removing namespace %s: %w", s.Name(), err)
	}
	return nil
}
