package plane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"weft/perf/lab"
)

const (
	startPatience = 20 * time.Second // for a plane to become ready
	stopPatience  = 10 * time.Second // between SIGTERM and SIGKILL
	// readyPoll is how often it is looked whether a process is ready.
	readyPoll = 10 * time.Millisecond
)

// A process is a program of a plane that runs in one host.
type process struct {
	name  string // what runs where, as messages call it
	cmd   *lab.Cmd
	log   bytes.Buffer  // what it wrote; read only after ended
	ended chan struct{} // closed when the process is collected
	err   error         // how it ended; read only after ended
	told  bool          // await has told that it ended
}

// start starts a program in a host with the settings o; env and args come
// before those of o.
func start(h *lab.Host, o Options, env []string, args ...string) (*process, error) {
	path, err := filepath.Abs(o.Program)
	if err != nil {
		return nil, err
	}
	p := &process{name: filepath.Base(path) + " in " + h.Name(), ended: make(chan struct{})}
	if p.cmd, err = h.Command(path, append(args, o.Args...)...); err != nil {
		return nil, err
	}
	p.cmd.Env = append(append(os.Environ(), env...), o.Env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", o.Program, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// PID is the process id.
func (p *process) PID() int { return p.cmd.Process.Pid }

// await waits until ready reports true. An error of ready ends the wait; what
// names the awaited thing for an error.
func (p *process) await(ctx context.Context, what string, ready func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		if ok, err := ready(); err != nil || ok {
			return err
		}
		select {
		case <-tick.C:
		case <-p.ended:
			p.told = true
			return fmt.Errorf("%s ended before it was ready: %w", p.name, p.failure())
		case <-ctx.Done():
			return fmt.Errorf("%s: no %s after %v: %w", p.name, what, startPatience, ctx.Err())
		}
	}
}

// failure tells how an ended process ended, with the end of its log.
func (p *process) failure() error {
	lines := strings.Split(strings.TrimSpace(p.log.String()), "\n")
	tail := strings.Join(lines[max(0, len(lines)-12):], "\n\t")
	if p.err == nil {
		return fmt.Errorf("exit status 0\n\t%s", tail)
	}
	return fmt.Errorf("%w\n\t%s", p.err, tail)
}

// Stop ends the process with SIGTERM, as a service manager would. A process
// that ended before, or with an error, is an error: its figures would be worth
// nothing.
func (p *process) Stop() error {
	select {
	case <-p.ended:
		if p.told {
			return nil
		}
		return fmt.Errorf("%s ended early: %w", p.name, p.failure())
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping %s: %w", p.name, err)
	}
	select {
	case <-p.ended:
	case <-time.After(stopPatience):
		killed := p.cmd.Process.Kill()
		<-p.ended
		return errors.Join(fmt.Errorf("%s ignored SIGTERM for %v", p.name, stopPatience), killed)
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.name, p.failure())
	}
	return nil
}
