package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"weft/engine"
	"weft/engine/control"
	"weft/engine/trace"
	"weft/lease"
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
	// A lab starts its program by the name of this file.
	if len(os.Args) > 1 && os.Getenv("WEFT_TEST_NODE") == "lab" {
		program()
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
	if os.Getenv("WEFT_TEST_NODE") == "lab" {
		if err := n.announce(); err != nil {
			return err
		}
	}
	n.opt.OnReady()
	<-ctx.Done()
	if os.Getenv("WEFT_TEST_NODE") == "hang" {
		syscall.Kill(os.Getpid(), syscall.SIGTERM) // the impatient user's second signal
		select {}
	}
	return ctx.Err()
}

// announce takes the subnet that the node had before.
func (n *scriptedNode) announce() error {
	env, err := lease.ReadEnv(n.opt.SubnetFile)
	if err != nil {
		return err
	}
	env.MTU = 1472
	return lease.WriteEnv(n.opt.SubnetFile, env)
}

func (n *scriptedNode) Ready() (bool, string) { return true, "" }

// Status answers with the health that $WEFT_TEST_HEALTH names.
func (n *scriptedNode) Status(context.Context) control.Status {
	now := time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)
	return control.Status{
		Schema: control.Schema, Time: now, Health: control.Health(os.Getenv("WEFT_TEST_HEALTH")),
		Node:  control.NodeInfo{Name: n.opt.Name, Version: n.opt.Version, Platform: "linux/test", Started: now.Add(-time.Hour)},
		Store: control.Store{Kind: n.opt.StoreKind, Connected: true, Leases: 1},
		Peers: []control.Peer{{Public: netip.MustParseAddr("192.0.2.12"), Subnet: netip.MustParsePrefix("10.244.2.0/24"), Via: "udp", Backend: "udp", State: control.PeerOK, MTU: 1472}},
	}
}

func (n *scriptedNode) Drops() (trace.Meta, []trace.Record) { return n.TraceMeta(), nil }
func (n *scriptedNode) TraceMeta() trace.Meta               { return trace.Meta{Schema: 1, Node: n.opt.Name} }
func (n *scriptedNode) Doctor(context.Context) control.Report {
	return control.Report{Schema: control.Schema}
}

func (n *scriptedNode) Trace(o trace.Options) (*trace.Session, error) { return new(trace.Hub).Open(o) }

func (n *scriptedNode) Explain(context.Context, control.Question) (control.Explanation, error) {
	return control.Explanation{}, errors.New("nothing to explain")
}

func (n *scriptedNode) Ping(context.Context, control.PingRequest, func(control.PingReply) error) error {
	return errors.New("nobody to ping")
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exitcode": exitCode,
			"copyself": copySelf,
		},
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error { // the usual place of sockets is the machine's
			env.Setenv("FLANNELD_SOCKET", socketOff)
			return nil
		},
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
