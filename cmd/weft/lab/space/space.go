// Package space makes network namespaces and furnishes them: links, addresses,
// routes, sysctls, offloads, processes. It needs no ip, no nsenter, no name in
// /run/netns.
//
// # Theory of operation
//
// A namespace belongs to a thread before it belongs to anything else. So each
// Space is one resident thread: a goroutine locked to it unshares the network
// namespace, and from then on runs what [Space.Do] hands it, one function at a
// time.
//
//	      Do(f) ──► jobs ──► resident thread ──► f runs inside the namespace
//	Start(cmd) ──► jobs ──► resident thread ──► fork: the child is born inside
//
// The thread is also the life of the namespace. Children are started with
// PR_SET_PDEATHSIG, which the kernel ties to the thread that forked them, not
// to the process. When the thread ends, whether by [Space.Close] or because
// the whole process was killed, its children are killed, and with the last of
// them the namespace and every link in it are gone. Nothing has to be cleaned
// up by hand, and nothing can be forgotten.
//
// Sockets opened inside Do stay in the namespace and may be used from any
// goroutine. Functions handed to Do must be short, since they run one by one.
package space

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrClosed is returned by the methods of a Space after Close.
var ErrClosed = errors.New("network namespace is closed")

// A Space is one network namespace and the thread that lives in it.
type Space struct {
	name string
	jobs chan job
	quit chan struct{} // closed by Close
	gone chan struct{} // closed when the thread has ended its last job
	stop sync.Once
	fd   *os.File // the namespace itself, for moving links into it
	nl   *netlink.Handle
}

type job struct {
	f    func() error
	done chan error
}

// New makes an empty network namespace with its loopback up. The name is only
// for error messages. It needs CAP_SYS_ADMIN and CAP_NET_ADMIN in the user
// namespace of the caller.
func New(name string) (*Space, error) {
	s := &Space{name: name, jobs: make(chan job), quit: make(chan struct{}), gone: make(chan struct{})}
	born := make(chan error)
	go s.reside(born)
	if err := <-born; err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", name, err)
	}
	return s, nil
}

// Name returns the name given to New.
func (s *Space) Name() string { return s.name }

// Netlink returns a route netlink handle of this namespace.
func (s *Space) Netlink() *netlink.Handle { return s.nl }

// Do runs f on the thread of the namespace and returns its error. Paths below
// /proc/sys/net and /proc/thread-self/net show this namespace to f;
// /proc/self/net and /proc/net do not, for they follow the main thread.
func (s *Space) Do(f func() error) error {
	j := job{f, make(chan error, 1)}
	select {
	case s.jobs <- j:
		return <-j.done
	case <-s.gone:
		return fmt.Errorf("%s: %w", s.name, ErrClosed)
	}
}

// Start starts cmd inside the namespace. The process is killed when the Space
// is closed or this process dies.
func (s *Space) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return s.Do(cmd.Start)
}

// Sysctl writes value to /proc/sys/<key>; a dot in key stands for a slash.
func (s *Space) Sysctl(key, value string) error {
	path := "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
	err := s.Do(func() error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(value)
		return errors.Join(err, f.Close())
	})
	if err != nil {
		return fmt.Errorf("%s: set %s to %s: %w", s.name, key, value, err)
	}
	return nil
}

// ReadFile reads a file as the thread of the namespace sees it.
func (s *Space) ReadFile(path string) (b []byte, err error) {
	err = s.Do(func() error {
		b, err = os.ReadFile(path)
		return err
	})
	return b, err
}

// Close ends the thread, and with it every process started here. It returns
// when the thread accepts no more work; calling it again does nothing.
func (s *Space) Close() {
	s.stop.Do(func() { close(s.quit) })
	<-s.gone
}

// reside is the life of the thread. The goroutine never unlocks, so that the
// runtime destroys the thread when it returns instead of reusing it in a
// foreign namespace.
func (s *Space) reside(born chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The main thread is never destroyed, only parked for ever. Let
		// another take the part, which cannot get the main thread while
		// this goroutine sits on it.
		taken := make(chan error)
		go s.reside(taken)
		err := <-taken
		runtime.UnlockOSThread()
		born <- err
		return
	}
	if err := s.settle(); err != nil {
		born <- err
		return
	}
	born <- nil
	s.serve()
	s.nl.Close()
	s.fd.Close()
	close(s.gone)
}

// serve runs jobs until Close.
func (s *Space) serve() {
	for {
		select {
		case j := <-s.jobs:
			j.done <- j.f()
		case <-s.quit:
			return
		}
	}
}

// settle moves the thread into a fresh namespace and opens what is kept of it.
func (s *Space) settle() (err error) {
	if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if s.fd, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	if s.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		s.fd.Close()
		return err
	}
	lo, err := s.nl.LinkByName("lo")
	if err == nil {
		err = s.nl.LinkSetUp(lo)
	}
	if err != nil {
		s.nl.Close()
		s.fd.Close()
		return fmt.Errorf("lo: %w", err)
	}
	return nil
}
