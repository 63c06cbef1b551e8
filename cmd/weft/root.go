package main

import (
	"github.com/spf13/cobra"

	"weft/cmd/weft/doctor"
	"weft/cmd/weft/explain"
	"weft/cmd/weft/lab"
	"weft/cmd/weft/ping"
	"weft/cmd/weft/status"
	"weft/cmd/weft/trace"
)

// rootCommand builds weft with all its subcommands.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "weft",
		Short: "flannel with its data plane in userspace",
		Long: `weft leases a subnet for this node, connects its pods with those of all other
nodes, and moves the packets itself: no kernel module but tun is needed.

Called as "flanneld", or with a flag first, weft takes flanneld's flags and
FLANNELD_* environment and does what flanneld does.`,
		Example: `  weft up --etcd-endpoints http://10.0.0.1:2379 --iface eth0
  weft --iface eth0 --ip-masq            (as flanneld)
  weft status
  weft config check net-conf.json`,
		Version:       versionText(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          subcommandNeeded,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.Flags().Bool("version", false, "print the version") // cobra's own would take -v
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		a.upCommand("up"),
		status.Command(),
		trace.Command(),
		trace.DropsCommand(),
		explain.Command(),
		ping.Command(),
		doctor.Command(),
		lab.Command(),
		a.configCommand(),
		a.dockerOptsCommand(),
		a.versionCommand(),
	)
	return root
}

// subcommandNeeded refuses an argument where only a subcommand can stand, and
// names the one that may have been meant.
func subcommandNeeded(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	if like := nearest(names, args[0]); like != "" {
		return usagef("%s: unknown command, perhaps %q", args[0], like)
	}
	return usagef("%s: unknown command", args[0])
}
