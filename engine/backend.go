package engine

import (
	"fmt"

	"weft/encap"
	"weft/engine/iface"
	"weft/lease"
)

// A backend is what net-conf.json's Backend comes to on this node: an
// encapsulation, a port, an MTU, and what our lease tells the others.
type backend struct {
	codec encap.Encapsulator
	port  uint16 // UDP, ours and the peers'
	attrs lease.Attrs
	mtu   int    // longest packet a pod may send, in bytes
	inner [2]int // longest inner packet by the family of the outer one; 0: none
}

// Bytes of the outer headers.
const (
	outer4 = 20 + 8
	outer6 = 40 + 8
)

// newBackend compiles the Backend object of cfg.
func newBackend(cfg *lease.Config, under iface.Underlay) (*backend, error) {
	switch cfg.BackendType {
	case "udp":
		return newUDP(cfg, under)
	}
	return nil, fmt.Errorf("net-conf.json: Backend.Type: %q is not supported; supported is udp", cfg.BackendType)
}

func newUDP(cfg *lease.Config, under iface.Underlay) (*backend, error) {
	conf, err := cfg.UDP()
	if err != nil {
		return nil, err
	}
	b := &backend{codec: encap.UDP{}, port: uint16(conf.Port), attrs: attrs(under)}
	return b, b.size(conf.MTU, under)
}

// attrs is what every backend's lease says; flannel's udp backend adds
// neither type nor data.
func attrs(under iface.Underlay) lease.Attrs {
	return lease.Attrs{PublicIP: under.Public, PublicIPv6: under.Public6}
}

// size computes MTUs from the underlay's and the key MTU, which may lower it.
// Pods are told the MTU of the outer family that peers prefer; packets for a
// peer that has only the other family are held to that one's limit.
func (b *backend) size(key int, under iface.Underlay) error {
	mtu := under.MTU
	if key > 0 {
		mtu = min(mtu, key)
	}
	mtu = min(mtu, 65535)
	overhead := b.codec.Overhead()
	if under.Addr.IsValid() {
		b.inner[0] = mtu - outer4 - overhead
		b.mtu = b.inner[0]
	}
	if under.Addr6.IsValid() {
		b.inner[1] = mtu - outer6 - overhead
		if b.mtu == 0 {
			b.mtu = b.inner[1]
		}
	}
	if b.mtu < 68 {
		return fmt.Errorf("interface %s: MTU %d leaves %d bytes for inner packets; IPv4 needs 68 (RFC 791)", under.Name, mtu, b.mtu)
	}
	return nil
}
