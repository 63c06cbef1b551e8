package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors that the starter of the daemon hands over, beside the options as
// JSON on its standard input and the log as its standard error.
const (
	reportFD = 3 // one reply is written here: Info, or why there is no lab
	lockFD   = 4 // held open for as long as the lab lives
)

// startDaemon starts the process that is the lab and waits until the lab is
// up; when ctx ends before, the lab is told to stop. The process outlives the
// calling thread only if detached.
func startDaemon(ctx context.Context, s state, o Options, lock *os.File, detached bool) (*exec.Cmd, *Info, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	report, reportW, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer report.Close()
	cmd := exec.Command(self, "lab", "daemon")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{reportW, lock}
	confine(cmd)
	if !detached {
		cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	}
	err = startJSON(cmd, o)
	reportW.Close()
	if err != nil {
		return nil, nil, explain(fmt.Errorf("start lab: %w", err))
	}
	defer context.AfterFunc(ctx, func() { terminate(cmd) })()
	if err := writePID(lock, cmd.Process.Pid); err != nil {
		return cmd, nil, err
	}
	info, err := readReport(report, s)
	if err == nil {
		info.PID = cmd.Process.Pid
	}
	return cmd, info, err
}

// readReport waits for what the daemon has to say.
func readReport(report *os.File, s state) (*Info, error) {
	var r reply
	if err := json.NewDecoder(report).Decode(&r); err != nil {
		return nil, fmt.Errorf("the lab ended early (%w); %s ends with:\n%s", err, s.log(), tail(s.log(), 8))
	}
	if r.Error != "" {
		return nil, errors.New(r.Error)
	}
	return r.Info, nil
}

// terminate asks a process to end; one that has ended already is as good.
func terminate(cmd *exec.Cmd) { _ = cmd.Process.Signal(unix.SIGTERM) }

// startJSON starts cmd with v, as JSON, for its standard input.
func startJSON(cmd *exec.Cmd, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	in, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	defer w.Close()
	cmd.Stdin = in
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// runDaemon is the process that is the lab.
func runDaemon() error {
	unix.CloseOnExec(reportFD)
	unix.CloseOnExec(lockFD)
	report := os.NewFile(reportFD, "report")
	if err := beInit(report, os.NewFile(lockFD, "lock")); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer cancel()
	var o Options
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return fmt.Errorf("lab options: %w", err)
	}
	s, err := o.open(ctx, log)
	if err != nil {
		return errors.Join(err, json.NewEncoder(report).Encode(reply{Error: err.Error()}), os.RemoveAll(o.Dir))
	}
	err = s.run(ctx, o.Dir, report)
	return errors.Join(err, s.lab.Close(), os.RemoveAll(o.Dir))
}

// open makes the lab and brings it up.
func (o Options) open(ctx context.Context, log *slog.Logger) (*server, error) {
	start := time.Now()
	hosts := mountView(o.Dir, log)
	l, err := New(o)
	if err != nil {
		return nil, explain(err)
	}
	ready, cancel := context.WithTimeoutCause(ctx, nodeStartTime, fmt.Errorf("not within %s", nodeStartTime))
	defer cancel()
	err = l.Up(ready)
	if err == nil {
		err = hosts.update(l)
	}
	if err != nil {
		if why := tunAdvice("/dev/net/tun"); why != "" {
			err = fmt.Errorf("%w\n%s", err, why)
		}
		return nil, errors.Join(err, l.Close())
	}
	return &server{lab: l, hosts: hosts, took: time.Since(start), log: log}, nil
}

// run serves the control socket until ctx ends or a client says down.
func (s *server) run(ctx context.Context, dir string, report *os.File) error {
	ctx, s.down = context.WithCancel(ctx)
	defer s.down()
	path := state{base: dir, name: "."}.socket()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		return errors.Join(err, json.NewEncoder(report).Encode(reply{Error: err.Error()}))
	}
	defer l.Close()
	go s.serve(l)
	if err := json.NewEncoder(report).Encode(reply{Info: s.lab.info(s.took)}); err != nil {
		return err
	}
	report.Close()
	<-ctx.Done()
	return nil
}
