package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
	"weft/lease/etcd"
	"weft/lease/etcd/embedded"
	"weft/lease/file"
)

// A store is where this node's lease is held and those of the others are
// learnt.
type store struct {
	registrar lease.Registrar
	source    lease.Source
	close     func() error
}

// openStore opens the store that o names. A store that cannot be reached yet
// is no error; one that cannot ever work is.
func openStore(ctx context.Context, o *options, log *slog.Logger) (*store, error) {
	switch {
	case o.leases != "":
		return openFiles(o, log)
	case o.etcdEmbedded:
		return openEmbedded(ctx, o, log)
	}
	return openEtcd(o, o.etcdEndpoints, log)
}

func openEtcd(o *options, endpoints []string, log *slog.Logger) (*store, error) {
	s, err := etcd.New(etcd.Options{
		Endpoints: endpoints, Prefix: o.etcdPrefix,
		CAFile: o.etcdCAFile, CertFile: o.etcdCertFile, KeyFile: o.etcdKeyFile,
		Username: o.etcdUsername, Password: o.etcdPassword,
		RenewMargin: time.Duration(o.renewMargin) * time.Minute,
		Log:         log,
	})
	if err != nil {
		return nil, err
	}
	return &store{registrar: s, source: s, close: s.Close}, nil
}

func openFiles(o *options, log *slog.Logger) (*store, error) {
	s, err := file.New(file.Options{Dir: o.leases, NodeName: o.nodeName, Log: log})
	if err != nil {
		return nil, err
	}
	conf, err := seedConfig(o)
	if err == nil && conf != nil {
		err = seedFolder(o, conf, log)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &store{registrar: s, source: s, close: s.Close}, nil
}

func openEmbedded(ctx context.Context, o *options, log *slog.Logger) (*store, error) {
	conf, err := seedConfig(o)
	if err != nil {
		return nil, err
	}
	server, err := embedded.Start(ctx, embedded.Options{
		Dir: o.etcdEmbeddedDir, Listen: []string{o.etcdEmbeddedListen}, Log: log,
	})
	if err != nil {
		return nil, err
	}
	log.Info("etcd runs inside this node", "endpoints", server.Endpoints(), "dir", o.etcdEmbeddedDir)
	if conf != nil {
		err = seedEtcd(ctx, o, server.Endpoints(), conf, log)
	}
	var s *store
	if err == nil {
		s, err = openEtcd(o, server.Endpoints(), log)
	}
	if err != nil {
		server.Close()
		return nil, err
	}
	closing := make(chan struct{})
	go reportEnd(server, closing, log)
	closeClient := s.close
	s.close = func() error {
		close(closing)
		err := closeClient()
		server.Close()
		return err
	}
	return s, nil
}

// reportEnd logs when the server ends before closing does. Leases known so far
// stay in force, as with any etcd that goes away, so the node goes on.
func reportEnd(server *embedded.Server, closing <-chan struct{}, log *slog.Logger) {
	select {
	case <-server.Done():
		log.Error("the etcd inside this node has stopped; leases are neither renewed nor learnt until weft is restarted")
	case <-closing:
	}
}

// seedConfig reads the configuration for an empty store. Only a file that was
// asked for must exist; the default may be missing, and then the result is nil.
func seedConfig(o *options) ([]byte, error) {
	data, err := os.ReadFile(o.netConfigPath)
	if errors.Is(err, fs.ErrNotExist) && o.netConfigPath == defaultOptions().netConfigPath {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.source("net-config-path"), err)
	}
	if _, err := lease.ParseConfig(data); err != nil {
		return nil, fmt.Errorf("%s=%s: %w", o.source("net-config-path"), o.netConfigPath, err)
	}
	return data, nil
}

// seedEtcd stores conf under flannel's key unless there is a configuration.
func seedEtcd(ctx context.Context, o *options, endpoints []string, conf []byte, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	key := path.Join(o.etcdPrefix, "config")
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Context: ctx})
	if err != nil {
		return fmt.Errorf("storing %s: %w", key, err)
	}
	r, err := c.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, string(conf))).
		Commit()
	if err = errors.Join(err, c.Close()); err != nil {
		return fmt.Errorf("storing %s: %w", key, err)
	}
	logSeed(log, o, key, r.Succeeded)
	return nil
}

// seedFolder gives the folder conf unless it has a configuration. A hard link
// never replaces a file, so of several nodes that do this at once one wins.
func seedFolder(o *options, conf []byte, log *slog.Logger) error {
	name := filepath.Join(o.leases, "net-conf.json")
	draft := filepath.Join(o.leases, fmt.Sprintf(".net-conf.json.%s.%d", filepath.Base(o.nodeName), os.Getpid()))
	err := os.MkdirAll(o.leases, 0o755)
	if err == nil {
		err = lease.WriteFile(draft, conf, 0o644)
	}
	if err != nil {
		return fmt.Errorf("storing %s: %w", name, err)
	}
	err = os.Link(draft, name)
	taken := errors.Is(err, fs.ErrExist)
	if taken {
		err = nil
	}
	if err = errors.Join(err, os.Remove(draft)); err != nil {
		return fmt.Errorf("storing %s: %w", name, err)
	}
	logSeed(log, o, name, !taken)
	return nil
}

func logSeed(log *slog.Logger, o *options, where string, stored bool) {
	if stored {
		log.Info("network configuration stored", "from", o.netConfigPath, "at", where)
		return
	}
	log.Debug("the store has a network configuration already", "at", where)
}
