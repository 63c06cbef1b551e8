package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// upCommand builds the daemon's command: `weft up`, or under the name of
// flanneld (or weft, when a flag comes first) the whole program.
func (a *app) upCommand(name string) *cobra.Command {
	o := defaultOptions()
	cmd := &cobra.Command{
		Use:           name + " [flags]",
		Short:         "Run the node",
		SilenceErrors: true,
		SilenceUsage:  true,
		Long: `Lease a subnet, connect this node's pods with those of all other nodes, and
carry their packets until stopped.

Each flag can also be set by an environment variable: FLANNELD_ and the flag's
name in capitals with "_" for "-". Flags take one dash or two.`,
		Example: fmt.Sprintf(`  # Leases in etcd, as flanneld
  %[1]s --etcd-endpoints http://10.0.0.1:2379 --iface eth0 --ip-masq

  # Leases in a directory that all nodes share; no etcd
  %[1]s --leases /shared/net --net-config-path net-conf.json

  # The first node of a lab brings the etcd
  %[1]s --etcd-embedded --etcd-embedded-listen http://10.0.0.1:2379 --net-config-path net-conf.json`, exampleName(name)),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("%s: unexpected argument (a flag that is true or false takes its value after \"=\")", args[0])
			}
			return nil
		},
	}
	cmd.RunE = doing(func(cmd *cobra.Command, _ []string) error { return a.up(cmd, name, o) })
	cmd.Flags().SortFlags = false
	groups := flagTable(o)
	for _, g := range groups {
		g.addTo(cmd.Flags())
	}
	cmd.SetFlagErrorFunc(flagError)
	cmd.SetUsageFunc(func(cmd *cobra.Command) error { return groupedUsage(cmd, groups) })
	return cmd
}

func exampleName(name string) string {
	if name == "up" {
		return "weft up"
	}
	return name
}

// groupedUsage prints the flags under their headings.
func groupedUsage(cmd *cobra.Command, groups []flagGroup) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:\n  %s\n\nExamples:\n%s\n", cmd.UseLine(), cmd.Example)
	for _, g := range groups {
		fs := pflag.NewFlagSet(g.title, pflag.ContinueOnError)
		fs.SortFlags = false
		g.addTo(fs)
		fmt.Fprintf(&b, "\n%s:\n%s", g.title, fs.FlagUsages())
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), b.String())
	return err
}

// up reads what is left to read, then runs the node until it ends.
func (a *app) up(cmd *cobra.Command, name string, o *options) error {
	if o.version {
		return a.printVersion(name)
	}
	fs := cmd.Flags()
	if err := readEnvironment(fs, o, a.environ); err != nil {
		return err
	}
	if err := o.check(fs.Changed); err != nil {
		return err
	}
	log := newLogger(a.err, o)
	ctx, release := watchSignals(cmd.Context(), log)
	defer release()
	if err := o.resolve(a.environ); err != nil {
		return fmt.Errorf("name of this node: %w", err)
	}
	log.Info("weft starts", "version", readVersion().Version)
	logOptions(log, o)
	d := &supervisor{opt: o, log: log, newNode: a.newNode, openStore: openStore, notify: notifySystemd}
	return d.run(ctx)
}

// printVersion prints what flanneld prints when called by its name: the bare
// version, on stderr.
func (a *app) printVersion(name string) error {
	if name == "up" {
		_, err := fmt.Fprintln(a.out, versionText())
		return err
	}
	_, err := fmt.Fprintln(a.err, readVersion().Version)
	return err
}
