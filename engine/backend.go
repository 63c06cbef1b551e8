package engine

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"weft/encap"
	"weft/engine/iface"
	"weft/engine/trace"
	"weft/lease"
)

// A backend is what net-conf.json's Backend comes to on this node: the
// framings it speaks, an MTU, and what its lease tells the others.
type backend struct {
	cfg      *lease.Config
	under    iface.Underlay
	framings []*framing // the first is our own: peers that know our lease send us this one
	vteps    [2]lease.VTEP
	was      lease.Attrs // what the store held of this node when it started
	mtu      int         // longest packet a pod may send, in bytes
	direct   bool        // peers on the same link get kernel routes (DirectRouting)
	wg       *wireGuard  // for the type wireguard, which has no framings
	policies *policies   // what the group policies of frames were; nil without GBP
}

// newBackend compiles the Backend object of cfg. was is what the store holds of
// this node from an earlier run: a tunnel endpoint keeps its address.
func newBackend(cfg *lease.Config, under iface.Underlay, was lease.Attrs, o *Options, log *slog.Logger) (*backend, error) {
	b := &backend{cfg: cfg, under: under, was: was}
	udp := &framing{kind: "udp", trace: trace.UDP, codec: encap.UDP{}, port: 8285, listens: true}
	vni := uint32(1)
	vxlan := &framing{kind: "vxlan", trace: trace.VXLAN, port: 8472, spread: spread, split: true, kernel: true}
	var err error
	key, gbp := 0, false
	switch cfg.BackendType {
	case "udp":
		conf, err := cfg.UDP()
		if err != nil {
			return nil, err
		}
		key, udp.port = conf.MTU, uint16(conf.Port)
		b.framings = []*framing{udp, vxlan}
	case "vxlan":
		conf, err := cfg.VXLAN()
		if err != nil {
			return nil, err
		}
		key, vni, gbp, vxlan.port, vxlan.listens = conf.MTU, uint32(conf.VNI), conf.GBP, uint16(conf.Port), true
		b.direct = conf.DirectRouting
		b.framings = []*framing{vxlan, udp}
		remark(conf, o, log)
	case "wireguard":
		return b, b.wireGuard(o, log)
	default:
		return nil, fmt.Errorf("net-conf.json: Backend.Type: %q is not supported; supported are udp, vxlan, wireguard", cfg.BackendType)
	}
	if err = b.endpoints(vni, was); err != nil {
		return nil, err
	}
	if vxlan.codec, err = b.vxlan(gbp, o.GBPPolicy); err != nil {
		return nil, err
	}
	for i, f := range b.framings {
		f.id = i
		if port := o.PeerPorts[f.kind]; port != 0 && i > 0 {
			f.port = port
		}
	}
	return b, b.size(key)
}

// remark tells which of flannel's options have no effect here, and why.
func remark(conf lease.VXLANBackend, o *Options, log *slog.Logger) {
	if conf.MacPrefix != "" {
		log.Warn("Backend.MacPrefix has a meaning for flannel on Windows only; ignored", "value", conf.MacPrefix)
	}
	if conf.Learning {
		log.Info("Backend.Learning has no effect: leases tell all that could be learnt")
	}
	if o.GBPPolicy != "" && !conf.GBP {
		log.Warn("gbp-policy has no effect: Backend.GBP is off", "value", o.GBPPolicy)
	}
}

// endpoints gives the node its tunnel endpoints, one for each inner family as
// flannel's two devices have them.
func (b *backend) endpoints(vni uint32, was lease.Attrs) error {
	for i, version := range [...]uint8{4, 6} {
		v, err := was.VTEP(version)
		if err != nil || was.BackendType != "vxlan" {
			if v.MAC, err = randomMAC(); err != nil {
				return err
			}
		}
		b.vteps[i] = lease.VTEP{VNI: vni, MAC: v.MAC}
	}
	return nil
}

// randomMAC makes a locally administered unicast address, as flannel does
// (pkg/mac/mac.go).
func randomMAC() (mac [6]byte, err error) {
	if _, err = rand.Read(mac[:]); err != nil {
		return mac, fmt.Errorf("making a VtepMAC: %w", err)
	}
	mac[0] = mac[0]&^1 | 2
	return mac, nil
}

// vxlan makes the codec of VXLAN frames, which with gbp may bear one of the
// group policies in accept.
func (b *backend) vxlan(gbp bool, accept string) (codec *encap.VXLAN, err error) {
	codec = &encap.VXLAN{VNI: b.vteps[0].VNI, MACs: [2][6]byte{b.vteps[0].MAC, b.vteps[1].MAC}, GBP: gbp}
	if !gbp {
		return codec, nil
	}
	b.policies = new(policies)
	if accept != "" {
		if codec.Accept, err = encap.ParsePolicies(accept); err != nil {
			return nil, fmt.Errorf("gbp-policy: %w", err)
		}
	}
	return codec, nil
}

// attrs is what our lease says with the families of cfg. flannel's udp backend
// adds neither type nor data. The store keeps the key of a node on which IPv6
// was switched off, and peers judge the lease by its key: what it said of that
// family stays, since a half of it alone is more than stock flannel can bear.
func (b *backend) attrs(cfg *lease.Config) (lease.Attrs, error) {
	a := address(b.under)
	if b.wg != nil {
		return b.wg.attrs(cfg, a)
	}
	if b.framings[0].kind != "vxlan" {
		return a, nil
	}
	a.BackendType = "vxlan"
	var err4, err6 error
	if cfg.EnableIPv4 {
		a.BackendData, err4 = json.Marshal(b.vteps[0])
	}
	switch {
	case cfg.EnableIPv6:
		a.BackendV6Data, err6 = json.Marshal(b.vteps[1])
	case b.was.BackendType == "vxlan" && b.was.BackendV6Data != nil:
		a.PublicIPv6, a.BackendV6Data = b.was.PublicIPv6, b.was.BackendV6Data
	}
	return a, errors.Join(err4, err6)
}

// address is the part of the lease that tells where the node is.
func address(under iface.Underlay) lease.Attrs {
	return lease.Attrs{PublicIP: under.Public, PublicIPv6: under.Public6}
}

// size computes MTUs from the underlay's and the key MTU, which may lower it.
// Pods are told the MTU of the outer family that peers prefer; packets that
// travel otherwise are held to that way's limit.
func (b *backend) size(key int) error {
	mtu := b.under.MTU
	if key > 0 {
		mtu = min(mtu, key)
	}
	mtu = min(mtu, 65535)
	for _, f := range b.framings {
		f.size(mtu, b.under)
	}
	own := b.framings[0]
	if b.mtu = own.inner[0]; b.mtu == 0 {
		b.mtu = own.inner[1]
	}
	if b.mtu < 68 {
		return fmt.Errorf("interface %s: MTU %d leaves %d bytes for inner packets; IPv4 needs 68 (RFC 791)", b.under.Name, mtu, b.mtu)
	}
	return nil
}

// mtu6 is the longest IPv6 packet that peers of our own kind can be sent, in
// bytes.
func (b *backend) mtu6() int {
	if b.wg != nil {
		return b.mtu
	}
	if own := b.framings[0]; own.split && own.inner[1] > 0 {
		return min(b.mtu, own.inner[1])
	}
	return b.mtu
}
