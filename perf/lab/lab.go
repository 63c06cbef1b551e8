package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"

	"weft/cmd/weft/lab/space"
)

// UnderlayMTU is the MTU of the wire between the hosts, in bytes.
const UnderlayMTU = 1500

// Underlay is the name of a host's device at the wire.
const Underlay = "eth0"

// Wire names what the wire between the hosts can do.
type Wire string

// The wires.
const (
	WireGSO  Wire = "gso"  // veth as it comes: superpackets pass whole
	WireLike Wire = "wire" // segmentation and receive offloads off: frames only
)

// Wires lists all wires.
func Wires() []Wire { return []Wire{WireGSO, WireLike} }

// A Host is one node with a pod behind a bridge.
type Host struct {
	*Space              // the host's namespace
	Pod    *Space       // the pod's; nil before AttachPods
	Addr   netip.Addr   // of the host on the wire
	Subnet netip.Prefix // of its pods; the lab's proposal until AttachPods
	Dir    string       // a folder for files of this host's processes
}

// PodAddr is the pod's address: the second of its subnet.
func (h *Host) PodAddr() netip.Addr { return h.gateway().Next() }

// gateway is the bridge's address: the first of the subnet.
func (h *Host) gateway() netip.Addr { return h.Subnet.Masked().Addr().Next() }

// A Lab is two hosts joined by a wire.
type Lab struct {
	Hosts [2]*Host
	Wire  Wire
	Dir   string // a folder both hosts see
	tag   string
}

// New lays two hosts and the wire between them. It needs root.
func New(wire Wire) (*Lab, error) {
	tag, err := newTag()
	if err != nil {
		return nil, err
	}
	l := &Lab{Wire: wire, tag: tag, Dir: filepath.Join(os.TempDir(), tag)}
	if err := l.lay(); err != nil {
		return nil, errors.Join(fmt.Errorf("laying lab %s: %w", tag, err), l.Close())
	}
	return l, nil
}

func (l *Lab) lay() error {
	if err := os.Mkdir(l.Dir, 0o700); err != nil {
		return err
	}
	for i := range l.Hosts {
		if err := l.addHost(i); err != nil {
			return err
		}
	}
	return l.addWire()
}

// addHost makes host i: a forwarding namespace without a wire and without pods.
func (l *Lab) addHost(i int) error {
	letter := string(rune('a' + i))
	ns, err := newSpace(l.tag + "-h" + letter)
	if err != nil {
		return err
	}
	h := &Host{
		Space:  ns,
		Addr:   netip.AddrFrom4([4]byte{192, 168, 50, byte(1 + i)}),
		Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 5, byte(1 + i), 0}), 24),
		Dir:    filepath.Join(l.Dir, letter),
	}
	l.Hosts[i] = h
	if err := os.Mkdir(h.Dir, 0o700); err != nil {
		return err
	}
	for _, s := range []struct{ key, value string }{
		{"net.ipv4.conf.all.rp_filter", "0"},
		{"net.ipv4.conf.default.rp_filter", "0"},
		{"net.ipv4.ip_forward", "1"},
		{"net.ipv6.conf.all.forwarding", "1"},
	} {
		if err := h.Sysctl(s.key, s.value); err != nil {
			return err
		}
	}
	return nil
}

// addWire joins the hosts and gives each its address.
func (l *Lab) addWire() error {
	a, b := l.Hosts[0], l.Hosts[1]
	if err := veth(a.Space, Underlay, b.Space, Underlay, UnderlayMTU); err != nil {
		return err
	}
	for _, h := range l.Hosts {
		if l.Wire == WireLike {
			if err := h.SetFeatures(Underlay, false, space.Wire...); err != nil {
				return err
			}
		}
		if err := h.Up(Underlay); err != nil {
			return err
		}
		if err := h.Addresses(Underlay, netip.PrefixFrom(h.Addr, 24)); err != nil {
			return err
		}
	}
	return nil
}

// AttachPods gives each host a bridge and a pod behind it, with the subnets
// that the hosts have by now and an MTU in bytes for the pods' packets.
func (l *Lab) AttachPods(mtu int) error {
	for i, h := range l.Hosts {
		if err := l.addPod(i, h, mtu); err != nil {
			return fmt.Errorf("pod of host %s: %w", h.Name(), err)
		}
	}
	return nil
}

func (l *Lab) addPod(i int, h *Host, mtu int) error {
	pod, err := newSpace(l.tag + "-p" + string(rune('a'+i)))
	if err != nil {
		return err
	}
	h.Pod = pod
	bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	bridge.Name, bridge.MTU = "cni0", mtu
	if err := h.Netlink().LinkAdd(bridge); err != nil {
		return fmt.Errorf("bridge cni0: %w", err)
	}
	if err := veth(h.Space, "pod0", pod, "eth0", mtu); err != nil {
		return err
	}
	if err := h.Join("pod0", "cni0"); err != nil {
		return err
	}
	bits := h.Subnet.Bits()
	return errors.Join(
		h.Up("pod0"),
		h.Up("cni0"),
		h.Addresses("cni0", netip.PrefixFrom(h.gateway(), bits)),
		pod.Up("eth0"),
		pod.Addresses("eth0", netip.PrefixFrom(h.PodAddr(), bits)),
		pod.Default("eth0", h.gateway()),
	)
}

// veth joins two namespaces by a pair of devices of an MTU in bytes, which
// stay down.
func veth(a *Space, nameA string, b *Space, nameB string, mtu int) error {
	if err := a.Veth(nameA, b.Space, nameB); err != nil {
		return err
	}
	return errors.Join(a.MTU(nameA, mtu), b.MTU(nameB, mtu))
}

// Close removes everything that the lab laid. Processes that still run in its
// namespaces are killed.
func (l *Lab) Close() error {
	var errs []error
	for _, h := range l.Hosts {
		if h == nil {
			continue
		}
		if h.Pod != nil {
			errs = append(errs, h.Pod.remove())
		}
		errs = append(errs, h.remove())
	}
	errs = append(errs, os.RemoveAll(l.Dir))
	return errors.Join(errs...)
}
