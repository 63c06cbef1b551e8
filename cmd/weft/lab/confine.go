package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// confine prepares cmd, a call of this program, to start in namespaces of its
// own: network, so that nothing of the host is touched; process ids, so that
// all of it dies with its first process; mounts, so that /etc/hosts can name
// the pods. Whoever is not root gets a user namespace, in which he is.
func confine(cmd *exec.Cmd) {
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWNS,
		Setsid:     true, // Ctrl-C is the caller's to handle
	}
	if !hasCapabilities(unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN) {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
}

// hasCapabilities reports whether this thread has all of want in effect.
func hasCapabilities(want ...int) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	for _, c := range want {
		if data[c/32].Effective&(1<<(c%32)) == 0 {
			return false
		}
	}
	return true
}

// explain adds cause and cure to an error met while namespaces were made.
func explain(err error) error {
	denied := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) ||
		errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EUSERS)
	if !denied {
		return err
	}
	return fmt.Errorf("%w\n%s", err, namespaceAdvice(os.DirFS("/proc/sys")))
}

// namespaceAdvice finds out which switch of the system forbids namespaces.
func namespaceAdvice(sys fs.FS) string {
	for _, s := range []struct{ path, forbids, cure string }{
		{"user/max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=15000"},
		{"user/max_net_namespaces", "0", "sudo sysctl user.max_net_namespaces=15000"},
		{"kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"},
		{"kernel/apparmor_restrict_unprivileged_userns", "1",
			"sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for weft with the rule \"userns,\""},
	} {
		b, err := fs.ReadFile(sys, s.path)
		if err == nil && strings.TrimSpace(string(b)) == s.forbids {
			return fmt.Sprintf("cause: %s is %s, so users other than root may not make namespaces\ncure:  %s, or run this as root",
				strings.ReplaceAll(s.path, "/", "."), s.forbids, s.cure)
		}
	}
	return "cause: this system does not let this user make namespaces; in a container its seccomp profile may forbid it\n" +
		"cure:  run it as root, or the container with --security-opt seccomp=unconfined (or --privileged)"
}

// tunAdvice says what is wrong with /dev/net/tun, or "".
func tunAdvice(path string) string {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	switch {
	case err == nil:
		f.Close()
		return ""
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("cause: there is no %s\ncure:  sudo modprobe tun; in a container run it with --device %[1]s", path)
	case errors.Is(err, fs.ErrPermission):
		mode := "unknown"
		if st, err := os.Stat(path); err == nil {
			mode = fmt.Sprintf("%#o", st.Mode().Perm())
		}
		return fmt.Sprintf("cause: %s may not be opened by this user (mode %s; 0666 is usual and safe)\ncure:  sudo chmod 666 %[1]s", path, mode)
	}
	return fmt.Sprintf("cause: %v\ncure:  load the module tun", err)
}

// beInit makes the first process of a process-id namespace what it has to be:
// it starts this program once more with the same arguments and open files,
// passes signals on to it, and takes in the orphans of everything below. It
// returns in the second process, and in any that is not the first.
func beInit(extra ...*os.File) error {
	if os.Getpid() != 1 {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	p, err := os.StartProcess(self, os.Args, &os.ProcAttr{
		Files: append([]*os.File{os.Stdin, os.Stdout, os.Stderr}, extra...),
	})
	if err != nil {
		return err
	}
	go func() {
		for s := range signals {
			_ = p.Signal(s) // fails only when it has just ended, which reap notices
		}
	}()
	os.Exit(reap(p.Pid))
	return nil
}

// reap waits for every child until the one with that pid ends, and returns its
// exit code. When it returns, the kernel kills whatever else is left.
func reap(pid int) int {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR, err == nil && got != pid:
			continue
		case err != nil:
			return 1
		case status.Signaled():
			return 128 + int(status.Signal())
		}
		return status.ExitStatus()
	}
}
