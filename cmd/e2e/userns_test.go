package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"weft/cmd/weft/lab/probe"
)

func symlink(to, at string) error { return os.Symlink(to, at) }

// exitCode returns the exit code that an error of exec stands for.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// A person is somebody at a terminal, whoever runs the test.
type person struct{ run string }

func newPerson(t *testing.T) person {
	run, err := os.MkdirTemp("", "e2e-") // paths of sockets must stay short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(run) })
	return person{run}
}

func (p person) command(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(within(t), weft, append([]string{"lab"}, args...)...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+p.run)
	return cmd
}

// lab runs `weft lab …` and returns what it prints.
func (p person) lab(t *testing.T, args ...string) string {
	t.Helper()
	cmd := p.command(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil && strings.Contains(errs.String(), "namespaces\ncure:") {
		t.Skip(errs.String())
	}
	if err != nil {
		t.Fatalf("weft lab %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String()
}

// A lab of two nodes, as anybody may have it: pods ping each other and
// exchange data that arrive whole, in both directions.
func TestUserNSLab(t *testing.T) {
	p := newPerson(t)
	p.lab(t, "up", "-d", "2")
	down := false
	defer func() {
		if !down {
			p.lab(t, "down")
		}
	}()
	p.lab(t, "exec", "n1", "--", weft, "lab", "tool", "ping", "-c3", "-i1ms", "n2")
	p.lab(t, "exec", "n2", "--", weft, "lab", "tool", "ping", "-c3", "-s1400", "-i1ms", "n1")
	p.stream(t, "n1", "n2")
	p.stream(t, "n2", "n1")
	p.lab(t, "kill", "n2")
	p.lab(t, "start", "n2")
	p.stream(t, "n1", "n2")
	p.lab(t, "down")
	down = true
	if out := p.lab(t, "ls", "--json"); strings.TrimSpace(out) != "[]" && strings.TrimSpace(out) != "null" {
		t.Errorf("labs after down: %s", out)
	}
}

// stream sends 64 MB from one pod to another.
func (p person) stream(t *testing.T, from, to string) {
	t.Helper()
	recv := p.command(t, "exec", to, "--", weft, "lab", "tool", "recv", "--hash")
	var errs bytes.Buffer
	recv.Stderr = &errs
	pipe, err := recv.StdoutPipe()
	must(t, err)
	must(t, recv.Start())
	lines := bufio.NewReader(pipe)
	_, err = lines.ReadBytes('\n') // it listens
	must(t, err)
	var sent, received probe.Flow
	must(t, json.Unmarshal([]byte(p.lab(t, "exec", from, "--", weft, "lab", "tool", "send", "--hash", "--bytes=67108864", to+":5001")), &sent))
	must(t, json.NewDecoder(lines).Decode(&received))
	if err := recv.Wait(); err != nil {
		t.Errorf("receiver: %v %s", err, errs.String())
	}
	if received.Bytes != 64*mega || received.SHA256 != sent.SHA256 || len(sent.SHA256) != 64 {
		t.Errorf("%s to %s: sent %+v, received %+v", from, to, sent, received)
	}
}

// The demonstration, in its smallest form.
func TestUserNSDemo(t *testing.T) {
	out := newPerson(t).lab(t, "demo", "--bytes=16777216", "--burst=0")
	for _, want := range []string{"10.244.1.2", "10 pings, 10 answered", "all namespaces are gone again"} {
		if !strings.Contains(out, want) {
			t.Errorf("the demo does not say %q:\n%s", want, out)
		}
	}
}
