package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"weft/perf/lab"
)

// patience bounds how long a role may take to get ready, to answer and to
// stop. It is far above what they need: it only keeps a run from hanging.
const patience = 15 * time.Second

// A Process is a role that runs as a child of this process.
type Process struct {
	name   string
	cmd    *lab.Cmd
	in     io.WriteCloser
	lines  chan string // standard output, line by line; closed at its end
	stderr bytes.Buffer
}

// Start starts cmd, which must call [Main], and waits until it is ready.
func Start(name string, cmd *lab.Cmd) (*Process, error) {
	p := &Process{name: name, cmd: cmd, lines: make(chan string)}
	cmd.Stderr = &p.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.in, cmd.Stdout = in, writer
	err = cmd.Start()
	writer.Close()
	if err != nil {
		reader.Close()
		return nil, fmt.Errorf("load %s: %w", name, err)
	}
	go p.readLines(reader)
	line, err := p.line()
	if err == nil && line != lineReady {
		err = fmt.Errorf("load %s says %q, want %q", name, line, lineReady)
	}
	if err != nil {
		return nil, errors.Join(err, p.kill())
	}
	return p, nil
}

// PID is the role's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

func (p *Process) readLines(r io.ReadCloser) {
	defer close(p.lines)
	defer r.Close()
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		p.lines <- scanner.Text()
	}
}

// line waits for the role's next line.
func (p *Process) line() (string, error) {
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", fmt.Errorf("load %s ended early", p.name)
		}
		return line, nil
	case <-time.After(patience):
		return "", fmt.Errorf("load %s is silent for %v", p.name, patience)
	}
}

// Ask sends the role a mark without waiting for the answer, so that several
// roles can be asked at the same moment.
func (p *Process) Ask() error {
	if _, err := fmt.Fprintln(p.in, lineMark); err != nil {
		return p.explain(fmt.Errorf("load %s: %w", p.name, err))
	}
	return nil
}

// Answer waits for the answer to the last Ask.
func (p *Process) Answer() (Snapshot, error) {
	var s Snapshot
	line, err := p.line()
	if err != nil {
		return s, p.explain(err)
	}
	if err := json.Unmarshal([]byte(line), &s); err != nil {
		return s, fmt.Errorf("load %s: snapshot %q: %w", p.name, line, err)
	}
	return s, nil
}

// explain ends the role and adds what it wrote to standard error.
func (p *Process) explain(err error) error { return errors.Join(err, p.kill()) }

// kill ends the role at once and returns what it had to say.
func (p *Process) kill() error {
	// The process may have ended already; Wait tells how.
	_ = p.cmd.Process.Kill()
	return p.wait()
}

// wait collects the process. Its error holds the tail of standard error.
func (p *Process) wait() error {
	for range p.lines { // so that readLines ends
	}
	err := p.cmd.Wait()
	if err == nil {
		return nil
	}
	return fmt.Errorf("load %s: %w: %s", p.name, err, strings.TrimSpace(p.stderr.String()))
}

// Stop ends the role and waits for it.
func (p *Process) Stop() error {
	if p.cmd.ProcessState != nil {
		return nil // collected by explain
	}
	overdue := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer overdue.Stop()
	_, err := fmt.Fprintln(p.in, lineStop)
	return errors.Join(err, p.in.Close(), p.wait())
}
