package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"

	"weft/lease"
	"weft/perf/lab"
	"weft/perf/meter"
	"weft/perf/plane"
	"weft/perf/report"
)

// memorySettle is how long weft is left alone after it is ready, so that it
// has read all leases and built its tables.
const memorySettle = 3 * time.Second

// memoryNetwork is the pods' network of the memory measurement; it has room
// for 65,536 subnets.
const memoryNetwork = "10.0.0.0/8"

// memory measures the resident memory of one weft in a network of many leases,
// with the first plane of the run that is weft with offloads.
func (r *runner) memory(ctx context.Context) error {
	if r.leases == 0 {
		return nil
	}
	for _, s := range r.planes {
		if s.Kind != plane.WeftUDP {
			continue
		}
		m, err := measureMemory(ctx, s.Options, r.leases)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.fail("memory with %d leases: %v", r.leases, err)
			return nil
		}
		r.result.Memory = m
		fmt.Fprintf(r.logging, "memory of %s with %d leases: %.1f MiB, peak %.1f MiB\n",
			s.Name, m.Leases, float64(m.RSSBytes)/(1<<20), float64(m.Peak)/(1<<20))
		return nil
	}
	return nil
}

func measureMemory(ctx context.Context, o plane.Options, leases int) (_ *report.Memory, err error) {
	l, err := lab.New(lab.WireGSO)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	// The other nodes have addresses beyond the other host, so that weft
	// finds a route to each of them.
	host, router := l.Hosts[0], l.Hosts[1]
	if err := host.Netlink().RouteAdd(&netlink.Route{Gw: router.Addr.AsSlice()}); err != nil {
		return nil, fmt.Errorf("default route: %w", err)
	}
	dir := filepath.Join(l.Dir, "leases")
	if err := errors.Join(plane.WriteConfig(dir, memoryNetwork, "udp"), writeLeases(dir, leases)); err != nil {
		return nil, err
	}
	n, err := plane.StartNode(host, dir, o, nil, "--node-name=host-a")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.Stop()) }()
	if _, err := n.Ready(ctx); err != nil {
		return nil, err
	}
	if err := pause(ctx, memorySettle); err != nil {
		return nil, err
	}
	p, err := meter.ReadProcess(n.PID())
	if err != nil {
		return nil, err
	}
	return &report.Memory{Leases: leases, RSSBytes: p.RSS, Peak: p.Peak}, nil
}

// writeLeases writes n leases of other nodes into a folder of leases.
func writeLeases(dir string, n int) error {
	for i := range n {
		if err := plane.WriteLease(dir, otherLease(i)); err != nil {
			return err
		}
	}
	return nil
}

// otherLease is the lease of node i: subnet 10.128.0.0/24 plus i, address
// 172.16.0.1 plus i.
func otherLease(i int) lease.Lease {
	return lease.Lease{
		Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 128 + byte(i>>8), byte(i), 0}), 24),
		Attrs: lease.Attrs{
			PublicIP: netip.AddrFrom4([4]byte{172, 16 + byte(i>>16), byte(i >> 8), byte(i)}).Next(),
		},
	}
}
