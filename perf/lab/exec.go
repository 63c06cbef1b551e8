package lab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// EnterCommand is the first argument by which a program that uses labs calls
// itself to enter a namespace; it hands the remaining arguments to [Enter].
const EnterCommand = "enter"

// A Cmd is a process to be started in a namespace. Its Start must be called
// instead of that of the exec.Cmd, which it hides.
type Cmd struct{ *exec.Cmd }

// Command prepares a process inside the namespace. The program at path runs
// in the namespace with a /sys of its own and an empty /run, so that two hosts
// do not share sockets and locks. It is killed when this process dies.
func (s *Space) Command(path string, args ...string) (*Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, append([]string{EnterCommand, s.Name, path}, args...)...)
	// Setpgid keeps a Ctrl-C at the terminal from reaching the child: it is
	// stopped in its turn, by us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: deathSignal}
	return &Cmd{cmd}, nil
}

// deathSignal is sent to a child when its parent is gone.
const deathSignal = syscall.SIGKILL

// Start starts the process. The kernel takes the thread that forks for the
// parent whose death counts (prctl(2), PR_SET_PDEATHSIG), and Go's threads may
// end at any time, so one that never does so forks all children.
func (c *Cmd) Start() error {
	done := make(chan error, 1)
	forker() <- func() { done <- c.Cmd.Start() }
	return <-done
}

// forker returns the channel of the thread that starts children.
var forker = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// Enter moves the calling process into the namespace named args[0] and
// replaces it by the program args[1] with the arguments that follow. It
// returns only when that fails.
func Enter(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("%s: want NAMESPACE PROGRAM [ARGUMENT…], got %q", EnterCommand, args)
	}
	runtime.LockOSThread()
	// The signal that our parent asked for belongs to the first thread; the
	// one that calls exec is the one that survives it.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(deathSignal), 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_PDEATHSIG: %w", err)
	}
	fd, err := netns.GetFromName(args[0])
	if err != nil {
		return fmt.Errorf("namespace %s: %w", args[0], err)
	}
	if err := netns.Set(fd); err != nil {
		return fmt.Errorf("entering namespace %s: %w", args[0], err)
	}
	if err := privateMounts(); err != nil {
		return fmt.Errorf("mounts of namespace %s: %w", args[0], err)
	}
	return fmt.Errorf("%s: %w", args[1], unix.Exec(args[1], args[1:], os.Environ()))
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
