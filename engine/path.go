package engine

import (
	"context"
	"time"

	"weft/tunnel"
)

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
	limit := min(mtu-overhead-len(to.prefix), to.framing.inner[to.family])
	if limit >= p.back.mtu {
		limit = 0
	}
	if old := to.path.inner.Swap(int32(limit)); int(old) != limit {
		p.node.log.Info("path MTU learnt", "peer", to.outer, "mtu", mtu, "inner", limit)
	}
	return limit
}

// relearn looks at limited paths again from time to time: the kernel forgets
// what an ICMP message taught it after ten minutes (net.ipv4.route.mtu_expires),
// and then the path may have grown.
func (p *plane) relearn(ctx context.Context) error {
	const every = time.Minute
	for sleep(ctx, every) {
		for _, to := range p.table.Load().peers {
			if to.path.inner.Load() > 0 {
				p.learn(to)
			}
		}
	}
	return nil
}
