package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestProcess runs a whole process under a pretended systemd: READY once the
// node is, SIGHUP without effect, SIGTERM to STOPPING and exit code 0.
func TestProcess(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			states := listenAsSystemd(t)
			var log bytes.Buffer
			cmd := exec.Command("weft", "up", "--leases", t.TempDir(), "--node-name", "n1")
			cmd.Env = append(os.Environ(), "FLANNELD_SOCKET=off", "NOTIFY_SOCKET="+states.LocalAddr().String())
			cmd.Stderr = &log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill() // of use only when the test fails
			expectState(t, states, "READY=1")
			send(t, cmd, syscall.SIGHUP)
			send(t, cmd, sig)
			expectState(t, states, "STOPPING=1")
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v, want exit code 0\n%s", err, &log)
			}
			for _, want := range []string{"SIGHUP ignored", `msg=stopping signal=` + quoted(sig), `msg="weft ends"`} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("the log lacks %q:\n%s", want, &log)
				}
			}
		})
	}
}

// TestSecondSignal: the first signal gives the next its default action again,
// so that a node that hangs can be killed without SIGKILL.
func TestSecondSignal(t *testing.T) {
	states := listenAsSystemd(t)
	cmd := exec.Command("weft", "up", "--leases", t.TempDir(), "--node-name", "n1")
	cmd.Env = append(os.Environ(), "FLANNELD_SOCKET=off", "NOTIFY_SOCKET="+states.LocalAddr().String(), "WEFT_TEST_NODE=hang")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	expectState(t, states, "READY=1")
	send(t, cmd, syscall.SIGTERM)
	err := cmd.Wait()
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v, want death by SIGTERM", err)
	}
}

// quoted is the name of a signal as slog's text format shows it.
func quoted(sig syscall.Signal) string {
	if s := sig.String(); strings.Contains(s, " ") {
		return `"` + s + `"`
	}
	return sig.String()
}

func listenAsSystemd(t *testing.T) *net.UnixConn {
	t.Helper()
	dir, err := os.MkdirTemp("", "weft") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func expectState(t *testing.T, conn *net.UnixConn, want string) {
	t.Helper()
	b := make([]byte, 256)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(b[:n]); got != want {
		t.Fatalf("systemd was told %q, want %q", got, want)
	}
}

func send(t *testing.T, cmd *exec.Cmd, sig os.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}
