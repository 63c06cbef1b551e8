package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A guest is the process that carries the plan out.
type guest struct {
	report *json.Encoder
}

// runInit is the first process of the machine. It starts the guest, buries
// orphans, as others rely on, and switches the machine off when the guest has
// ended. It never returns: a kernel whose first process ends panics.
func runInit() {
	err := mounts()
	if err == nil {
		err = reapUntil(exec.Command("/proc/self/exe", roleGuest))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintln(os.Stderr, "switch off:", err)
	}
	select {}
}

func reapUntil(cmd *exec.Cmd) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		if err != nil && !errors.Is(err, unix.EINTR) || pid == cmd.Process.Pid {
			return err
		}
	}
}

// runGuest tells the host why it gives up, if it does.
func runGuest() int {
	port, err := openReport()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	g := &guest{report: json.NewEncoder(port)}
	if err := g.run(); err != nil {
		g.tell(event{Kind: eventFail, Text: err.Error()})
		return 1
	}
	return 0
}

func (g *guest) run() error {
	if err := environment(); err != nil {
		return err
	}
	var p plan
	if err := readJSON(guestPlan, &p); err != nil {
		return err
	}
	if err := g.boot(p.Modules); err != nil {
		return err
	}
	if p.Shell {
		return shell()
	}
	for _, s := range p.Steps {
		g.step(s)
	}
	g.tell(event{Kind: eventDone})
	return nil
}

// boot says which kernel this is, loads modules and sees to loopback.
func (g *guest) boot(modules []string) error {
	var name unix.Utsname
	var up unix.Sysinfo_t
	if err := errors.Join(unix.Uname(&name), unix.Sysinfo(&up)); err != nil {
		return err
	}
	g.tell(event{Kind: eventBoot, Text: unix.ByteSliceToString(name.Release[:]), Seconds: float64(up.Uptime)})
	for _, m := range modules {
		e := event{Kind: eventModule, Name: m}
		if err := loadModule(m); err != nil {
			e.Text = err.Error()
		}
		g.tell(e)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return netlink.LinkSetUp(lo)
}

// step runs a process and hands its output on line by line.
func (g *guest) step(s step) {
	g.tell(event{Kind: eventStart, Name: s.Name})
	began := time.Now()
	end := event{Kind: eventEnd, Name: s.Name}
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Dir, cmd.Env = s.Dir, append(os.Environ(), s.Env...)
	err := g.output(cmd)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		end.Code = exit.ExitCode()
	case err != nil:
		end.Code, end.Text = -1, err.Error()
	}
	end.Seconds = time.Since(began).Seconds()
	g.tell(end)
}

func (g *guest) output(cmd *exec.Cmd) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	// What the process leaves running may keep the pipe open, so reading ends
	// with the process.
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		r.SetReadDeadline(time.Now().Add(time.Second))
		ended <- err
	}()
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			g.tell(event{Kind: eventOutput, Text: strings.TrimRight(line, "\r\n")})
		}
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
			return <-ended
		}
		if err != nil {
			return errors.Join(err, <-ended)
		}
	}
}

// tell cannot complain anywhere but on the console.
func (g *guest) tell(e event) {
	if err := g.report.Encode(e); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
	}
}

// shell serves whoever sits at the console.
func shell() error {
	fmt.Printf("the tests are below %s; exit switches the machine off\n", guestTests)
	cmd := exec.Command("setsid", "-c", "sh", "-l")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) { // the status of its last command is nobody's concern
		return nil
	}
	return err
}

func readJSON(file string, v any) error {
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
