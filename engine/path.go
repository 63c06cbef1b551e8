package engine

import (
	"context"
	"net/netip"
	"time"

	"weft/tunnel"
	"weft/tunnel/wg"
)

// relearnEvery is how often limited paths are looked at again.
const relearnEvery = time.Minute

// learn asks the kernel how long a packet to the peer may be, remembers it for
// the up loop, and returns the limit for inner packets; 0 if there is none
// below the device's MTU, or the kernel cannot say.
func (p *plane) learn(to *peer) int {
	local, overhead := p.under.Addr, outer4
	if to.family == 1 {
		local, overhead = p.under.Addr6, outer6
	}
	mtu, err := tunnel.PathMTU(local, to.addr.AddrPort())
	if err != nil {
		return int(to.path.inner.Load())
	}
	learnt := mtu - overhead - len(to.prefix)
	if learnt >= p.back.mtu {
		learnt = 0
	}
	to.path.learnt.Store(int32(learnt))
	limit, changed := to.path.limit()
	if changed {
		p.node.log.Info("path MTU learnt", "peer", to.outer, "mtu", mtu, "inner", limit)
	}
	return limit
}

// learn asks the kernel how long a datagram to the peer may be, and remembers
// what this leaves for inner packets.
func (p *wgPlane) learn(to *wgPeer) {
	end, ok := p.endpoint(to.link, to.key)
	if !ok {
		return
	}
	local, overhead := netip.IPv4Unspecified(), outer4
	if end.Addr().Is6() {
		local, overhead = netip.IPv6Unspecified(), outer6
	}
	mtu, err := tunnel.PathMTU(local, end)
	if err != nil {
		return
	}
	to.seen.learnt.Store(int32(wgLimit(mtu-overhead, p.back.mtu)))
	if limit, changed := to.seen.limit(); changed {
		p.node.log.Info("path MTU learnt", "peer", end.Addr(), "mtu", mtu, "inner", limit)
	}
}

// wgLimit is the longest inner packet whose datagram has at most so many bytes;
// 0 if that is no limit for a device with that MTU. Packets are padded to 16
// bytes, but not beyond the MTU.
func wgLimit(datagram, mtu int) int {
	limit := datagram - wg.Overhead
	if limit >= mtu {
		return 0
	}
	return limit &^ 15
}

// relearn learns the limits of paths that turned out too narrow, and looks at
// them again from time to time, see plane.relearn.
func (p *wgPlane) relearn(ctx context.Context) error {
	tick := time.NewTicker(relearnEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case to := <-p.tooLong:
			p.learn(to)
		case <-tick.C:
			p.watchAround()
			for _, to := range *p.lanes.Load() {
				if to.seen.inner.Load() > 0 {
					p.learn(to)
				}
			}
		}
	}
}

// relearn looks at limited paths again from time to time: the kernel forgets
// what an ICMP message taught it after ten minutes (net.ipv4.route.mtu_expires),
// and then the path may have grown.
func (p *plane) relearn(ctx context.Context) error {
	for sleep(ctx, relearnEvery) {
		for _, to := range p.table.Load().peers {
			if to.path.inner.Load() > 0 {
				p.learn(to)
			}
		}
	}
	return nil
}
