package engine

import (
	"context"
	"errors"
	"time"

	"weft/engine/iface"
	"weft/engine/masq"
	"weft/lease"
)

// keep holds the own lease. A subnet that another node has taken is not
// exchanged for another one under running pods: weft says so, loudly and
// again, carries on, and takes the subnet back when it is free.
func (n *Node) keep(ctx context.Context, own lease.Lease) error {
	const again = 10 * time.Second
	const cause = "another node holds this node's subnet"
	for {
		held := time.AfterFunc(again, func() { n.mend(cause) })
		err := n.opt.Registrar.Keep(ctx, own)
		held.Stop()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, lease.ErrTaken) {
			n.fail(cause)
			n.log.Error("another node holds this node's subnet: peers send its packets there; restart weft to lease another subnet, and then the pods",
				"subnet", lease.Key(own.Subnet, own.Subnet6), "err", err)
		} else {
			n.log.Error("lease not kept; trying again", "subnet", lease.Key(own.Subnet, own.Subnet6), "err", err)
		}
		if !sleep(ctx, again) {
			return nil
		}
	}
}

// sleep waits for d and reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// follow makes a table of every change in the set of leases. It closes listed
// when the first one is in force.
func (n *Node) follow(ctx context.Context, cfg *lease.Config, own lease.Lease, p dataPlane, listed chan<- struct{}) error {
	var set lease.Set
	known := newKnown(n.log)
	var changedAt time.Time
	for update, err := range n.opt.Source.Watch(ctx) {
		if err != nil {
			n.log.Warn("lease store", "err", err)
			continue
		}
		changed := set.Apply(update)
		if !changed && !(update.Full && listed != nil) {
			n.renewed(&set)
			continue
		}
		changedAt = time.Now()
		usable, refused := lease.Usable(cfg, own, &set)
		refused = append(refused, p.setPeers(ctx, usable, refused)...)
		known.usable(p.reached(usable))
		known.refused(refused)
		n.listed(leaseState{count: set.Len(), changed: changedAt, refused: refused, expires: expiries(&set)})
		if update.Full && listed != nil {
			close(listed)
			listed = nil
		}
	}
	return nil
}

// renewed takes in a change of the set that changes nobody's way.
func (n *Node) renewed(set *lease.Set) {
	n.mu.Lock()
	l := n.set
	n.mu.Unlock()
	l.count, l.expires = set.Len(), expiries(set)
	n.listed(l)
}

// expiries returns when each lease ends, by key.
func expiries(set *lease.Set) map[string]time.Time {
	m := make(map[string]time.Time, set.Len())
	for l := range set.All() {
		m[l.Key()] = l.Expires
	}
	return m
}

// masquerade writes the traffic rules and keeps them. Rules that cannot be
// written never stop the node.
func (n *Node) masquerade(ctx context.Context, m *masq.Manager, cfg *lease.Config, own lease.Lease) error {
	rules := masq.Rules{Masq: n.opt.IPMasq, RandomFully: n.opt.RandomFully, Forward: n.opt.ForwardRules}
	if !rules.Masq && !rules.Forward {
		return nil
	}
	if cfg.EnableIPv4 {
		rules.Network, rules.Subnet = cfg.Network, own.Subnet
	}
	if cfg.EnableIPv6 {
		rules.Network6, rules.Subnet6 = cfg.IPv6Network, own.Subnet6
	}
	if err := m.Apply(ctx, rules); err != nil && ctx.Err() == nil {
		n.log.Error("traffic rules not written; trying again", "err", err)
	}
	if err := m.Run(ctx); err != nil {
		n.log.Error("traffic rules are no longer kept", "err", err)
	}
	return nil
}

// account logs, once a minute and only if there is something to say, how many
// packets were lost since the last time, and why.
func (n *Node) account(ctx context.Context, p dataPlane, seen *policies) error {
	const every = time.Minute
	before, policies := map[string]uint64{}, policyCounts{}
	for sleep(ctx, every) {
		p.sample()
		now := p.Drops()
		lost := map[string]uint64{}
		for reason, total := range now {
			if d := total - before[reason]; d > 0 {
				lost[reason] = d
			}
		}
		if len(lost) > 0 {
			n.log.Info("packets lost in the last minute", "drops", lost)
		}
		before = now
		if seen == nil {
			continue
		}
		if news := seen.since(policies); len(news) > 0 {
			n.log.Info("frames by group policy in the last minute", "policies", news)
		}
	}
	return nil
}

// watchUnderlay tells when the chosen interface is no longer what it was.
func (n *Node) watchUnderlay(ctx context.Context, under iface.Underlay) error {
	const cause = "the underlay interface has changed"
	states, err := iface.Watch(ctx, under)
	if err != nil {
		n.log.Warn("underlay interface is not watched", "iface", under.Name, "err", err)
		return nil
	}
	held, asked := true, ""
	for s := range states {
		if s.Err == nil {
			asked = ""
		} else if s.Err.Error() != asked {
			asked = s.Err.Error()
			n.log.Warn("underlay interface could not be asked", "iface", under.Name, "err", s.Err)
		}
		holds := s.Holds(under) && s.Up
		if holds == held {
			continue
		}
		held = holds
		if holds {
			n.mend(cause)
			n.log.Info("underlay interface is back as it was", "iface", under.Name)
			continue
		}
		n.fail(cause)
		n.log.Error("underlay interface has changed; restart weft if it stays so", "iface", under.Name,
			"present", s.Present, "up", s.Up, "mtu", s.MTU, "addr", s.Addr, "addr6", s.Addr6)
	}
	if ctx.Err() == nil {
		n.log.Error("underlay interface is no longer watched", "iface", under.Name)
	}
	return nil
}
