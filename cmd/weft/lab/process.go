package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// A process is a long-running child of the lab: a node's weft, or etcd. It
// says by sd_notify when it is ready, so nothing has to be polled.
type process struct {
	name   string
	log    string // path
	cmd    *exec.Cmd
	ready  chan struct{} // closed by READY=1
	exited chan struct{} // closed when it has ended
	err    error         // how it ended; valid once exited is closed
}

// launch starts argv at a place. Files of it are dir/name.log and, while it
// runs, dir/name.sock for its notifications.
func launch(at *Place, name, dir string, argv, env []string) (*process, error) {
	p := &process{
		name:   name,
		log:    filepath.Join(dir, name+".log"),
		ready:  make(chan struct{}),
		exited: make(chan struct{}),
	}
	socket := filepath.Join(dir, name+".sock")
	notify, err := listenNotify(socket)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		notify.Close()
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = append(env, "NOTIFY_SOCKET="+socket)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := at.Start(p.cmd); err != nil {
		notify.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go p.watchNotify(notify)
	go func() {
		p.err = p.cmd.Wait()
		notify.Close() // which also removes the socket
		close(p.exited)
	}()
	return p, nil
}

// listenNotify opens a notification socket, taking the place of one that a
// killed lab left behind.
func listenNotify(path string) (*net.UnixConn, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("%w (paths of sockets end at 107 bytes; this one has %d)", err, len(path))
	}
	return c, nil
}

func (p *process) watchNotify(c *net.UnixConn) {
	buf := make([]byte, 4096)
	told := false
	for {
		n, err := c.Read(buf)
		if err != nil {
			return // closed: the process has ended
		}
		for line := range strings.Lines(string(buf[:n])) {
			if strings.TrimSpace(line) == "READY=1" && !told {
				told = true
				close(p.ready)
			}
		}
	}
}

// awaitReady waits until the process is ready. If it ends before, the error
// has the last lines of its log.
func (p *process) awaitReady(ctx context.Context) error {
	select {
	case <-p.ready:
		return nil
	case <-p.exited:
		return fmt.Errorf("%s ended (%v) before it was ready; %s ends with:\n%s", p.name, p.status(), p.log, tail(p.log, 8))
	case <-ctx.Done():
		return fmt.Errorf("%s is not ready: %w; %s ends with:\n%s", p.name, context.Cause(ctx), p.log, tail(p.log, 8))
	}
}

// stop sends SIGTERM and waits for the end; when ctx ends first, it kills. A
// process that ends with another status than 0 is an error.
func (p *process) stop(ctx context.Context) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		err := p.signal(syscall.SIGKILL)
		<-p.exited
		return errors.Join(fmt.Errorf("%s had to be killed: %w", p.name, context.Cause(ctx)), err)
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	return nil
}

// kill ends the process at once, as a crash would.
func (p *process) kill() error {
	err := p.signal(syscall.SIGKILL)
	<-p.exited
	return err
}

func (p *process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: send %s: %w", p.name, s, err)
	}
	return nil
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

func (p *process) status() string {
	if p.err == nil {
		return "exit status 0"
	}
	return p.err.Error()
}

// tail returns the last n lines of a file, indented.
func tail(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "  (" + err.Error() + ")"
	}
	lines := bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return "  " + string(bytes.Join(lines, []byte("\n  ")))
}
