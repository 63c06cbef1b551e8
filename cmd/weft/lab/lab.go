package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"weft/cmd/weft/lab/probe"
	"weft/cmd/weft/lab/space"
	"weft/lease"
)

// A Lab is a set of nodes and the switch between them.
type Lab struct {
	Switch *Place // the namespace of the underlay bridge; reaches every node's eth0
	Nodes  []*Node

	opt    Options
	cfg    *lease.Config
	places []*Place

	mu   sync.Mutex
	etcd *process // with StoreEtcd
}

// stopTime is how long Close waits for nodes to stop by themselves.
const stopTime = 2 * time.Second

// New makes the namespaces of a lab and the wires between them. Nothing runs
// in them yet; see Up, or start nodes one by one after StartEtcd. The caller
// needs CAP_SYS_ADMIN and CAP_NET_ADMIN in its user namespace.
func New(o Options) (*Lab, error) {
	o, cfg, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Lab{opt: o, cfg: cfg}
	if err := l.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("build lab: %w", err), l.Close())
	}
	return l, nil
}

func (l *Lab) build() (err error) {
	if err := os.WriteFile(l.netConfFile(), l.opt.NetConf, 0o644); err != nil {
		return err
	}
	if l.opt.Store == StoreDir {
		if err := os.MkdirAll(l.opt.LeaseDir, 0o755); err != nil {
			return err
		}
	}
	if l.Switch, err = l.place("switch"); err != nil {
		return err
	}
	if err := l.Switch.Bridge("underlay", net.HardwareAddr{0x02, 0x99, 0, 0, 0, MaxNodes + 1}); err != nil {
		return err
	}
	at := []netip.Prefix{netip.PrefixFrom(host(underlay4, MaxNodes+1), underlay4.Bits())}
	if l.cfg.EnableIPv6 {
		if err := l.Switch.NoDAD(); err != nil {
			return err
		}
		at = append(at, netip.PrefixFrom(host(underlay6, MaxNodes+1), underlay6.Bits()))
	}
	if err := l.Switch.Addresses("underlay", at...); err != nil {
		return err
	}
	for i := range l.opt.Nodes {
		n, err := l.newNode(i + 1)
		if err != nil {
			return err
		}
		l.Nodes = append(l.Nodes, n)
	}
	return nil
}

func (l *Lab) place(name string) (*Place, error) {
	s, err := space.New(name)
	if err != nil {
		return nil, err
	}
	p := &Place{Space: s, lab: l}
	l.places = append(l.places, p)
	return p, nil
}

// Node returns the node of that name.
func (l *Lab) Node(name string) (*Node, error) {
	for _, n := range l.Nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no node %q; there are n1 to n%d", name, len(l.Nodes))
}

// Place returns the place that a name stands for: "n1" is the pod on node n1,
// "n1/host" the node itself, "switch" the wire between them.
func (l *Lab) Place(name string) (*Place, error) {
	for _, p := range l.places {
		if p.Name() == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no place %q; there are n1 to n%d (pods), n1/host to n%[2]d/host, and switch", name, len(l.Nodes))
}

// Up starts the lease store and all nodes and waits until each pod reaches
// every other.
func (l *Lab) Up(ctx context.Context) error {
	if l.opt.Store == StoreEtcd {
		if err := l.StartEtcd(ctx); err != nil {
			return err
		}
	}
	if err := l.startAll(ctx); err != nil {
		return err
	}
	return l.Reach(ctx)
}

// startAll starts all nodes at once; but if one of them has the etcd, that one
// goes first, for the others would try again only after a second. The first
// node that fails ends the wait for the others, whose own errors would only
// hide its.
func (l *Lab) startAll(ctx context.Context) error {
	if l.opt.Store == StoreNode {
		if err := l.Nodes[0].Start(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var first error
	var once sync.Once
	_ = l.each(func(n *Node) error {
		if n.Running() {
			return nil
		}
		err := n.Start(ctx)
		if err != nil {
			once.Do(func() { first = err; cancel(err) })
		}
		return err
	})
	return first
}

// Reach waits until every pod has had an answer to ICMP echo from every other
// one, in each address family of the overlay.
func (l *Lab) Reach(ctx context.Context) error {
	return l.each(func(n *Node) error {
		var v4, v6 []netip.Addr
		for _, peer := range l.Nodes {
			if a := peer.PodAddr(); peer != n && a.IsValid() {
				v4 = append(v4, a)
			}
			if a := peer.PodAddr6(); peer != n && a.IsValid() {
				v6 = append(v6, a)
			}
		}
		return errors.Join(n.reach(ctx, v4, false), n.reach(ctx, v6, true))
	})
}

func (n *Node) reach(ctx context.Context, peers []netip.Addr, v6 bool) error {
	if len(peers) == 0 {
		return nil
	}
	var p *probe.Pinger
	if err := n.Pod.Do(func() (err error) { p, err = probe.NewPinger(v6); return }); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	defer p.Close()
	if err := p.Await(ctx, peers...); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	return nil
}

// each calls f for all nodes at once and joins their errors.
func (l *Lab) each(f func(*Node) error) error {
	errs := make([]error, len(l.Nodes))
	var wg sync.WaitGroup
	for i, n := range l.Nodes {
		wg.Go(func() { errs[i] = f(n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Environ is what a command in the lab finds in its environment: WEFT_N1 and
// WEFT_N1_6 are the pod's addresses on n1, WEFT_N1_HOST the node's.
func (l *Lab) Environ() []string {
	env := []string{"WEFT_LAB=" + l.opt.Name}
	for _, n := range l.Nodes {
		name := "WEFT_" + strings.ToUpper(n.Name)
		env = append(env, name+"_HOST="+n.Underlay.String())
		if a := n.PodAddr(); a.IsValid() {
			env = append(env, name+"="+a.String())
		}
		if a := n.PodAddr6(); a.IsValid() {
			env = append(env, name+"_6="+a.String())
		}
	}
	return env
}

// Close stops everything that runs in the lab and removes its namespaces. An
// error says which node did not stop by itself or with status 0.
func (l *Lab) Close() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), stopTime,
		fmt.Errorf("not stopped within %s", stopTime))
	defer cancel()
	err := l.each(func(n *Node) error { return n.Stop(ctx) })
	err = errors.Join(err, l.StopEtcd(ctx))
	for _, p := range l.places {
		p.Close()
	}
	return err
}

func (l *Lab) netConfFile() string { return filepath.Join(l.opt.Dir, "net-conf.json") }
