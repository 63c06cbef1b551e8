package plane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"weft/perf/lab"
)

const (
	startPatience = 20 * time.Second // for the subnet file to appear
	stopPatience  = 10 * time.Second // between SIGTERM and SIGKILL
	// readyPoll is how often the subnet file is looked for. It appears by
	// an atomic rename, so it is complete when it is there.
	readyPoll = 10 * time.Millisecond
)

// A Node is one `weft up` in one host.
type Node struct {
	host   *lab.Host
	cmd    *lab.Cmd
	subnet string        // path of the subnet file
	log    bytes.Buffer  // what weft wrote; read only after ended
	ended  chan struct{} // closed when the process is collected
	err    error         // how it ended; read only after ended
	told   bool          // Ready has told that it ended
}

// StartNode starts weft in a host with the leases of a folder.
func StartNode(h *lab.Host, leases string, o Options, args ...string) (*Node, error) {
	n := &Node{host: h, subnet: filepath.Join(h.Dir, "subnet.env"), ended: make(chan struct{})}
	path, err := filepath.Abs(o.Weft)
	if err != nil {
		return nil, err
	}
	line := append([]string{
		"up", "--leases", leases, "--iface", lab.Underlay, "--subnet-file", n.subnet,
		// The baselines run without netfilter rules, and so does weft.
		"--iptables-forward-rules=false",
	}, args...)
	if n.cmd, err = h.Command(path, append(line, o.Args...)...); err != nil {
		return nil, err
	}
	n.cmd.Env = append(os.Environ(), o.Env...)
	n.cmd.Stdout, n.cmd.Stderr = &n.log, &n.log
	if err := n.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", o.Weft, err)
	}
	go func() {
		n.err = n.cmd.Wait()
		close(n.ended)
	}()
	return n, nil
}

// PID is weft's process id.
func (n *Node) PID() int { return n.cmd.Process.Pid }

// Ready waits for the subnet file and returns what it says.
func (n *Node) Ready(ctx context.Context) (SubnetEnv, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(n.subnet)
		if err == nil {
			return parseSubnetEnv(string(text))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return SubnetEnv{}, err
		}
		select {
		case <-tick.C:
		case <-n.ended:
			n.told = true
			return SubnetEnv{}, fmt.Errorf("weft in %s ended before it was ready: %w", n.host.Name(), n.failure())
		case <-ctx.Done():
			return SubnetEnv{}, fmt.Errorf("weft in %s: no %s after %v", n.host.Name(), n.subnet, startPatience)
		}
	}
}

// failure tells how an ended weft ended, with the end of its log.
func (n *Node) failure() error {
	lines := strings.Split(strings.TrimSpace(n.log.String()), "\n")
	tail := strings.Join(lines[max(0, len(lines)-12):], "\n\t")
	if n.err == nil {
		return fmt.Errorf("exit status 0\n\t%s", tail)
	}
	return fmt.Errorf("%w\n\t%s", n.err, tail)
}

// Stop ends weft with SIGTERM, as a service manager would. Weft having ended
// before, or with an error, is an error: its figures would be worth nothing.
func (n *Node) Stop() error {
	select {
	case <-n.ended:
		if n.told {
			return nil
		}
		return fmt.Errorf("weft in %s ended early: %w", n.host.Name(), n.failure())
	default:
	}
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping weft in %s: %w", n.host.Name(), err)
	}
	select {
	case <-n.ended:
	case <-time.After(stopPatience):
		killed := n.cmd.Process.Kill()
		<-n.ended
		return errors.Join(fmt.Errorf("weft in %s ignored SIGTERM for %v", n.host.Name(), stopPatience), killed)
	}
	if n.err != nil {
		return fmt.Errorf("weft in %s: %w", n.host.Name(), n.failure())
	}
	return nil
}
