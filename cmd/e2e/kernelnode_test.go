package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"

	"weft/lease"
	"weft/lease/etcd"
	"weft/lease/file"
)

// The test binary is also a node that is not weft: called as `kernel-node …`
// it does what stock flanneld does for its vxlan backend, with the kernel's own
// VXLAN devices (flannel: pkg/backend/vxlan). It shares with weft only the
// reading and writing of leases.
//
//	lease ──► flannel.1, flannel-v6.1 ──► subnet.env, READY=1 ──► for each peer's
//	                                       lease: neighbour, FDB entry, route
//
// As with flanneld, devices, entries and routes stay when it ends.
const kernelNodeName = "kernel-node"

func init() { play(kernelNodeName, runKernelNode) }

type kernelNode struct {
	name, iface, subnetFile string
	public                  [2]netip.Addr // by address family; zero: none
	store                   registry
	log                     *slog.Logger

	conf lease.VXLANBackend
	link netlink.Link // the underlay
	own  lease.Lease
	vtep [2]*vtep // by inner family; nil: the network has none

	peers map[string]lease.Lease // those in the kernel, by key
}

func runKernelNode(ctx context.Context, args []string) error {
	n, err := newKernelNode(args)
	if err != nil {
		return err
	}
	defer n.store.Close()
	cfg, err := n.store.Config(ctx)
	if err != nil {
		return err
	}
	if err := n.register(ctx, cfg); err != nil {
		return err
	}
	env := lease.Env{Network: cfg.Network, Subnet: n.own.Subnet, IPv6Network: cfg.IPv6Network,
		IPv6Subnet: n.own.Subnet6, MTU: n.mtu() - 50}
	if err := lease.WriteEnv(n.subnetFile, env); err != nil {
		return err
	}
	return serve(ctx, n.store, n.own, n.log, n.program)
}

func newKernelNode(args []string) (n *kernelNode, err error) {
	n = &kernelNode{log: slog.New(slog.NewJSONHandler(os.Stderr, nil)), peers: map[string]lease.Lease{}}
	slog.SetDefault(n.log)
	fs := flag.NewFlagSet(kernelNodeName, flag.ContinueOnError)
	fs.StringVar(&n.name, "node-name", "", "of this node, in a lease folder")
	fs.StringVar(&n.iface, "iface", "eth0", "underlay")
	fs.StringVar(&n.subnetFile, "subnet-file", "", "path of subnet.env")
	fs.TextVar(&n.public[0], "public-ip", netip.Addr{}, "IPv4 address of the node")
	fs.TextVar(&n.public[1], "public-ipv6", netip.Addr{}, "IPv6 address of the node")
	endpoint := fs.String("etcd-endpoints", "", "URL of the etcd with the leases")
	folder := fs.String("leases", "", "folder with the leases")
	if err = fs.Parse(args); err != nil {
		return nil, err
	}
	if n.link, err = netlink.LinkByName(n.iface); err != nil {
		return nil, fmt.Errorf("interface %s: %w", n.iface, err)
	}
	if *folder != "" {
		n.store, err = file.New(file.Options{Dir: *folder, NodeName: n.name, Log: n.log})
	} else {
		n.store, err = etcd.New(etcd.Options{Endpoints: []string{*endpoint}, Log: n.log})
	}
	return n, err
}

// mtu is how long an outer packet may be, in bytes.
func (n *kernelNode) mtu() int {
	if n.conf.MTU > 0 {
		return n.conf.MTU
	}
	return n.link.Attrs().MTU
}

// register makes the devices, takes a lease that tells their addresses, and
// sets them up: flanneld's order.
func (n *kernelNode) register(ctx context.Context, cfg *lease.Config) (err error) {
	if n.conf, err = cfg.VXLAN(); err != nil {
		return err
	}
	attrs := lease.Attrs{BackendType: "vxlan"}
	for i, on := range [...]bool{cfg.EnableIPv4, cfg.EnableIPv6} {
		if !on {
			continue
		}
		if n.vtep[i], err = openVTEP(n, i); err != nil {
			return err
		}
		data, err := n.vtep[i].describe(n.conf)
		if err != nil {
			return err
		}
		if i == 0 {
			attrs.PublicIP, attrs.BackendData = n.public[0], data
		} else {
			attrs.PublicIPv6, attrs.BackendV6Data = n.public[1], data
		}
	}
	before, err := lease.ReadEnv(n.subnetFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	n.own, err = n.store.Acquire(ctx, lease.Claim{Config: cfg, Attrs: attrs, Previous: before.Lease()})
	if err != nil {
		return err
	}
	for i, subnet := range subnets(n.own) {
		if n.vtep[i] != nil {
			if err := n.vtep[i].up(subnet.Addr()); err != nil {
				return err
			}
		}
	}
	return nil
}

func subnets(l lease.Lease) [2]netip.Prefix { return [2]netip.Prefix{l.Subnet, l.Subnet6} }

// program makes the peers in the kernel those that the leases tell. Of leases
// of other types flanneld takes no notice: what the kernel has of such a node
// from before stays.
func (n *kernelNode) program(all iter.Seq[lease.Lease]) error {
	present := map[string]bool{}
	for l := range all {
		present[l.Key()] = true
		if l.Key() == n.own.Key() || l.Attrs.BackendType != "vxlan" {
			continue
		}
		if was, known := n.peers[l.Key()]; known && was.Attrs.Equal(l.Attrs) {
			continue
		}
		if err := n.each(l, (*vtep).add); err != nil {
			return err
		}
		n.peers[l.Key()] = l
		n.log.Info("peer programmed", "peer", l.Key())
	}
	for _, key := range slices.Sorted(keys(n.peers)) {
		if present[key] {
			continue
		}
		if err := n.each(n.peers[key], (*vtep).remove); err != nil {
			return err
		}
		delete(n.peers, key)
		n.log.Info("peer forgotten", "peer", key)
	}
	return nil
}

func keys[K comparable, V any](m map[K]V) iter.Seq[K] {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// each calls f for a lease's subnet of each family that the device and the
// peer have.
func (n *kernelNode) each(l lease.Lease, f func(*vtep, remote) error) error {
	outer := [2]netip.Addr{l.Attrs.PublicIP, l.Attrs.PublicIPv6}
	for i, subnet := range subnets(l) {
		if n.vtep[i] == nil || !subnet.IsValid() || !outer[i].IsValid() {
			continue
		}
		data, err := l.Attrs.VTEP([...]uint8{4, 6}[i])
		if err == nil {
			err = f(n.vtep[i], remote{subnet: subnet, mac: data.MAC[:], outer: outer[i]})
		}
		if err != nil {
			return fmt.Errorf("lease %s: %w", l.Key(), err)
		}
	}
	return nil
}
