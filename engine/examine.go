package engine

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"
	"weft/engine/control"
	"weft/engine/doctor"
	"weft/engine/ping/echo"
	"weft/engine/probe"
	"weft/lease"
	"weft/tunnel"
)

// Doctor looks at everything that can be wrong.
func (n *Node) Doctor(ctx context.Context) control.Report {
	status := n.Status(ctx)
	s := doctor.Subject{System: doctor.Host{}, Buffer: tunnel.DefaultBuffer, Status: &status, SubnetFile: n.opt.SubnetFile, Drops: n.hub.Flight.Records()}
	if plane, run, err := n.now(); err == nil {
		s.Peer = func(ctx context.Context, p control.Peer) doctor.PeerProbe { return n.examine(ctx, plane, run, p) }
	}
	return doctor.Run(ctx, s)
}

// perTry is how long the doctor waits for an answer, and tries how often he
// asks.
const (
	perTry = time.Second
	tries  = 3
)

// examine probes one peer.
func (n *Node) examine(ctx context.Context, plane dataPlane, run *running, p control.Peer) (r doctor.PeerProbe) {
	to, ok := plane.farOf(tunnelAddr(p.Subnet))
	if !ok {
		to, ok = plane.farOf(tunnelAddr(p.Subnet6))
	}
	t, usable := n.target(run, &to)
	if !ok || !usable {
		r.Note = "nothing can be sent to it"
		return r
	}
	size := func(bytes int) doctor.Answer {
		return answered(ctx, func(ctx context.Context) error {
			_, _, err := n.prober.Ping(ctx, t.Key, t.Src, t.Dst, bytes)
			return err
		})
	}
	var probes sync.WaitGroup
	probes.Go(func() { r.Underlay = answered(ctx, func(ctx context.Context) error { return pingHost(ctx, run, p) }) })
	if state, _ := n.prober.State(t.Key); run.back.wg != nil || state.Weft == "" {
		r.Note = "not known to be a weft node, which alone answers datagrams beside the tunnel"
	} else {
		probes.Go(func() {
			r.Random, r.Observed = n.beside(ctx, t.Key, probe.Shape{Form: probe.Random})
		})
		if to.via == "vxlan" {
			probes.Go(func() { r.VXLAN, _ = n.beside(ctx, t.Key, run.likeVXLAN(&to)) })
		}
	}
	if r.Small = size(84); r.Small == doctor.Answered {
		r.LargeSize = t.MTU
		r.Large = size(t.MTU)
	}
	state, _ := n.prober.State(t.Key)
	if limited := state.Limit > 0; r.Large == doctor.Silent && !limited || r.Large == doctor.Answered && limited {
		n.prober.Recheck(t.Key) // the path is not what it was
	}
	probes.Wait()
	return r
}

// beside sends datagrams of a shape beside the tunnel, and returns from where the
// peer saw them come.
func (n *Node) beside(ctx context.Context, key string, s probe.Shape) (a doctor.Answer, observed netip.AddrPort) {
	a = answered(ctx, func(ctx context.Context) (err error) {
		_, observed, err = n.prober.Underlay(ctx, key, s)
		return err
	})
	return a, observed
}

// likeVXLAN is the shape of a datagram that looks to the network like our frames
// to a peer.
func (r *running) likeVXLAN(to *far) probe.Shape {
	s := probe.Shape{Form: probe.VXLANShaped, VNI: to.vni, SrcMAC: r.back.vteps[0].MAC}
	if v, err := vtepOf(to.lease); err == nil {
		s.DstMAC = v
	}
	return s
}

// vtepOf returns the link-layer address of a node's tunnel endpoint.
func vtepOf(l lease.Lease) ([6]byte, error) {
	v, err := l.Attrs.VTEP(4)
	if err != nil {
		v, err = l.Attrs.VTEP(6)
	}
	return v.MAC, err
}

// answered asks some times, and tells whether there was an answer.
func answered(ctx context.Context, ask func(context.Context) error) doctor.Answer {
	for range tries {
		once, cancel := context.WithTimeout(ctx, perTry)
		err := ask(once)
		cancel()
		switch {
		case err == nil:
			return doctor.Answered
		case ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) && !errors.As(err, new(*echo.Refusal)) && !errors.As(err, new(*probe.Refusal)):
			return doctor.NotTried // it did not get as far as the network
		}
	}
	return doctor.Silent
}

// pingHost sends one ICMP echo to a node, outside the tunnel.
func pingHost(ctx context.Context, run *running, p control.Peer) error {
	from, to := run.under.Addr, p.Public
	if !from.IsValid() || !to.IsValid() {
		from, to = run.under.Addr6, p.Public6
	}
	c, err := echo.Open(from, to, false)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Echo(ctx, 1, 84)
	return err
}
