package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"weft/engine/iface"
	"weft/lease"
	"weft/tunnel/wg"
)

// A wireGuard is what net-conf.json's Backend of type wireguard comes to on
// this node.
type wireGuard struct {
	conf  lease.WireGuardBackend
	key   wg.PrivateKey
	links []wgLink
}

// A wgLink is one of the node's WireGuard interfaces, as flannel has them
// (pkg/backend/wireguard/wireguard.go).
type wgLink struct {
	name  string
	port  uint16
	inner [2]bool // the families it carries: IPv4, IPv6
}

// wgOverhead is what flannel takes off the underlay's MTU whatever the family:
// IPv6 40, UDP 8, WireGuard 32 bytes (pkg/backend/wireguard/device.go).
const wgOverhead = 40 + 8 + 32

// The names of the interfaces; scripts know them.
const (
	wgDevice  = "flannel-wg"
	wgDevice6 = "flannel-wg-v6"
)

// newWireGuard compiles the options for a node with this key.
func newWireGuard(cfg *lease.Config, under iface.Underlay, key wg.PrivateKey) (*wireGuard, error) {
	conf, err := cfg.WireGuard()
	if err != nil {
		return nil, err
	}
	w := &wireGuard{conf: conf, key: key}
	inner := [2]bool{cfg.EnableIPv4, cfg.EnableIPv6}
	if conf.Mode != lease.WireGuardSeparate {
		w.links = []wgLink{{wgDevice, uint16(conf.ListenPort), inner}}
		return w, w.reachable(under)
	}
	if cfg.EnableIPv4 {
		w.links = append(w.links, wgLink{wgDevice, uint16(conf.ListenPort), [2]bool{true, false}})
	}
	if cfg.EnableIPv6 {
		w.links = append(w.links, wgLink{wgDevice6, uint16(conf.ListenPortV6), [2]bool{false, true}})
	}
	if err := conf.CheckPorts(cfg.EnableIPv4, cfg.EnableIPv6); err != nil {
		return nil, fmt.Errorf("net-conf.json: %w", err)
	}
	return w, w.reachable(under)
}

// wireGuard compiles the Backend object of type wireguard.
func (b *backend) wireGuard(o *Options, log *slog.Logger) error {
	if o.Key == nil {
		return errors.New("Options.Key: the wireguard backend needs a private key")
	}
	stored, err := o.Key()
	if err != nil {
		return fmt.Errorf("private key: %w", err)
	}
	log.Info("WireGuard key", "file", stored.Path, "key", stored.Key.Public(), "new", stored.Created, "why", stored.Why)
	if stored.Warning != "" {
		log.Warn("WireGuard key file", "file", stored.Path, "err", stored.Warning)
	}
	if b.wg, err = newWireGuard(b.cfg, b.under, stored.Key); err != nil {
		return err
	}
	mtu := b.under.MTU
	if b.wg.conf.MTU > 0 {
		mtu = min(mtu, b.wg.conf.MTU)
	}
	if b.mtu = min(mtu, 65535) - wgOverhead; b.mtu < 68 {
		return fmt.Errorf("interface %s: MTU %d leaves %d bytes for inner packets; IPv4 needs 68 (RFC 791)", b.under.Name, mtu, b.mtu)
	}
	return nil
}

// devices names the TUN devices that the node needs.
func (b *backend) devices() []string {
	if b.wg == nil {
		return []string{Device}
	}
	var names []string
	for _, l := range b.wg.links {
		names = append(names, l.name)
	}
	return names
}

// reachable refuses a mode for which the underlay has no address.
func (w *wireGuard) reachable(under iface.Underlay) error {
	var need [2]bool
	switch w.conf.Mode {
	case lease.WireGuardIPv4:
		need[0] = true
	case lease.WireGuardIPv6:
		need[1] = true
	case lease.WireGuardSeparate:
		for _, l := range w.links {
			need[0], need[1] = need[0] || l.inner[0], need[1] || l.inner[1]
		}
	}
	for i, a := range [...]netip.Addr{under.Addr, under.Addr6} {
		if need[i] && !a.IsValid() {
			return fmt.Errorf("net-conf.json: Backend.Mode: %q needs an %s address, and interface %s has none",
				w.conf.Mode, [...]string{"IPv4", "IPv6"}[i], under.Name)
		}
	}
	return nil
}

// underlay chooses the underlay interface. A wireguard node in a mode that
// travels in one outer family alone does without the other one.
func (n *Node) underlay(cfg *lease.Config) (iface.Underlay, error) {
	u, err := iface.Select(n.opt.Iface, cfg.EnableIPv4, cfg.EnableIPv6)
	if err == nil || cfg.BackendType != "wireguard" {
		return u, err
	}
	conf, bad := cfg.WireGuard()
	if bad != nil {
		return u, bad
	}
	switch conf.Mode {
	case lease.WireGuardIPv4:
		return iface.Select(n.opt.Iface, true, false)
	case lease.WireGuardIPv6:
		return iface.Select(n.opt.Iface, false, true)
	}
	return u, err
}

// listenAddrs returns where the node listens, IPv4 and IPv6: at the addresses
// that its lease names, or that stand for them behind a NAT, so that answers
// bear the address that was called.
func listenAddrs(under iface.Underlay) [2]netip.Addr { return [2]netip.Addr{under.Addr, under.Addr6} }

// port returns where datagrams of an inner family are received.
func (w *wireGuard) port(family int) uint16 {
	for _, l := range w.links {
		if l.inner[family] {
			return l.port
		}
	}
	return w.links[0].port
}

// attrs adds to a what the lease tells of the node: key and port for each
// family. Unlike flannel (1.0 to 0.28) it names the port that is listened on in
// every mode.
func (w *wireGuard) attrs(cfg *lease.Config, a lease.Attrs) (lease.Attrs, error) {
	a.BackendType = "wireguard"
	var err4, err6 error
	if cfg.EnableIPv4 {
		a.BackendData, err4 = json.Marshal(lease.WireGuardData{PublicKey: lease.WireGuardKey(w.key.Public()), Port: w.port(0)})
	}
	if cfg.EnableIPv6 {
		a.BackendV6Data, err6 = json.Marshal(lease.WireGuardData{PublicKey: lease.WireGuardKey(w.key.Public()), Port: w.port(1)})
	}
	return a, errors.Join(err4, err6)
}

// peer turns a lease into a peer of the interface l. Its endpoint is where the
// lease says; a port that it does not tell is our own, as before flannel
// 0.26.6.
func (w *wireGuard) peer(l *wgLink, under iface.Underlay, of lease.Lease) (p wg.Peer, err error) {
	family := w.outer(l, under, of.Attrs)
	data, err := of.Attrs.WireGuard([...]uint8{4, 6}[family])
	if err != nil && w.conf.Mode != lease.WireGuardSeparate {
		// One interface, one key: what the other family's data says will do.
		data, err = of.Attrs.WireGuard([...]uint8{6, 4}[family])
	}
	if err != nil {
		return p, err
	}
	addr := outers(of.Attrs)[family]
	switch {
	case !addr.IsValid():
		return p, errNoAddress
	case wg.PublicKey(data.PublicKey) == w.key.Public():
		return p, fmt.Errorf("PublicKey: %v is this node's own; was its key file copied?", data.PublicKey)
	}
	port := data.Port
	if port == 0 {
		port = l.port
	}
	p = wg.Peer{Key: wg.PublicKey(data.PublicKey), PSK: wg.PresharedKey(w.conf.PSK.Bytes()),
		Endpoint: netip.AddrPortFrom(addr, port), Keepalive: uint16(w.conf.PersistentKeepaliveInterval)}
	for i, subnet := range [...]netip.Prefix{of.Subnet, of.Subnet6} {
		if l.inner[i] && subnet.IsValid() {
			p.Allowed = append(p.Allowed, subnet.Masked())
		}
	}
	if p.Allowed == nil {
		return p, errNoSubnet
	}
	return p, nil
}

var errNoSubnet = errors.New("it holds no subnet of a family of this interface")

// outer chooses the family in which a peer is reached: 0 IPv4, 1 IPv6
// (flannel's pkg/backend/wireguard/wireguard_network.go, selectPublicEndpoint).
func (w *wireGuard) outer(l *wgLink, under iface.Underlay, a lease.Attrs) int {
	switch w.conf.Mode {
	case lease.WireGuardIPv4:
		return 0
	case lease.WireGuardIPv6:
		return 1
	case lease.WireGuardSeparate:
		if l.inner[1] {
			return 1
		}
		return 0
	}
	theirs := outers(a)
	switch {
	case !theirs[1].IsValid():
		return 0
	case theirs[0].IsValid() && !theirs[0].IsPrivate() && under.Addr.IsValid():
		return 0
	case !theirs[1].IsPrivate() && under.Addr6.IsValid() && !under.Addr6.IsPrivate():
		return 1
	case !theirs[0].IsValid() || !under.Addr.IsValid():
		return 1 // the only way there is
	}
	return 0
}
