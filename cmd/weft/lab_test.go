package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"weft/cmd/weft/client"
)

// TestLabStatus: a command in a lab finds the node that it is at, as root and as
// a user whose lab is in a user namespace, and has the right to change it.
func TestLabStatus(t *testing.T) {
	const nobody = 65534
	users := map[string]*syscall.Credential{"this user": nil}
	if os.Geteuid() == 0 {
		users["a user"] = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	for name, cred := range users {
		t.Run(name, func(t *testing.T) { labStatus(t, cred) })
	}
}

func labStatus(t *testing.T, cred *syscall.Credential) {
	u := labUser{t: t, cred: cred, run: userDir(t, cred), program: programFor(t)}
	if out, err := u.weft("lab", "up", "1", "-d", "--leases", filepath.Join(u.run, "net")); err != nil {
		if strings.Contains(out, "namespaces\ncure:") {
			t.Skip(out)
		}
		t.Fatalf("%v: %s", err, out)
	}
	defer u.weft("lab", "down")
	for _, place := range []string{"n1", "n1/host"} {
		out, err := u.weft("lab", "exec", place, "--", u.program, "status")
		if err != nil || !strings.Contains(out, "node    n1") {
			t.Errorf("status at %s: %v: %s", place, err, out)
		}
	}
	socket, err := u.weft("lab", "exec", "n1", "--", "printenv", "WEFT_SOCKET")
	if want := filepath.Join(u.run, "weft/lab/default/n1/control.sock"); err != nil || strings.TrimSpace(socket) != want {
		t.Errorf("WEFT_SOCKET is %q (%v), want %q", socket, err, want)
	}
	if out, err := u.weft("status", "--socket", strings.TrimSpace(socket)); err != nil || !strings.Contains(out, "node    n1") {
		t.Errorf("status from outside: %v: %s", err, out)
	}
	// doctor changes, in the sense of rights.
	c, err := client.New(strings.TrimSpace(socket))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Doctor(t.Context()); cred == nil && err != nil {
		t.Errorf("this user has no right in his own lab: %v", err)
	} else if cred != nil && (err == nil || !strings.Contains(err.Error(), "outside the user namespace")) {
		t.Errorf("root of the machine, who has no number in the lab: %v", err)
	}
}

// A labUser calls weft as a user with a runtime directory of his own.
type labUser struct {
	t            *testing.T
	cred         *syscall.Credential
	run, program string
}

func (u labUser) weft(args ...string) (string, error) {
	cmd := exec.CommandContext(u.t.Context(), u.program, args...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+u.run, "HOME=/", "WEFT_TEST_NODE=lab", "WEFT_TEST_HEALTH=ok", "WEFT_SOCKET=")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: u.cred}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// userDir is a directory of a user's own, with a path short enough for sockets.
func userDir(t *testing.T, cred *syscall.Credential) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "run-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if cred != nil {
		err = os.Chown(dir, int(cred.Uid), int(cred.Gid))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// programFor copies this program to where any user may run it, under the name
// that makes it weft.
func programFor(t *testing.T) string {
	t.Helper()
	dir := userDir(t, nil)
	self, err := os.ReadFile("/proc/self/exe")
	path := filepath.Join(dir, "weft")
	if err := errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(path, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}
