package lab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// EnterCommand is the first argument by which a program that uses labs calls
// itself inside a namespace; it hands the remaining arguments to [Enter].
const EnterCommand = "enter"

// A Cmd is a process to be started in a namespace. Its Start must be called
// instead of that of the exec.Cmd, which it hides.
type Cmd struct {
	*exec.Cmd
	space *Space
}

// Command prepares a process inside the namespace. The program at path runs
// in the namespace with a /sys of its own and an empty /run, so that two hosts
// do not share sockets and locks. It is killed when the namespace is removed
// or this process dies.
func (s *Space) Command(path string, args ...string) (*Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, append([]string{EnterCommand, path}, args...)...)
	// Setpgid keeps a Ctrl-C at the terminal from reaching the child: it is
	// stopped in its turn, by us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return &Cmd{cmd, s}, nil
}

// Start starts the process.
func (c *Cmd) Start() error { return c.space.Start(c.Cmd) }

// Enter gives the calling process, which is in the namespace already, mounts
// of its own and replaces it by the program args[0] with the arguments that
// follow. It returns only when that fails.
func Enter(args []string) error {
	if len(args) < 1 {
		return fmt.Errorf("%s: want PROGRAM [ARGUMENT…]", EnterCommand)
	}
	runtime.LockOSThread()
	// The signal that our parent asked for belongs to the first thread; the
	// one that calls exec is the one that survives it.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_PDEATHSIG: %w", err)
	}
	if err := privateMounts(); err != nil {
		return fmt.Errorf("mounts for %s: %w", args[0], err)
	}
	return fmt.Errorf("%s: %w", args[0], unix.Exec(args[0], args, os.Environ()))
}

// privateMounts gives the process a mount namespace of its own in which /sys
// shows the devices of its network namespace and /run is empty.
func privateMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private /: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/sys: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("/run: %w", err)
	}
	return nil
}
