package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"weft/engine/iface"
	"weft/engine/masq"
	"weft/engine/probe"
	"weft/engine/route"
	"weft/engine/trace"
	"weft/lease"
	"weft/tunnel"
)

// Device is the name of the TUN device of the udp and vxlan backends; scripts
// and CNI configurations know it.
const Device = "flannel0"

// A Node is one running weft.
type Node struct {
	opt   Options
	log   *slog.Logger
	allow tunnel.Feature
	check SourceCheck
	hub   trace.Hub

	started  time.Time
	prober   *probe.Prober // set by serve, before anything runs
	peersSet chan struct{} // holds a token when the peers have changed
	state
}

// New checks the options and returns a node that is ready to Run. Errors name
// the option and its value.
func New(o Options) (*Node, error) {
	n := &Node{opt: o, log: o.Log, started: time.Now(), peersSet: make(chan struct{}, 1)}
	if n.log == nil {
		n.log = slog.Default()
	}
	switch o.TunMode {
	case "", "auto", "plain":
	default:
		return nil, fmt.Errorf("tun-mode: %q is neither auto nor plain", o.TunMode)
	}
	switch o.SourceCheck {
	case "", "strict":
		n.check = Strict
	case "report":
		n.check = Report
	case "off":
		n.check = Off
	default:
		return nil, fmt.Errorf("source-check: %q is none of strict, report, off", o.SourceCheck)
	}
	var err error
	n.allow, err = tunnel.Allowed()
	n.fail("starting")
	return n, err
}

// Run leases a subnet, connects the node and carries packets until ctx ends,
// when it returns nil. The device, its routes, the rules and the lease stay,
// so that the next run finds them and running pods notice little.
func (n *Node) Run(ctx context.Context) error {
	cfg, err := n.opt.Registrar.Config(ctx)
	if err != nil {
		return ended(ctx, fmt.Errorf("network configuration: %w", err))
	}
	if cfg, err = n.families(cfg); err != nil {
		return err
	}
	under, err := n.underlay(cfg)
	if err != nil {
		return fmt.Errorf("underlay interface: %w", err)
	}
	n.log.Info("underlay chosen", "iface", under.Name, "mtu", under.MTU, "addr", under.Addr, "addr6", under.Addr6,
		"public", under.Public, "public6", under.Public6, "why", under.Why)
	was, err := n.was(ctx, under)
	if err != nil {
		return ended(ctx, fmt.Errorf("lease: %w", err))
	}
	back, err := newBackend(cfg, under, was, &n.opt, n.log)
	if err != nil {
		return err
	}
	if cfg, err = n.roomForIPv6(cfg, under, back); err != nil {
		return err
	}
	attrs, err := back.attrs(cfg)
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	own, err := n.opt.Registrar.Acquire(ctx, lease.Claim{Config: cfg, Attrs: attrs, Previous: n.previous()})
	if err != nil {
		return ended(ctx, fmt.Errorf("lease: %w", err))
	}
	n.log.Info("subnet leased", "subnet", lease.Key(own.Subnet, own.Subnet6), "expires", own.Expires)
	return ended(ctx, n.serve(ctx, cfg, under, back, own))
}

// A rememberer is a store that can tell what this node wrote into its lease
// before; found is false when it holds none.
type rememberer interface {
	Own(ctx context.Context, a lease.Attrs) (l lease.Lease, found bool, err error)
}

// was returns what the store still holds of this node from an earlier run.
func (n *Node) was(ctx context.Context, under iface.Underlay) (lease.Attrs, error) {
	r, ok := n.opt.Registrar.(rememberer)
	if !ok {
		return lease.Attrs{}, nil
	}
	l, _, err := r.Own(ctx, address(under))
	return l.Attrs, err
}

// ended turns the error of a run that was asked to stop into nil.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, tunnel.ErrClosed)) {
		return nil
	}
	return err
}

// families warns of what the configuration asks for in vain.
func (n *Node) families(cfg *lease.Config) (*lease.Config, error) {
	for _, key := range cfg.Unknown {
		n.log.Warn("net-conf.json: key not understood, ignored", "key", key)
	}
	if cfg.EnableIPv6 && !n.allow.Has(tunnel.IPv6) {
		if !cfg.EnableIPv4 {
			return nil, fmt.Errorf("net-conf.json: EnableIPv4 is off and %s switches ipv6 off: no family is left", tunnel.DisableEnv)
		}
		n.log.Warn("EnableIPv6 is ignored: IPv6 is switched off", "env", tunnel.DisableEnv)
		c := *cfg
		c.EnableIPv6 = false
		return &c, nil
	}
	return cfg, nil
}

// minIPv6 is the least MTU with which a link may carry IPv6, in bytes (RFC 8200
// section 5); the kernel takes the family off a device with less.
const minIPv6 = 1280

// roomForIPv6 switches inner IPv6 off where the underlay is too narrow for it.
func (n *Node) roomForIPv6(cfg *lease.Config, under iface.Underlay, back *backend) (*lease.Config, error) {
	if !cfg.EnableIPv6 || back.mtu6() >= minIPv6 {
		return cfg, nil
	}
	err := fmt.Errorf("EnableIPv6: interface %s (or Backend.MTU) leaves %d bytes for inner packets; IPv6 needs %d (RFC 8200)",
		under.Name, back.mtu6(), minIPv6)
	if !cfg.EnableIPv4 {
		return nil, err
	}
	n.log.Warn("inner IPv6 is switched off", "err", err)
	c := *cfg
	c.EnableIPv6 = false
	return &c, nil
}

// previous reads the subnet that this node had before from subnet.env.
func (n *Node) previous() lease.Lease {
	env, err := lease.ReadEnv(n.opt.SubnetFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.log.Warn("previous subnet not fully read", "file", n.opt.SubnetFile, "err", err)
	}
	return env.Lease()
}

// serve makes the parts of the node and runs them until ctx ends or one fails.
func (n *Node) serve(ctx context.Context, cfg *lease.Config, under iface.Underlay, back *backend, own lease.Lease) error {
	var routes []*route.Reconciler
	for range back.devices() {
		r, err := route.New(n.log)
		if err != nil {
			return fmt.Errorf("kernel routes: %w", err)
		}
		defer r.Close()
		routes = append(routes, r)
	}
	rules, err := masq.New(masq.Options{NFTables: cfg.EnableNFTables,
		NoNFT: !n.allow.Has(tunnel.NFT), NoIPTables: !n.allow.Has(tunnel.IPTables), Log: n.log, Resync: n.opt.RulesResync})
	if err != nil {
		return fmt.Errorf("traffic rules: %w", err)
	}
	used := usedOf(own, cfg)
	n.runs(&running{cfg: cfg, under: under, back: back, own: used}, nestedKind(under.Name))
	if n.nested != "" {
		n.log.Warn("the underlay is itself a tunnel: packets are wrapped twice, and its path may be narrower than its MTU says",
			"iface", under.Name, "kind", n.nested, "mtu", under.MTU)
	}
	var plane dataPlane
	if back.wg != nil {
		plane = newWGPlane(n, cfg, back, used, routes)
	} else {
		plane = newPlane(n, cfg, back, used, routes[0])
	}
	n.prober = n.newProber(plane)
	n.carries(plane)
	if err := plane.open(ctx); err != nil {
		return err
	}
	err = n.together(ctx, plane, own, routes, rules)
	sums := []any{"up", plane.Up(), "down", plane.Down(), "drops", plane.Drops()}
	if back.policies != nil {
		sums = append(sums, "policies", back.policies.since(policyCounts{}))
	}
	n.log.Info("stopped", sums...)
	return err
}

// usedOf is the part of the own lease that is in use. The store may know the node
// by a key with a family that is off here: the key is kept as it is, but that
// family's subnet is not used.
func usedOf(own lease.Lease, cfg *lease.Config) lease.Lease {
	if !cfg.EnableIPv4 {
		own.Subnet = netip.Prefix{}
	}
	if !cfg.EnableIPv6 {
		own.Subnet6 = netip.Prefix{}
	}
	return own
}

// together runs the parts of the node until ctx ends or one of them fails, and
// waits for all.
func (n *Node) together(ctx context.Context, plane dataPlane, own lease.Lease, routes []*route.Reconciler, rules *masq.Manager) error {
	cfg, under, back, used := n.running.cfg, n.running.under, n.running.back, n.running.own
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.carryOn(ctx, plane) })
	group.Go(func() error { return n.keep(ctx, own) })
	listed := make(chan struct{})
	group.Go(func() error { return n.follow(ctx, cfg, own, plane, listed) })
	for _, r := range routes {
		group.Go(func() error { return r.Run(ctx) })
	}
	group.Go(func() error { return n.masquerade(ctx, rules, cfg, own) })
	group.Go(func() error { return n.watchUnderlay(ctx, under) })
	group.Go(func() error { return plane.relearn(ctx) })
	group.Go(func() error { return n.prober.Run(ctx) })
	group.Go(func() error { return n.watchClock(ctx) })
	group.Go(func() error { return n.watchPeers(ctx, plane, n.prober) })
	group.Go(func() error { return n.account(ctx, plane, back.policies) })
	group.Go(func() error { return n.settle(ctx) })
	group.Go(func() error { return n.announce(ctx, cfg, used, back, listed) })
	return group.Wait()
}

// announce tells the container runtime, and once the peers are listed, the
// supervisor. A file that cannot be written is tried again until it can;
// packets flow meanwhile.
func (n *Node) announce(ctx context.Context, cfg *lease.Config, own lease.Lease, back *backend, listed <-chan struct{}) error {
	const again = 10 * time.Second
	env := lease.Env{Network: cfg.Network, Subnet: own.Subnet, IPv6Network: cfg.IPv6Network, IPv6Subnet: own.Subnet6,
		MTU: back.mtu, IPMasq: n.opt.IPMasq}
	for {
		err := lease.WriteEnv(n.opt.SubnetFile, env)
		if err == nil {
			break
		}
		n.log.Error("subnet.env not written; container runtimes will not find the subnet; trying again",
			"file", n.opt.SubnetFile, "err", err)
		if !sleep(ctx, again) {
			return nil
		}
	}
	select {
	case <-listed:
	case <-ctx.Done():
		return nil
	}
	n.ready()
	if n.opt.OnReady != nil {
		n.opt.OnReady()
	}
	return nil
}
