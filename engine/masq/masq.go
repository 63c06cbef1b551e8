// Package masq keeps the traffic rules of a node true: pods that talk to the
// world outside the overlay are masqueraded, pods that talk to pods are not,
// and forwarding from and to the overlay is accepted.
//
// # Theory of operation
//
// The wanted rules are a value, computed from the node's networks by pure
// functions (rules.go). A place is somewhere in the kernel where they can be
// written. A place compares what it holds with what is wanted and, only when
// something differs, replaces it in one transaction; at no moment is a packet
// judged by half of the rules.
//
//	Rules ──► wanted() ──► [2]family ──► place.apply ──► kernel
//	                           ▲                           │
//	                           └── Run: events, resync ◄───┘
//
// There are two places, and the names in both are flannel's, because people
// script against them:
//
//	nftables  tables ip flannel-ipv4 and ip6 flannel-ipv6,
//	          chains postrtg (nat) and forward (filter), over netlink
//	iptables  chains nat/FLANNEL-POSTRTG and filter/FLANNEL-FWD, each with a
//	          jump from POSTROUTING and FORWARD, by iptables-restore --noflush
//
// # Which place is used
//
// With EnableNFTables in the network configuration nftables is used, without
// it iptables, as flanneld does. Where the one asked for does not work the
// other takes its place; where neither works nothing is written, a warning
// says so, and the node runs without rules. No binary is needed for nftables.
//
// The order matters for more than habit. An accept in an nftables chain is
// final for that chain only: it cannot overrule a FORWARD chain of iptables
// whose policy is DROP (Docker sets it). So on a host that has iptables, the
// accepts belong there unless the configuration says otherwise.
//
// Either can be switched off (Options.NoNFT, NoIPTables), as an operator may
// wish for where one of them works in name only. What is switched off is
// neither written nor cleaned.
//
// # Decisions
//
// The rules are those of flannel's iptables mode in both places; flannel's
// nftables mode compares the mark for equality and has the operands of rule 4
// exchanged, so that its last rule never matches.
//
// The jumps are appended to POSTROUTING and FORWARD. In FORWARD this is the
// polite place: what a network policy or an administrator drops stays dropped,
// and the accepts only overrule the chain's policy. In POSTROUTING the order
// is of no consequence, because rule 1 leaves to kube-proxy what it marked. A
// jump that stands elsewhere is left where it is.
//
// What another place holds is removed once, when the first rules of our own
// are in: the other mode's tables, or chains with the jumps to them. Rules for a
// previous network vanish because chains are replaced as a whole. In iptables
// mode this goes for everything in POSTROUTING and FORWARD that bears one of
// flannel's comments, since early versions wrote their rules directly there.
//
// All rules judge routed packets. Whether bridged packets pass iptables
// (br_netfilter) makes no difference to them, so this is not checked.
//
// Everything happens in the network namespace of the process.
package masq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options says how rules are written.
type Options struct {
	NFTables   bool          // EnableNFTables: use flannel's nftables tables, not the iptables chains
	NoNFT      bool          // nftables is switched off: nothing in it is touched
	NoIPTables bool          // iptables is switched off: its chains are not touched, its programs not run
	Log        *slog.Logger  // nil: slog.Default
	Resync     time.Duration // how often Run checks the rules; 0: 5 s; negative: an error
}

// A place is somewhere in the kernel where rules can be written.
type place interface {
	name() string
	// apply makes the place hold exactly want, and reports whether it had
	// to write. A family without rules leaves nothing of ours behind.
	apply(ctx context.Context, want [2]family) (changed bool, err error)
}

// A watcher is a place that tells when somebody touches it.
type watcher interface {
	// watch returns a channel that yields after a change to our rules.
	// Changes that nobody has taken note of yet count as one. The channel
	// is closed when ctx ends or when nothing more can be heard.
	watch(ctx context.Context) (<-chan struct{}, error)
}

// A Manager writes the rules and keeps them. Its methods may be called from
// several goroutines.
type Manager struct {
	log    *slog.Logger
	resync time.Duration

	mu      sync.Mutex
	use     place   // nil: rules cannot be written
	others  []place // to be cleared once our own rules are in
	want    [2]family
	applied bool   // want is set
	inPlace bool   // the last write of want succeeded
	lastErr string // the last trouble of check, to report each only once

	repairs atomic.Uint64
}

// New finds out where rules can be written. That none can is a warning in the
// log and not an error; the only error is a negative Resync.
func New(o Options) (*Manager, error) {
	if o.Resync < 0 {
		return nil, fmt.Errorf("masq: resync period %v is negative", o.Resync)
	}
	m := &Manager{log: o.Log, resync: o.Resync}
	if m.log == nil {
		m.log = slog.Default()
	}
	if m.resync == 0 {
		m.resync = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	m.choose(ctx, o)
	return m, nil
}

// errOff is why a place that is switched off is not used.
var errOff = errors.New("switched off")

// choose opens the first place that works, in the order of preference.
func (m *Manager) choose(ctx context.Context, o Options) {
	type candidate struct {
		name string
		off  bool
		open func(context.Context) (place, error)
	}
	order := []candidate{{"iptables", o.NoIPTables, openXtables}, {"nftables", o.NoNFT, openNFT}}
	if o.NFTables {
		slices.Reverse(order)
	}
	var failed error
	for _, c := range order {
		var p place
		err := errOff
		if !c.off {
			p, err = c.open(ctx)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", c.name, err))
			continue
		}
		m.use, m.others = p, leftovers(ctx, p, o)
		if failed != nil {
			m.log.Warn("traffic rules are not written where asked for", "asked", order[0].name, "used", c.name, "err", failed)
		}
		return
	}
	m.log.Warn("traffic rules cannot be written: pods that reach outside the overlay are not masqueraded", "err", failed)
}

// Mode names the place in use: "nftables", "iptables" or "none".
func (m *Manager) Mode() string {
	if m.use == nil {
		return "none"
	}
	return m.use.name()
}

// Apply makes the rules r true, all others of ours gone, and has Run keep
// them. An error names what could not be written; Run will try again. In mode
// "none" it does nothing.
func (m *Manager) Apply(ctx context.Context, r Rules) error {
	want, err := wanted(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.use == nil {
		return nil
	}
	m.want, m.applied = want, true
	changed, err := m.use.apply(ctx, want)
	m.inPlace = err == nil
	if err != nil {
		return fmt.Errorf("masq: %s: %w", m.use.name(), err)
	}
	if changed {
		m.log.Info("traffic rules written", "mode", m.use.name())
	}
	m.clearOthers(ctx)
	return nil
}

// clearOthers removes, once, what other modes left. It is called when our own
// rules are in.
func (m *Manager) clearOthers(ctx context.Context) {
	for _, p := range m.others {
		switch changed, err := p.apply(ctx, [2]family{{}, {six: true}}); {
		case err != nil:
			m.log.Warn("rules left by another mode could not be removed", "mode", p.name(), "err", err)
		case changed:
			m.log.Info("rules left by another mode removed", "mode", p.name())
		}
	}
	m.others = nil
}

// Remove takes all rules of ours out of the place in use, and Run will not put
// them back. A node leaves its rules when it stops, so that running pods keep
// their connections; labs and tests clean up.
func (m *Manager) Remove(ctx context.Context) error {
	return m.Apply(ctx, Rules{})
}
