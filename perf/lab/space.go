package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// A Space is one network namespace of a lab.
type Space struct {
	Name string          // as ip-netns(8) knows it
	Net  *netlink.Handle // speaks to the kernel from inside the namespace

	fd netns.NsHandle
}

// newSpace makes a named network namespace with its loopback up.
func newSpace(name string) (*Space, error) {
	var fd netns.NsHandle
	err := onOwnThread(func() (err error) {
		fd, err = netns.NewNamed(name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	s := &Space{Name: name, fd: fd}
	if s.Net, err = netlink.NewHandleAt(fd); err == nil {
		err = s.up("lo")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("namespace %s: %w", name, err), s.remove())
	}
	return s, nil
}

// Do calls f on a thread of its own that is in the namespace. What f opens
// (sockets, files below /proc/sys/net and /proc/thread-self/net) belongs to
// the namespace.
func (s *Space) Do(f func() error) error {
	return onOwnThread(func() error {
		if err := netns.Set(s.fd); err != nil {
			return fmt.Errorf("entering namespace %s: %w", s.Name, err)
		}
		return f()
	})
}

// onOwnThread calls f on a thread that ends afterwards, so that f may change
// the thread's namespace without changing it back.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// Sysctl writes a value below /proc/sys, for example net/ipv4/ip_forward.
func (s *Space) Sysctl(key, value string) error {
	return s.Do(func() error {
		if err := os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0); err != nil {
			return fmt.Errorf("sysctl %s=%s in %s: %w", key, value, s.Name, err)
		}
		return nil
	})
}

// up sets a link up.
func (s *Space) up(name string) error {
	link, err := s.Net.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	if err := s.Net.LinkSetUp(link); err != nil {
		return fmt.Errorf("link %s up: %w", name, err)
	}
	return nil
}

// address gives a link an address in CIDR form.
func (s *Space) address(name, cidr string) error {
	link, err := s.Net.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	addr, err := netlink.ParseAddr(cidr)
	if err != nil {
		return fmt.Errorf("address %s: %w", cidr, err)
	}
	if err := s.Net.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("address %s on %s: %w", cidr, name, err)
	}
	return nil
}

// remove deletes the namespace's name. The kernel takes it down, with its
// devices, when the last process in it is gone.
func (s *Space) remove() error {
	if s.Net != nil {
		s.Net.Close()
	}
	err := errors.Join(s.fd.Close(), netns.DeleteNamed(s.Name))
	if err != nil {
		return fmt.Errorf("removing namespace %s: %w", s.Name, err)
	}
	return nil
}
