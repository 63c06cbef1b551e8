package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"weft/engine"
)

// TestMain makes the test binary serve as weft and as flanneld, with a node
// that carries nothing, for the scripts and for TestProcess.
func TestMain(m *testing.M) {
	program := func() {
		a := &app{
			stdio:   stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr},
			environ: os.Environ(),
			newNode: newScriptedNode,
		}
		os.Exit(a.run(context.Background(), os.Args))
	}
	testscript.Main(m, map[string]func(){"weft": program, "flanneld": program})
}

// A scriptedNode stands for the engine. $WEFT_TEST_NODE says what it does.
type scriptedNode struct{ opt engine.Options }

func newScriptedNode(o engine.Options) (node, error) {
	o.Log.Debug("node made")
	shown := o
	shown.Registrar, shown.Source, shown.Log, shown.OnReady = nil, nil, nil, nil
	fmt.Fprintf(os.Stderr, "node: %+v\n", shown)
	if o.Registrar == nil || o.Source == nil {
		return nil, errors.New("no lease store")
	}
	return &scriptedNode{o}, nil
}

func (n *scriptedNode) Run(ctx context.Context) error {
	switch os.Getenv("WEFT_TEST_NODE") {
	case "end":
		return nil
	case "fail":
		return errors.New("the lease is lost")
	}
	n.opt.OnReady()
	<-ctx.Done()
	if os.Getenv("WEFT_TEST_NODE") == "hang" {
		syscall.Kill(os.Getpid(), syscall.SIGTERM) // the impatient user's second signal
		select {}
	}
	return ctx.Err()
}

func (n *scriptedNode) Ready() (bool, string) { return true, "" }

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exitcode": exitCode,
			"copyself": copySelf,
		},
		RequireExplicitExec: true,
	})
}

// exitCode runs a program and checks the code that it ends with:
// exitcode CODE PROGRAM ARGS...
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// copySelf puts a copy of the flanneld program at the given path.
func copySelf(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: copyself PATH")
	}
	self, err := exec.LookPath("flanneld")
	ts.Check(err)
	data, err := os.ReadFile(self)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o755))
}
