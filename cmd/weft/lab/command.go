package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// Command returns `weft lab` with its subcommands. Errors of what they do are
// of type [*ExitError]; all others are mistakes in the command line.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Nodes on this machine, no root needed",
		Long: `Make nodes out of network namespaces on this machine: a wire between them, weft
on each, and a pod behind a bridge on each. It needs nothing but this program,
and no root where the system lets users make namespaces.

A place to run a command at is n1 (the pod on node n1), n1/host (the node
itself) or switch (the wire between the nodes). In the lab, n1 and n1.host are
names of the pod and the node, and $WEFT_N1, $WEFT_N1_6 and $WEFT_N1_HOST their
addresses. There weft status and the other commands that ask a node ask n1.`,
		Example: `  weft lab up 3                    in the foreground; Ctrl-C ends it
  weft lab up -d --backend udp     in the background
  weft lab exec n1 -- ping n2
  weft lab exec n1 -- weft status
  weft lab up --backend wireguard  encrypted between the nodes
  weft lab demo                    two nodes, a measurement, and gone`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(upCommand(), execCommand(), shellCommand(), lsCommand(), logsCommand(), downCommand())
	for _, verb := range []string{"start", "stop", "kill"} {
		cmd.AddCommand(nodeCommand(verb))
	}
	cmd.AddCommand(demoCommand(), toolCommand(), etcdCommand(), daemonCommand())
	return cmd
}

// doing marks errors of a command's body as failures.
func doing(body func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := body(cmd, args)
		var exit *ExitError
		if err == nil || errors.As(err, &exit) {
			return err
		}
		return &ExitError{Code: 1, Err: err}
	}
}

// nameFlag adds --name; every command about a lab has it.
func nameFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("name", "default", "`name` of the lab")
}

func execCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "exec PLACE -- COMMAND...",
		Short:   "Run a command at a place of the lab",
		Example: "  weft lab exec n1 -- ping -c 3 n2\n  weft lab exec n1/host -- ip route",
		Args:    cobra.MinimumNArgs(2),
	}
	cmd.Flags().SetInterspersed(false)
	name := nameFlag(cmd)
	cmd.RunE = doing(func(_ *cobra.Command, args []string) error {
		command := args[1:]
		if command[0] == "--" { // after a place, pflag has stopped looking for it
			command = command[1:]
		}
		return runAt(*name, args[0], command)
	})
	return cmd
}

func shellCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "shell PLACE", Short: "Open a shell at a place of the lab", Args: cobra.ExactArgs(1)}
	name := nameFlag(cmd)
	cmd.RunE = doing(func(_ *cobra.Command, args []string) error {
		shell := os.Getenv("SHELL")
		if shell == "" {
			shell = "/bin/sh"
		}
		return runAt(*name, args[0], []string{shell})
	})
	return cmd
}

// runAt runs argv at a place and turns its exit code into ours.
func runAt(name, place string, argv []string) error {
	if len(argv) == 0 {
		return errors.New("no command to run")
	}
	s, err := newState(name)
	if err != nil {
		return err
	}
	code, err := s.exec(place, argv)
	if err != nil && code == 0 {
		code = 1
	}
	if code == 0 {
		return nil
	}
	return &ExitError{Code: code, Err: err}
}

func lsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Short: "List the labs that are up", Args: cobra.NoArgs}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = doing(func(cmd *cobra.Command, _ []string) error {
		infos, err := running()
		if err != nil {
			return err
		}
		if *asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(infos)
		}
		for _, i := range infos {
			if err := i.write(cmd.OutOrStdout()); err != nil {
				return err
			}
		}
		return nil
	})
	return cmd
}

// running asks all labs of this user what they are.
func running() ([]*Info, error) {
	list, err := states()
	if err != nil {
		return nil, err
	}
	infos := []*Info{}
	for _, s := range list {
		r, err := s.ask(request{Op: "info"})
		if err != nil {
			return nil, err
		}
		r.Info.PID = s.pid()
		infos = append(infos, r.Info)
	}
	return infos, nil
}

// write prints a lab as people read it.
func (i *Info) write(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "lab %q: %d nodes, backend %s, %s\n", i.Name, len(i.Nodes), i.Backend, i.Store); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, n := range i.Nodes {
		via := n.Underlay
		if n.Port != 0 {
			via = fmt.Sprintf("%s:%d", n.Underlay, n.Port)
		}
		note := ""
		if !n.Running {
			note = "\tstopped"
		}
		fmt.Fprintf(t, "  %s\t%s\tvia %s\tpod %s\tmtu %d%s\n", n.Name, join(n.Subnet, n.Subnet6), via, join(n.Pod, n.Pod6), n.MTU, note)
	}
	return t.Flush()
}

// join puts the addresses of one or two families side by side.
func join(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "":
		return a
	}
	return a + " " + b
}

func logsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "logs NODE", Short: "Print the log of a node, or \"lab\" for the lab's own", Args: cobra.ExactArgs(1)}
	name := nameFlag(cmd)
	cmd.RunE = doing(func(cmd *cobra.Command, args []string) error {
		s, err := newState(*name)
		if err != nil {
			return err
		}
		path := s.log()
		if args[0] != "lab" {
			path = s.dir() + "/" + args[0] + "/weft.log"
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(cmd.OutOrStdout(), f)
		return err
	})
	return cmd
}

func downCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "down", Short: "End a lab", Args: cobra.NoArgs}
	name := nameFlag(cmd)
	cmd.RunE = doing(func(*cobra.Command, []string) error {
		s, err := newState(*name)
		if err != nil {
			return err
		}
		return s.down()
	})
	return cmd
}

// nodeCommand builds start, stop and kill: failure drills.
func nodeCommand(verb string) *cobra.Command {
	short := map[string]string{
		"start": "Start weft on a node again",
		"stop":  "Stop weft on a node as a service manager would",
		"kill":  "Kill weft on a node as a crash would",
	}[verb]
	cmd := &cobra.Command{Use: verb + " NODE", Short: short, Args: cobra.ExactArgs(1)}
	name := nameFlag(cmd)
	cmd.RunE = doing(func(_ *cobra.Command, args []string) error {
		s, err := newState(*name)
		if err != nil {
			return err
		}
		_, err = s.ask(request{Op: verb, Target: args[0]})
		return err
	})
	return cmd
}

func daemonCommand() *cobra.Command {
	return &cobra.Command{
		Use: "daemon", Short: "The process that is the lab; started by up", Hidden: true, Args: cobra.NoArgs,
		RunE: doing(func(*cobra.Command, []string) error { return runDaemon() }),
	}
}
