package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weft/cmd/weft/client"
	"weft/cmd/weft/trace"
	"weft/engine"
)

// Exit codes; see the package comment.
const (
	exitOK = iota
	exitFailed
	exitUsage
)

// stdio is where a command reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// A node is what `up` runs: engine.Node, or a stand-in in tests.
type node interface {
	Run(context.Context) error
	Ready() (ok bool, why string)
}

// app is one call of the program: what main hands over, and the one seam that
// tests replace.
type app struct {
	stdio
	environ []string
	newNode func(engine.Options) (node, error)
}

// run is the whole program. args[0] is the name it was called by; the result
// is the exit code.
func run(ctx context.Context, args, environ []string, io stdio) int {
	a := &app{stdio: io, environ: environ, newNode: newEngineNode}
	return a.run(ctx, args)
}

func newEngineNode(o engine.Options) (node, error) {
	n, err := engine.New(o)
	if err != nil {
		return nil, err // not n: a nil *engine.Node would be a non-nil node
	}
	return n, nil
}

func (a *app) run(ctx context.Context, args []string) int {
	client.Version = readVersion().Version
	name, args := filepath.Base(args[0]), args[1:]
	if name != "flanneld" && trace.IsExtcap(args) {
		return trace.Extcap(ctx, args, a.out, a.err)
	}
	cmd := a.command(name, args)
	cmd.SetArgs(goSyntax(cmd, args))
	cmd.SetIn(a.in)
	cmd.SetOut(a.out)
	cmd.SetErr(a.err)
	ran, err := cmd.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	return a.report(ran, err)
}

// command picks the face that the program shows: flanneld's when it is called
// by that name or a flag comes first, else weft's with its subcommands.
func (a *app) command(name string, args []string) *cobra.Command {
	if name == "flanneld" {
		return a.upCommand("flanneld")
	}
	if len(args) > 0 && strings.HasPrefix(args[0], "-") && !isRootFlag(args[0]) {
		return a.upCommand("weft")
	}
	return a.rootCommand()
}

// isRootFlag reports whether arg belongs to weft itself although it is a flag
// that comes first.
func isRootFlag(arg string) bool {
	return slices.Contains([]string{"-h", "-help", "--help", "-version", "--version"}, arg)
}

// goSyntax rewrites the arguments that are the daemon's flags; see twoDashes.
func goSyntax(cmd *cobra.Command, args []string) []string {
	if !cmd.HasSubCommands() {
		return twoDashes(cmd.Flags(), args)
	}
	if len(args) == 0 {
		return []string{}
	}
	if args[0] == "-version" || args[0] == "-help" {
		return append([]string{"-" + args[0]}, args[1:]...)
	}
	for _, sub := range cmd.Commands() {
		if sub.Name() == "up" && args[0] == "up" {
			return append([]string{"up"}, twoDashes(sub.Flags(), args[1:])...)
		}
	}
	return args
}

// A failure is an error met while doing what was asked, as opposed to an error
// in how it was asked, which cobra and the flag table return.
type failure struct{ err error }

func (f failure) Error() string { return f.err.Error() }
func (f failure) Unwrap() error { return f.err }

// A usageError is a mistake in the command line or the environment that shows
// only after parsing.
type usageError struct{ msg string }

func (e usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error {
	return usageError{fmt.Sprintf(format, args...)}
}

// doing marks the errors of a command's body as failures, except those that
// are mistakes of the caller after all.
func doing(body func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := body(cmd, args)
		var u usageError
		if err == nil || errors.As(err, &u) {
			return err
		}
		return failure{err}
	}
}

// report prints err on one line and returns the exit code it deserves. cmd is
// the command that was running, for the hint.
func (a *app) report(cmd *cobra.Command, err error) int {
	program := cmd.Root().Name()
	var f failure
	if errors.As(err, &f) {
		fmt.Fprintf(a.err, "%s: %v\n", program, f.err)
		return exitFailed
	}
	var exit interface { // of the commands in packages of their own
		error
		ExitCode() int
	}
	if errors.As(err, &exit) {
		if text := exit.Error(); text != "" {
			text = client.Clean(strings.ReplaceAll(text, "\n", "; ")) // the daemon's words, as a rule
			fmt.Fprintf(a.err, "%s: %s\n", program, text)
		}
		return exit.ExitCode()
	}
	msg, _, _ := strings.Cut(err.Error(), "\n") // cobra's suggestions take more lines
	help := cmd.CommandPath()
	if help == "weft" && !cmd.HasSubCommands() { // a flag came first
		help = "weft up"
	}
	fmt.Fprintf(a.err, "%s: %s; see \"%s --help\"\n", program, msg, help)
	return exitUsage
}
