package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// nodeStartTime is how long a node may take to become ready.
const nodeStartTime = 30 * time.Second

// A server answers the control socket of a lab.
type server struct {
	lab   *Lab
	hosts *hostsFile
	took  time.Duration // until the lab was ready
	log   *slog.Logger
	down  context.CancelFunc // ends the lab
}

// serve accepts connections until the listener is closed.
func (s *server) serve(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		go s.handle(conn{c})
	}
}

func (s *server) handle(c conn) {
	var r request
	files, err := c.receive(&r)
	if err == nil && r.Op == "down" {
		s.down() // and leave c open: its end tells the client
		return
	}
	defer c.Close()
	var out reply
	if err == nil {
		out, err = s.answer(c, r, files)
	}
	if err != nil {
		out = reply{Error: err.Error()}
	}
	if err := c.send(out); err != nil && !errors.Is(err, syscall.EPIPE) {
		s.log.Warn("control socket", "op", r.Op, "err", err)
	}
}

func (s *server) answer(c conn, r request, files []*os.File) (reply, error) {
	defer closeAll(files)
	switch r.Op {
	case "info":
		return reply{Info: s.lab.info(s.took)}, nil
	case "exec":
		code, err := s.exec(c, r, files)
		return reply{Exit: code}, err
	case "start", "stop", "kill":
		return reply{}, s.node(r)
	}
	return reply{}, fmt.Errorf("unknown request %q", r.Op)
}

func (s *server) node(r request) error {
	n, err := s.lab.Node(r.Target)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), nodeStartTime)
	defer cancel()
	switch r.Op {
	case "stop":
		return n.Stop(ctx)
	case "kill":
		return n.Kill()
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	return s.hosts.update(s.lab)
}

// exec runs a command with the client's own files and returns its exit code.
func (s *server) exec(c conn, r request, files []*os.File) (int, error) {
	place, err := s.lab.Place(r.Target)
	if err != nil {
		return 0, err
	}
	if len(files) != 3 || len(r.Argv) == 0 {
		return 0, fmt.Errorf("exec needs a command and three files, not %d", len(files))
	}
	cmd := &exec.Cmd{
		Path: r.Path, Args: r.Argv, Dir: r.Dir, Env: append(r.Env, place.environ()...),
		Stdin: files[0], Stdout: files[1], Stderr: files[2],
		SysProcAttr: &syscall.SysProcAttr{Setpgid: !r.TTY, Setsid: r.TTY, Setctty: r.TTY},
	}
	if err := place.Start(cmd); err != nil {
		return 0, err
	}
	closeAll(files) // the end of a pipe or terminal must not wait for us
	go forwardSignals(c, cmd.Process.Pid)
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	return exitCode(cmd.ProcessState), nil
}

// forwardSignals passes on what the client sends, to the whole process group
// of the command. When the client goes away the group is killed; when the
// command has ended, the handler closes c and so ends this too.
func forwardSignals(c conn, group int) {
	for {
		var r request
		files, err := c.receive(&r)
		closeAll(files)
		sig := syscall.Signal(r.Signal)
		if errors.Is(err, io.EOF) {
			sig = syscall.SIGKILL
		} else if err != nil {
			return
		}
		if err := syscall.Kill(-group, sig); err != nil || sig == syscall.SIGKILL {
			return // the group has ended
		}
	}
}

// exitCode is what a shell would put into $?.
func exitCode(st *os.ProcessState) int {
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return st.ExitCode()
}

// info describes the lab as it is now.
func (l *Lab) info(took time.Duration) *Info {
	i := &Info{
		Name: l.opt.Name, Backend: l.cfg.BackendType, Store: l.describeStore(),
		Dir: l.opt.Dir, Seconds: took.Seconds(),
	}
	for _, n := range l.Nodes {
		i.Nodes = append(i.Nodes, l.nodeInfo(n))
	}
	return i
}

func (l *Lab) nodeInfo(n *Node) NodeInfo {
	e := n.Env()
	i := NodeInfo{Name: n.Name, Underlay: n.Underlay.String(), Port: l.Port(), Socket: n.Socket(), MTU: e.MTU, Running: n.Running()}
	if e.Subnet.IsValid() {
		i.Subnet, i.Pod = e.Subnet.String(), n.PodAddr().String()
	}
	if e.IPv6Subnet.IsValid() {
		i.Subnet6, i.Pod6 = e.IPv6Subnet.String(), n.PodAddr6().String()
	}
	return i
}

// Port is the UDP port of the lab's tunnels, 0 when the backend is not known
// to have one; the first of two.
func (l *Lab) Port() int {
	if ports := l.ports(); len(ports) > 0 {
		return ports[0]
	}
	return 0
}
