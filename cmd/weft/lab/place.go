package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"weft/cmd/weft/client"
	"weft/cmd/weft/lab/space"
)

// A Place is somewhere a command can run: a pod, a node, or the switch.
type Place struct {
	*space.Space
	lab  *Lab
	node *Node // that it is, or that its pod is on; nil: neither
}

// environ is what a command at this place finds in its environment: that of the
// lab, and WEFT_SOCKET, by which weft's own commands find the node.
func (p *Place) environ() []string {
	env := p.lab.Environ()
	if p.node != nil {
		env = append(env, client.Env+"="+p.node.Socket())
	}
	return env
}

// Exec runs a command here and returns what it wrote to its standard output.
// When it fails, the error has what it wrote to standard error.
func (p *Place) Exec(ctx context.Context, argv ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), p.environ()...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := p.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		err = fmt.Errorf("%s: %s: %w: %s", p.Name(), strings.Join(argv, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.Bytes(), err
}

// Tool returns the command line of one of weft's own tools (see `weft lab tool
// --help`), to be run at any place of the lab.
func (l *Lab) Tool(args ...string) []string {
	return append([]string{l.opt.Weft, "lab", "tool"}, args...)
}
