package lab

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A user runs `weft lab …` as processes, with the test binary as weft.
type user struct {
	t    *testing.T
	weft string // program
	run  string // XDG_RUNTIME_DIR
	cred *syscall.Credential
}

// users calls f as root, if we are, and as a user who is not.
func users(t *testing.T, f func(t *testing.T, u user)) {
	weft := copyOfSelf(t)
	if os.Geteuid() != 0 {
		t.Run("user", func(t *testing.T) { f(t, user{t: t, weft: weft, run: runtimeDir(t, -1)}) })
		return
	}
	const nobody = 65534
	t.Run("root", func(t *testing.T) { f(t, user{t: t, weft: weft, run: runtimeDir(t, 0)}) })
	t.Run("user", func(t *testing.T) {
		cred := &syscall.Credential{Uid: nobody, Gid: nobody}
		f(t, user{t: t, weft: weft, run: runtimeDir(t, nobody), cred: cred})
	})
}

// copyOfSelf copies the test binary to where any user may run it.
func copyOfSelf(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "weft-lab-test-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	self, err := os.Executable()
	must(t, err)
	b, err := os.ReadFile(self)
	must(t, err)
	path := filepath.Join(dir, "weft")
	must(t, os.WriteFile(path, b, 0o755))
	return path
}

// runtimeDir makes a short path, since sockets go below it.
func runtimeDir(t *testing.T, uid int) string {
	dir, err := os.MkdirTemp("", "run-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	if uid > 0 {
		must(t, os.Chown(dir, uid, uid))
	}
	return dir
}

func (u user) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(u.t.Context(), u.weft, append([]string{"lab"}, args...)...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+u.run, "HOME=/")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: u.cred}
	return cmd
}

// lab runs a command to its end.
func (u user) lab(args ...string) (stdout, stderr string, code int) {
	u.t.Helper()
	cmd := u.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		u.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// ok is lab for what has to succeed.
func (u user) ok(args ...string) string {
	u.t.Helper()
	out, errs, code := u.lab(args...)
	if code != 0 {
		u.skipIfForbidden(errs)
		u.t.Fatalf("weft lab %q: exit code %d\n%s%s", args, code, out, errs)
	}
	return out
}

// skipIfForbidden skips where the system lets no user make namespaces.
func (u user) skipIfForbidden(stderr string) {
	u.t.Helper()
	if strings.Contains(stderr, "namespaces\ncure:") && (u.cred != nil || os.Geteuid() != 0) {
		u.t.Skip(stderr)
	}
}

func (u user) state() state { return state{filepath.Join(u.run, "weft", "lab"), "default"} }

// up starts a lab in the background, and sees to its end.
func (u user) up(args ...string) (out string) {
	u.t.Helper()
	out = u.ok(append([]string{"up", "-d"}, args...)...)
	u.t.Cleanup(func() {
		if err := u.state().kill(); err != nil {
			u.t.Error(err)
		}
		if err := u.state().awaitEnd(); err != nil {
			u.t.Error(err)
		}
	})
	return out
}

// leftNothing checks that no file of a lab is left.
func (u user) leftNothing() {
	u.t.Helper()
	left, err := os.ReadDir(filepath.Dir(u.state().dir()))
	if err != nil || len(left) != 0 {
		u.t.Errorf("files of a lab that has ended: %v, %v", left, err)
	}
}

func TestCommandLine(t *testing.T) {
	users(t, func(t *testing.T, u user) {
		u.t = t
		if out := u.up("2"); !strings.Contains(out, "n2  10.244.2.0/24  via 10.99.0.2:8285  pod 10.244.2.2  mtu 1472\nready in ") {
			t.Errorf("up says\n%s", out)
		}
		var infos []Info
		must(t, json.Unmarshal([]byte(u.ok("ls", "--json")), &infos))
		if len(infos) != 1 || infos[0].Name != "default" || len(infos[0].Nodes) != 2 || infos[0].PID != u.state().pid() {
			t.Errorf("ls says %+v", infos)
		}
		if _, errs, code := u.lab("up"); code != 1 || !strings.Contains(errs, "weft lab down") {
			t.Errorf("a second up: code %d, %s", code, errs)
		}
		u.ok("down")
		if u.state().running() {
			t.Error("running after down")
		}
		u.leftNothing()
		if _, errs, code := u.lab("exec", "n1", "true"); code != 1 || !strings.Contains(errs, "weft lab up") {
			t.Errorf("exec without a lab: code %d, %s", code, errs)
		}
	})
}

func TestExec(t *testing.T) {
	users(t, func(t *testing.T, u user) {
		u.t = t
		u.up("2")
		u.ok("exec", "n1", "--", u.weft, "lab", "tool", "ping", "-c1", "n2")
		u.ok("exec", "n2/host", u.weft, "lab", "tool", "ping", "-c1", "n1.host")
		u.ok("exec", "n1", "--", "weft", "lab", "tool", "ping", "-c1", "n2") // not in our $PATH
		u.ok("exec", "n1", "--", "sh", "-c", "weft lab tool ping -c1 n2")
		if out := u.ok("exec", "n1", "--", "sh", "-c", "pwd; echo $WEFT_N1"); out != "/\n10.244.1.2\n" {
			t.Errorf("directory and environment: %q", out)
		}
		for want, args := range map[int][]string{
			7:   {"exec", "n1", "--", "sh", "-c", "exit 7"},
			137: {"exec", "n1", "--", "sh", "-c", "kill -9 $$"},
			127: {"exec", "n1", "--", "no-such-program"},
			1:   {"exec", "n9", "--", "true"},
		} {
			if _, errs, code := u.lab(args...); code != want {
				t.Errorf("%q: exit code %d, want %d (%s)", args, code, want, errs)
			}
		}
		cmd := u.command("exec", "n1", "--", "cat")
		cmd.Stdin = strings.NewReader("through and back")
		if out, err := cmd.Output(); err != nil || string(out) != "through and back" {
			t.Errorf("cat: %q, %v", out, err)
		}
	})
}

func TestExecSignals(t *testing.T) {
	users(t, func(t *testing.T, u user) {
		u.t = t
		u.up("1")
		cmd := u.command("exec", "n1", "--", "sh", "-c", "trap 'exit 42' TERM; echo set; while :; do sleep 0.01; done")
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		_, err = bufio.NewReader(out).ReadString('\n')
		must(t, err)
		must(t, cmd.Process.Signal(unix.SIGTERM))
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 42 {
			t.Errorf("ended with %v, want exit status 42", err)
		}
	})
}

// A client that is killed takes its command along: the pipe that both have
// open ends.
func TestExecDiesWithItsClient(t *testing.T) {
	u := user{t: t, weft: copyOfSelf(t), run: runtimeDir(t, 0)}
	u.up("1")
	r, w, err := os.Pipe()
	must(t, err)
	cmd := u.command("exec", "n1", "--", "sh", "-c", "echo started; exec sleep 1000")
	cmd.Stdout = w
	must(t, cmd.Start())
	w.Close()
	in := bufio.NewReader(r)
	_, err = in.ReadString('\n')
	must(t, err)
	must(t, cmd.Process.Kill())
	if _, err := io.ReadAll(in); err != nil {
		t.Error(err)
	}
	cmd.Wait() // killed, as asked
}

func TestNodeCommands(t *testing.T) {
	users(t, func(t *testing.T, u user) {
		u.t = t
		u.up("2")
		for _, verb := range []string{"stop", "start", "kill", "start"} {
			u.ok(verb, "n2")
			stopped := strings.Contains(u.ok("ls"), "stopped")
			if stopped == (verb == "start") {
				t.Errorf("after %s: stopped is %v", verb, stopped)
			}
		}
		if _, errs, code := u.lab("stop", "n3"); code != 1 || !strings.Contains(errs, `"n3"`) {
			t.Errorf("stop n3: code %d, %s", code, errs)
		}
	})
}

// Whatever was started in the lab, and however it hides, dies with the lab's
// first process: the pipe it has open ends.
func TestKilledLabLeavesNothing(t *testing.T) {
	users(t, func(t *testing.T, u user) {
		u.t = t
		u.up("1")
		r, w, err := os.Pipe()
		must(t, err)
		cmd := u.command("exec", "n1", "--", "sh", "-c", "setsid sleep 1000 & exit 0")
		cmd.Stdout = w
		must(t, cmd.Run())
		w.Close()
		must(t, u.state().kill())
		if _, err := io.ReadAll(r); err != nil {
			t.Error(err)
		}
		must(t, u.state().awaitEnd())
		u.up("1") // over what is left
	})
}

func foreground(t *testing.T, u user) *exec.Cmd {
	t.Helper()
	cmd := u.command("up", "1")
	out, err := cmd.StdoutPipe()
	must(t, err)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	must(t, cmd.Start())
	for sc := bufio.NewScanner(out); sc.Scan(); {
		if strings.HasPrefix(sc.Text(), "ready in ") {
			return cmd
		}
	}
	cmd.Wait()
	u.skipIfForbidden(errs.String())
	t.Fatalf("never ready: %s", errs.String())
	return nil
}

func TestForeground(t *testing.T) {
	users(t, func(t *testing.T, u user) {
		u.t = t
		cmd := foreground(t, u)
		must(t, cmd.Process.Signal(unix.SIGINT))
		must(t, cmd.Wait())
		if u.state().running() {
			t.Error("running after Ctrl-C")
		}
		u.leftNothing()
		cmd = foreground(t, u)
		must(t, cmd.Process.Kill())
		cmd.Wait() // killed, as asked
		must(t, u.state().awaitEnd())
	})
}

func TestUpFails(t *testing.T) {
	users(t, func(t *testing.T, u user) {
		u.t = t
		_, errs, code := u.lab("up", "2", "--env", "STANDIN_FAILS=n1")
		u.skipIfForbidden(errs)
		if code != 1 || !strings.Contains(errs, "told to fail") {
			t.Errorf("code %d, %s", code, errs)
		}
		if u.state().running() {
			t.Error("a lab that did not come up still runs")
		}
		for _, args := range [][]string{{"up", "0"}, {"up", "x"}, {"up", "--env", "novalue"}, {"up", "--network", "10.0.0.0"}} {
			if _, errs, code := u.lab(args...); code != 1 || !strings.Contains(errs, args[len(args)-1]) {
				t.Errorf("%q: code %d, %s", args, code, errs)
			}
		}
	})
}

func TestTerminal(t *testing.T) {
	u := user{t: t, weft: copyOfSelf(t), run: runtimeDir(t, 0)}
	u.up("1")
	master, slave, err := openPTY()
	must(t, err)
	defer master.Close()
	must(t, unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 17, Col: 93}))
	cmd := u.command("exec", "n1", "--", "sh", "-c", "tty; stty size; read line; echo got $line; exit 5")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	must(t, cmd.Start())
	slave.Close()
	_, err = master.WriteString("typed\r")
	must(t, err)
	text, err := io.ReadAll(master)
	if !errors.Is(err, unix.EIO) { // how a terminal says that nobody has it open any more
		t.Errorf("terminal ended with %v", err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 5 {
		t.Errorf("exit code %d, want 5", code)
	}
	for _, want := range []string{"/dev/pts/", "17 93", "got typed"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("terminal shows %q, want %q in it", text, want)
		}
	}
}

func TestDemo(t *testing.T) {
	users(t, func(t *testing.T, u user) {
		u.t = t
		out := u.ok("demo", "--bytes=3000000", "--pings=3", "--burst=10ms")
		for _, want := range []string{"3 pings, 3 answered", "3 MB with SHA-256", " = what was sent\n", "namespaces are gone"} {
			if !strings.Contains(out, want) {
				t.Errorf("demo lacks %q:\n%s", want, out)
			}
		}
		out, errs, code := u.lab("demo", "--env=STANDIN_FAILS=n2")
		if code != 1 || !strings.Contains(out, "FAILED") || !strings.Contains(errs, "told to fail") {
			t.Errorf("demo of a broken node: code %d\n%s%s", code, out, errs)
		}
	})
}

func TestStateOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	u := user{t: t, weft: copyOfSelf(t), run: runtimeDir(t, 0)}
	must(t, os.Mkdir(filepath.Join(u.run, "weft"), 0o755))
	must(t, os.Chown(filepath.Join(u.run, "weft"), 65534, 65534))
	if _, errs, code := u.lab("up"); code != 1 || !strings.Contains(errs, "owned by user "+strconv.Itoa(65534)) {
		t.Errorf("code %d, %s", code, errs)
	}
}
