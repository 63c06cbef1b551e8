package engine

import (
	"cmp"
	"context"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/engine/control"
	"weft/engine/iface"
	"weft/engine/trace"
	"weft/lease"
	"weft/tunnel"
)

// running is what a node knows once it has a lease. It does not change.
type running struct {
	cfg   *lease.Config
	under iface.Underlay
	back  *backend
	own   lease.Lease
}

// leaseState is what is known of the set of leases.
type leaseState struct {
	count   int
	changed time.Time
	refused []lease.Refusal
	expires map[string]time.Time // by key
}

// A clock is a store that tells how far its clock is ahead of ours.
type clock interface {
	Clock(context.Context) (ahead time.Duration, err error)
}

// watchClock asks for the store's clock now and then.
func (n *Node) watchClock(ctx context.Context) error {
	const every, soon = time.Minute, 5 * time.Second
	c, ok := n.opt.Source.(clock)
	if !ok {
		return nil
	}
	for {
		ahead, err := c.Clock(ctx)
		if err != nil {
			n.log.Debug("the store's clock is not known", "err", err)
		}
		n.mu.Lock()
		n.ahead = seconds(ahead, err == nil)
		n.mu.Unlock()
		wait := every
		if err != nil {
			wait = soon // a shared folder tells after the first heartbeat
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// dataPlane returns the data plane, or nil before there is one.
func (s *state) dataPlane() dataPlane {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plane
}

// Status tells everything about the node.
func (n *Node) Status(context.Context) control.Status {
	now := time.Now()
	n.mu.Lock()
	plane, run, set := n.plane, n.running, n.set
	causes, nested, ahead := slices.Clone(n.causes), n.nested, n.ahead
	n.mu.Unlock()
	slices.Reverse(causes) // the latest is what Ready tells
	s := control.Status{Schema: control.Schema, Time: now.UTC(), Health: control.OK, Causes: causes,
		Node: n.about(run, nested), Engine: n.engine(plane), Store: n.store(run, set)}
	s.Store.ClockSkew = ahead
	s.Drops, s.Peers = []control.Drops{}, []control.Peer{}
	if plane != nil {
		plane.sample()
		s.Drops = n.drops(plane)
		s.Peers = n.peers(plane, set, now)
	}
	for _, r := range set.refused {
		l := r.Lease
		s.Refused = append(s.Refused, control.Refused{Subnet: l.Subnet, Subnet6: l.Subnet6, Public: shown(l.Attrs.PublicIP),
			Public6: shown(l.Attrs.PublicIPv6), Backend: kindOf(l), Reason: r.Err.Error()})
	}
	judge(&s, now)
	return s
}

// judge gives the node its health. The causes it has are those for not being
// ready, which is as down as a node can say it is.
func judge(s *control.Status, now time.Time) {
	if !s.Engine.Open || len(s.Causes) > 0 {
		s.Health = control.Down
	}
	if !s.Engine.Open && len(s.Causes) == 0 {
		s.Causes = append(s.Causes, "the data plane is not open")
	}
	degraded := func(cause string) {
		s.Causes = append(s.Causes, cause)
		if s.Health == control.OK {
			s.Health = control.Degraded
		}
	}
	count := map[control.PeerState]int{}
	for _, p := range s.Peers {
		count[p.State]++
	}
	if n := len(s.Peers); n > 1 && count[control.PeerDown] == n {
		degraded("no peer answers: it may well be this node")
	}
	for _, state := range [...]control.PeerState{control.PeerDown, control.PeerUnusable, control.PeerSilent} {
		if n := count[state]; n > 0 {
			degraded(plural(n, "peer") + " " + string(state))
		}
	}
	if n := len(s.Refused); n > 0 {
		degraded(plural(n, "lease") + " refused")
	}
	if !s.Store.Connected && s.Store.Error != "" {
		degraded("lease store out of reach: " + s.Store.Error)
	}
	if s.Store.Rival != "" {
		degraded(s.Store.Rival)
	}
	if e := s.Store.Expires; !e.IsZero() && e.Before(now) {
		degraded("the lease of this node has expired")
	}
}

// about tells what the node is.
func (n *Node) about(run *running, nested string) control.NodeInfo {
	i := control.NodeInfo{Name: n.opt.Name, Version: n.opt.Version, Platform: runtime.GOOS + "/" + runtime.GOARCH,
		PID: os.Getpid(), Started: n.started.UTC(), SubnetFile: n.opt.SubnetFile, Devices: []string{}}
	if run == nil {
		return i
	}
	i.Subnet, i.Subnet6, i.Network, i.Network6 = run.own.Subnet, run.own.Subnet6, run.cfg.Network, run.cfg.IPv6Network
	i.Public, i.Public6 = run.under.Public, run.under.Public6
	i.Backend, i.Devices, i.MTU = run.cfg.BackendType, run.back.devices(), run.back.mtu
	i.Iface, i.IfaceMTU, i.IfaceWhy, i.Nested = run.under.Name, run.under.MTU, run.under.Why, nested
	if run.back.wg != nil {
		i.PublicKey = run.back.wg.key.Public().String()
	}
	return i
}

// engine tells how the data plane does.
func (n *Node) engine(p dataPlane) control.Engine {
	e := control.Engine{SourceCheck: n.check.String(), Processors: runtime.NumCPU(), Memory: resident(), CPU: processorTime(),
		Traces: len(n.hub.Active()), TraceLost: n.hub.Lost(), Features: []string{}, Off: []string{}, Ports: []control.Port{}}
	if p == nil {
		return e
	}
	p.describe(&e)
	for _, name := range featureNames(^tunnel.Feature(0)) {
		if !slices.Contains(e.Features, name) && name != "nft" && name != "iptables" && name != "ipv6" {
			e.Off = append(e.Off, name)
		}
	}
	e.Out, e.In = traffic(p.Up()), traffic(p.Down())
	return e
}

func traffic(t Traffic) control.Traffic {
	return control.Traffic{Packets: t.Packets, Bytes: t.Bytes, Calls: t.Calls, Batches: t.Batches}
}

// featureNames splits a set of features.
func featureNames(f tunnel.Feature) []string {
	if text := f.String(); text != "none" {
		return strings.Split(text, ",")
	}
	return []string{}
}

// A teller is a store that tells how the contact with it is.
type teller interface{ Status() lease.StoreStatus }

// store tells how it stands with the leases.
func (n *Node) store(run *running, set leaseState) control.Store {
	s := control.Store{Kind: n.opt.StoreKind, Where: n.opt.StoreWhere, Leases: set.count, Changed: set.changed.UTC()}
	if t, ok := n.opt.Source.(teller); ok {
		st := t.Status()
		s.Connected, s.Contact, s.Error, s.Rival = st.Connected, st.LastEvent.UTC(), st.Err, st.Rival
	}
	if run != nil {
		s.Expires = set.expires[run.own.Key()].UTC()
	}
	return s
}

// drops counts the lost packets, the most frequent reason first.
func (n *Node) drops(p dataPlane) []control.Drops {
	out, in := p.lost()
	all := []control.Drops{}
	for i := range out {
		d := encap.Drop(i)
		if out[i]+in[i] == 0 {
			continue
		}
		meaning, hint := trace.Hint(d)
		all = append(all, control.Drops{Reason: d.String(), Number: i, Out: out[i], In: in[i],
			Latest: n.hub.Flight.Latest(d).UTC(), Meaning: meaning, Hint: hint})
	}
	slices.SortStableFunc(all, func(a, b control.Drops) int { return cmp.Compare(b.Out+b.In, a.Out+a.In) })
	return all
}

// shown is an address, or the zero one for what only stands for none.
func shown(a netip.Addr) netip.Addr {
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// resident returns the bytes of memory that the process has in use.
func resident() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	return parseUint(fields[1]) * uint64(os.Getpagesize())
}

// processorTime returns the seconds of processor time the process has used.
func processorTime() float64 {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
}
