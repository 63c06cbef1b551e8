package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// configShowCommand reads the configuration from where nodes read it.
func (a *app) configShowCommand() *cobra.Command {
	o := defaultOptions()
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Read the configuration from the lease store and print what it means",
		Long: `Read the network configuration from etcd, or from the directory of --leases,
as nodes do, and print it like "weft config check". FLANNELD_* variables count
as for "weft up".`,
		Example: `  weft config show --etcd-endpoints http://10.0.0.1:2379
  weft config show --leases /shared/net`,
		Args: cobra.NoArgs,
		RunE: doing(func(cmd *cobra.Command, _ []string) error {
			return a.configShow(cmd.Context(), cmd.Flags(), o, wait)
		}),
	}
	fs := cmd.Flags()
	flagGroup{rows: storeRows(o)}.addTo(fs)
	fs.DurationVar(&wait, "wait", 5*time.Second, "give up after this `time`")
	return cmd
}

// storeRows are the flags that say where the leases are.
func storeRows(o *options) (rows []flagRow) {
	for _, r := range append(etcdFlags(o), otherStoreFlags(o)...) {
		switch r.name {
		case "leases", "etcd-endpoints", "etcd-prefix", "etcd-username", "etcd-password",
			"etcd-keyfile", "etcd-certfile", "etcd-cafile":
			rows = append(rows, r)
		}
	}
	return rows
}

func (a *app) configShow(ctx context.Context, fs *pflag.FlagSet, o *options, wait time.Duration) error {
	if err := readEnvironment(fs, o, a.environ); err != nil {
		return err
	}
	if err := o.check(fs.Changed); err != nil {
		return err
	}
	if err := o.resolve(a.environ); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	st, err := openStore(ctx, o, newLogger(a.err, o))
	if err != nil {
		return err
	}
	c, err := st.registrar.Config(ctx)
	err = errors.Join(err, st.close())
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no configuration within %v: %s", wait, o.whereConfig())
	}
	if err != nil {
		return err
	}
	return printConfig(a.out, c)
}

// whereConfig says where a configuration was looked for in vain.
func (o *options) whereConfig() string {
	if o.leases != "" {
		return filepath.Join(o.leases, "net-conf.json") + " is missing or wrong"
	}
	return fmt.Sprintf("etcd at %s did not answer, or its key %s/config is missing or wrong",
		strings.Join(o.etcdEndpoints, ", "), strings.TrimRight(o.etcdPrefix, "/"))
}
