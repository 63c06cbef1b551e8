package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"weft/lease/etcd/embedded"
)

// configKey is where flannel keeps the network configuration.
const configKey = "/coreos.com/network/config"

// etcdCommand runs the etcd of a lab with StoreEtcd until it is told to stop.
func etcdCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "etcd", Short: "Run an etcd for a lab", Hidden: true, Args: cobra.NoArgs}
	listen := cmd.Flags().String("listen", "http://127.0.0.1:2379", "client `URL`")
	dir := cmd.Flags().String("dir", "", "data `directory`")
	conf := cmd.Flags().String("net-config-path", "", "net-conf.json `file` to store, unless there is one already")
	cmd.RunE = doing(func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
		defer cancel()
		return serveEtcd(ctx, *listen, *dir, *conf)
	})
	return cmd
}

func serveEtcd(ctx context.Context, listen, dir, conf string) error {
	s, err := embedded.Start(ctx, embedded.Options{Dir: dir, Listen: []string{listen}, Volatile: true})
	if err != nil {
		return err
	}
	defer s.Close()
	if conf != "" {
		if err := storeConfig(ctx, s.Endpoints(), conf); err != nil {
			return fmt.Errorf("store %s in etcd: %w", conf, err)
		}
	}
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.Done():
		return errors.New("etcd stopped by itself")
	}
}

// storeConfig puts the file at its key, unless the key exists.
func storeConfig(ctx context.Context, endpoints []string, file string) error {
	conf, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Context: ctx})
	if err != nil {
		return err
	}
	_, err = c.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(configKey), "=", 0)).
		Then(clientv3.OpPut(configKey, string(conf))).
		Commit()
	return errors.Join(err, c.Close())
}
