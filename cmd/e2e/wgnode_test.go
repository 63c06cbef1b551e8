package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"

	"weft/lease"
	"weft/lease/etcd"
)

// The test binary is also a node that does what stock flanneld does for its
// wireguard backend (flannel: pkg/backend/wireguard): called as `wireguard-node
// …`. Its devices are the kernel's or wireguard-go's, and are told everything
// by wg(8). It shares with weft only the reading and writing of leases.
//
//	key ──► flannel-wg, flannel-wg-v6 ──► lease ──► addresses, routes ──► READY=1
//	                    ▲                              for each peer's lease:
//	                    └──────────────────────────────────── wg set … peer …
//
// As with flanneld, the devices go when it ends.
const wgNodeName = "wireguard-node"

func init() { play(wgNodeName, runWGNode) }

type wgNode struct {
	subnetFile, keyFile string
	program             string        // wireguard-go; empty: the kernel's WireGuard
	public              [2]netip.Addr // by address family
	store               registry
	log                 *slog.Logger

	conf    lease.WireGuardBackend
	pskFile string
	mtu     int // of the devices
	own     lease.Lease
	devices []*wgDevice

	peers map[string]lease.Attrs // of those that the devices know, by key of the lease
}

func runWGNode(ctx context.Context, args []string) error {
	n, err := newWGNode(args)
	if err != nil {
		return err
	}
	defer n.store.Close()
	cfg, err := n.store.Config(ctx)
	if err != nil {
		return err
	}
	err = n.register(ctx, cfg)
	defer func() {
		for _, d := range n.devices {
			d.close()
		}
	}()
	if err != nil {
		return err
	}
	env := lease.Env{Network: cfg.Network, Subnet: n.own.Subnet, IPv6Network: cfg.IPv6Network, IPv6Subnet: n.own.Subnet6, MTU: n.mtu}
	if err := lease.WriteEnv(n.subnetFile, env); err != nil {
		return err
	}
	return serve(ctx, n.store, n.own, n.log, n.tell)
}

func newWGNode(args []string) (n *wgNode, err error) {
	n = &wgNode{log: slog.New(slog.NewJSONHandler(os.Stderr, nil)), peers: map[string]lease.Attrs{}}
	slog.SetDefault(n.log)
	fs := flag.NewFlagSet(wgNodeName, flag.ContinueOnError)
	fs.StringVar(&n.subnetFile, "subnet-file", "", "path of subnet.env")
	fs.StringVar(&n.keyFile, "key-file", "", "path of the private key")
	fs.StringVar(&n.program, "program", "", "wireguard-go; empty for the kernel's WireGuard")
	fs.TextVar(&n.public[0], "public-ip", netip.Addr{}, "IPv4 address of the node")
	fs.TextVar(&n.public[1], "public-ipv6", netip.Addr{}, "IPv6 address of the node")
	endpoint := fs.String("etcd-endpoints", "", "URL of the etcd with the leases")
	if err = fs.Parse(args); err != nil {
		return nil, err
	}
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return nil, fmt.Errorf("interface eth0: %w", err)
	}
	n.mtu = link.Attrs().MTU - 80
	n.store, err = etcd.New(etcd.Options{Endpoints: []string{*endpoint}, Log: n.log})
	return n, err
}

// register makes the devices, takes a lease that tells their key and ports, and
// sets them up: flanneld's order.
func (n *wgNode) register(ctx context.Context, cfg *lease.Config) (err error) {
	if n.conf, err = cfg.WireGuard(); err != nil {
		return err
	}
	public, err := n.keys()
	if err != nil {
		return err
	}
	on := [2]bool{cfg.EnableIPv4, cfg.EnableIPv6}
	if err := n.open(on); err != nil {
		return err
	}
	attrs := lease.Attrs{BackendType: "wireguard"}
	ports := [2]int{n.conf.ListenPort, n.conf.ListenPortV6} // whatever the mode
	for i := range on {
		if !on[i] {
			continue
		}
		data := json.RawMessage(fmt.Sprintf(`{"PublicKey":%q,"Port":%d}`, public, ports[i]))
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
	if n.own, err = n.store.Acquire(ctx, lease.Claim{Config: cfg, Attrs: attrs, Previous: before.Lease()}); err != nil {
		return err
	}
	networks := [2]netip.Prefix{cfg.Network, cfg.IPv6Network}
	for _, d := range n.devices {
		if err := d.up(n.mtu, subnets(n.own), networks); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	return nil
}

// keys reads or makes the private key, writes down the preshared one where
// wg(8) can read it, and returns the public key.
func (n *wgNode) keys() (public string, err error) {
	raw := make([]byte, 32)
	if _, err := os.Stat(n.keyFile); errors.Is(err, os.ErrNotExist) {
		rand.Read(raw) // never fails
		if err := writeKey(n.keyFile, raw); err != nil {
			return "", err
		}
	}
	if psk := n.conf.PSK.Bytes(); psk != [32]byte{} {
		n.pskFile = n.keyFile + ".psk"
		if err := writeKey(n.pskFile, psk[:]); err != nil {
			return "", err
		}
	}
	return publicInFile(n.keyFile)
}

// tell makes the leases peers of the devices. A peer with a new key takes
// the inner addresses of the old one, which flannel leaves where it is.
func (n *wgNode) tell(all iter.Seq[lease.Lease]) error {
	for l := range all {
		was, known := n.peers[l.Key()]
		if l.Key() == n.own.Key() || l.Attrs.BackendType != "wireguard" || known && was.Equal(l.Attrs) {
			continue
		}
		for _, d := range n.devices {
			if err := n.peer(d, l); err != nil {
				return fmt.Errorf("lease %s: %w", l.Key(), err)
			}
		}
		n.peers[l.Key()] = l.Attrs
		n.log.Info("peer programmed", "peer", l.Key())
	}
	return nil
}
