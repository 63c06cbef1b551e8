package wg

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// SocketDir is where wg(8) looks for the sockets of userspace interfaces
// (wireguard-tools, ipc-uapi-unix.h).
const SocketDir = "/var/run/wireguard"

// asking is how long a client may take. One that begins to set something, and
// then says no more, keeps the device from everybody else.
const asking = 10 * time.Second

// A Socket lets wg(8) see and change a tunnel.
type Socket struct {
	listener *net.UnixListener
	path     string
	conns    sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]bool // nil: closed
}

// Serve opens the socket NAME.sock of the tunnel in dir, which is made if need
// be, for nobody but our user: who may connect may read the private key. A
// socket that a dead process left is replaced, a living one is an error.
func (t *Tunnel) Serve(dir string) (*Socket, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("wireguard socket: %w", err)
	}
	path := filepath.Join(dir, t.opt.Name+".sock")
	l, err := listen(path)
	if err != nil {
		return nil, fmt.Errorf("wireguard socket %s: %w", path, err)
	}
	s := &Socket{listener: l, path: path, open: map[net.Conn]bool{}}
	s.conns.Go(func() { s.serve(t) })
	return s, nil
}

// listen binds path, with a mode of 0600 before anyone can connect: until then
// the socket lies in a directory of our own.
func listen(path string) (*net.UnixListener, error) {
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		c.Close()
		return nil, fmt.Errorf("%w; another process serves it (another weft, or wireguard-go?)", unix.EADDRINUSE)
	case !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist):
		return nil, err // as when a living one has many clients (EAGAIN)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".*") // 0700
	if err != nil {
		return nil, err
	}
	defer os.Remove(dir)
	temp := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(temp, 0o600); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(temp))
	}
	return l, nil
}

func (s *Socket) serve(t *Tunnel) {
	for {
		c, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			t.log.Warn("wireguard socket", "file", s.path, "err", err)
			if !t.pause(time.Second) {
				return
			}
			continue
		}
		if !s.add(c) {
			c.Close()
			return
		}
		_ = c.SetDeadline(time.Now().Add(asking)) // never fails on a socket that is open
		s.conns.Go(func() {
			defer s.done(c)
			t.dev.IpcHandle(c)
		})
	}
}

// pause waits, and reports false if the tunnel is closed meanwhile.
func (t *Tunnel) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-t.done:
		return false
	}
}

func (s *Socket) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != nil {
		s.open[c] = true
	}
	return s.open != nil
}

func (s *Socket) done(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// Close removes the socket and ends what is being asked by it.
func (s *Socket) Close() error {
	err := os.Remove(s.path)
	err = errors.Join(err, s.listener.Close())
	s.mu.Lock()
	for c := range s.open {
		c.Close()
	}
	s.open = nil
	s.mu.Unlock()
	s.conns.Wait()
	return err
}
