package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// A machine is an emulated computer with a kernel and an image.
type machine struct {
	kernel, image string
	console       string // file that gets what the kernel prints; "" is the terminal
	cpus, memory  int    // memory in MiB
	accel         string
	boot, whole   time.Duration // how long it may take to start, and altogether
}

// bootOptions make the kernel trust the emulated processor's random numbers,
// for it has no others, and end instead of waiting when it panics.
const bootOptions = "quiet panic=-1 random.trust_cpu=on net.ifnames=0 console=ttyS0"

func (m machine) command(ctx context.Context) *exec.Cmd {
	first := "file:" + m.console
	second := "stdio"
	if m.console == "" {
		first, second = "mon:stdio", "null"
	}
	return exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", m.accel, "-cpu", "max", "-smp", fmt.Sprint(m.cpus), "-m", fmt.Sprint(m.memory),
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-kernel", m.kernel, "-initrd", m.image, "-append", bootOptions,
		"-serial", first, "-serial", second)
}

// run boots, hands on every event, and returns when the machine is off. It is
// an error if that happens before the guest is done.
func (m machine) run(ctx context.Context, handle func(event)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slow := func(limit time.Duration, what string) *time.Timer {
		return time.AfterFunc(limit, func() { cancel(fmt.Errorf("%s within %s", what, limit)) })
	}
	boot := slow(m.boot, "the kernel has not started its first process")
	defer boot.Stop()
	defer slow(m.whole, "the tests have not ended").Stop()
	cmd := m.command(ctx)
	var said strings.Builder
	cmd.Stderr = &said
	port, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var last event
	readErr := readEvents(port, func(e event) {
		if e.Kind == eventBoot {
			boot.Stop()
		}
		last = e
		handle(e)
	})
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case readErr != nil:
		return readErr
	case err != nil:
		return fmt.Errorf("qemu-system-x86_64: %w: %s", err, said.String())
	case last.Kind == eventFail:
		return fmt.Errorf("the guest gave up: %s", last.Text)
	case last.Kind != eventDone:
		return errors.New("the machine switched itself off before it was done")
	}
	return nil
}

// interact boots with the console on the terminal.
func (m machine) interact(ctx context.Context) error {
	m.console = ""
	cmd := m.command(ctx)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

// consoleTail returns the last lines that the kernel printed.
func consoleTail(file string, lines int) string {
	f, err := os.Open(file)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	var tail []string
	s := bufio.NewScanner(io.LimitReader(f, 16<<20))
	for s.Scan() {
		tail = append(tail, strings.TrimRight(s.Text(), "\r"))
		if len(tail) > lines {
			tail = tail[1:]
		}
	}
	return strings.Join(tail, "\n")
}
