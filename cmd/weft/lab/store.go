package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

const etcdPort = 2379

// etcdURL is where the lab's etcd serves, whoever runs it.
func (l *Lab) etcdURL() string {
	at := host(underlay4, 1)
	if l.opt.Store == StoreEtcd {
		at = host(underlay4, MaxNodes+1)
	}
	return fmt.Sprintf("http://%s:%d", at, etcdPort)
}

// storeArgs are the flags that tell a node's weft where the leases are.
func (l *Lab) storeArgs(n *Node) []string {
	switch {
	case l.opt.Store == StoreDir:
		return []string{"--leases=" + l.opt.LeaseDir, "--net-config-path=" + l.netConfFile()}
	case l.opt.Store == StoreNode && n.Index == 1:
		return []string{
			"--etcd-embedded", "--etcd-embedded-listen=" + l.etcdURL(),
			"--etcd-embedded-dir=" + filepath.Join(n.dir, "etcd"), "--net-config-path=" + l.netConfFile(),
		}
	}
	return []string{"--etcd-endpoints=" + l.etcdURL()}
}

// describeStore says where the leases are, for people.
func (l *Lab) describeStore() string {
	switch l.opt.Store {
	case StoreDir:
		return "leases in " + l.opt.LeaseDir
	case StoreEtcd:
		return "leases in etcd on the switch, " + l.etcdURL()
	}
	return "leases in etcd on n1, " + l.etcdURL()
}

// StartEtcd starts the etcd of a lab with StoreEtcd and returns when it
// serves. It keeps its data over a StopEtcd.
func (l *Lab) StartEtcd(ctx context.Context) error {
	if l.opt.Store != StoreEtcd {
		return fmt.Errorf("the lab has no etcd of its own: its store is %q", l.opt.Store)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.etcd != nil && l.etcd.running() {
		return errors.New("etcd runs already")
	}
	argv := []string{
		l.opt.Weft, "lab", "etcd", "--listen=" + l.etcdURL(),
		"--dir=" + filepath.Join(l.opt.Dir, "etcd"), "--net-config-path=" + l.netConfFile(),
	}
	p, err := launch(l.Switch, "etcd", l.opt.Dir, argv, nil)
	if err != nil {
		return err
	}
	l.etcd = p
	if err := p.awaitReady(ctx); err != nil {
		return errors.Join(err, p.kill())
	}
	return nil
}

// StopEtcd stops the etcd of a lab with StoreEtcd, if it runs.
func (l *Lab) StopEtcd(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.etcd == nil || !l.etcd.running() {
		return nil
	}
	return l.etcd.stop(ctx)
}
