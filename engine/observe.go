package engine

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"

	"weft/encap"
	"weft/engine/control"
	"weft/engine/trace"
)

// Trace begins a session.
func (n *Node) Trace(o trace.Options) (*trace.Session, error) {
	s, err := n.hub.Open(o)
	if err != nil {
		field, _, _ := strings.Cut(err.Error(), ":")
		return nil, &control.Error{Message: err.Error(), Field: field}
	}
	return s, nil
}

// TraceMeta tells what the addresses of records mean at this moment.
func (n *Node) TraceMeta() trace.Meta {
	n.mu.Lock()
	plane, run := n.plane, n.running
	n.mu.Unlock()
	m := trace.Meta{Schema: 1, Node: n.opt.Name, Snaplen: trace.DefaultSnaplen, Sample: 1, Peers: []trace.MetaPeer{}}
	if run == nil || plane == nil {
		return m
	}
	m.Device, m.Backend, m.MTU = strings.Join(run.back.devices(), ", "), run.cfg.BackendType, run.back.mtu
	for _, to := range plane.fars(false) {
		a := to.lease.Attrs
		m.Peers = append(m.Peers, trace.MetaPeer{Public: shown(a.PublicIP), Public6: shown(a.PublicIPv6),
			Subnet: to.lease.Subnet, Subnet6: to.lease.Subnet6, Backend: cmp.Or(to.via, kindOf(to.lease))})
	}
	return m
}

// Drops returns what the flight recorder keeps, the oldest first.
func (n *Node) Drops() (trace.Meta, []trace.Record) { return n.TraceMeta(), n.hub.Flight.Records() }

// lost returns how many packets were dropped each way, by reason.
func lost(up *counters, down ...*counters) (out, in [encap.NumDrops]uint64) {
	for i := range out {
		out[i] = up.drops[i].Load()
		for _, c := range down {
			in[i] += c.drops[i].Load()
		}
	}
	return out, in
}

func (p *plane) lost() (out, in [encap.NumDrops]uint64) {
	var downs []*counters
	for f := range p.down {
		for i := range p.down[f] {
			downs = append(downs, &p.down[f][i])
		}
	}
	return lost(&p.up, downs...)
}

func (p *wgPlane) lost() (out, in [encap.NumDrops]uint64) { return lost(&p.up, &p.down) }

// String returns the word that chooses the check.
func (c SourceCheck) String() string {
	switch c {
	case Strict:
		return "strict"
	case Report:
		return "report"
	case Off:
		return "off"
	}
	return fmt.Sprintf("SourceCheck(%d)", uint8(c))
}

// tunnels are the kinds of links that are tunnels themselves, by the name that
// netlink has for them.
var tunnels = map[string]string{"wireguard": "wireguard", "tuntap": "tun", "tun": "tun", "vxlan": "vxlan", "geneve": "geneve",
	"gre": "gre", "gretap": "gre", "ip6gre": "gre", "ipip": "ipip", "sit": "sit", "ip6tnl": "ip6tnl", "vti": "ipsec", "vti6": "ipsec", "xfrm": "ipsec", "ppp": "ppp"}

// nestedKind tells what kind of tunnel a link is; empty if it is none, or cannot
// be asked.
func nestedKind(name string) string {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return ""
	}
	return tunnelKind(link)
}

// tunnelKind is the same of a link that is known. A TAP device has the driver of a
// TUN device, but is the Ethernet of a virtual machine or a bridge.
func tunnelKind(link netlink.Link) string {
	if t, ok := link.(*netlink.Tuntap); ok && t.Mode != netlink.TUNTAP_MODE_TUN {
		return ""
	}
	return tunnels[link.Type()]
}

// A Node answers all that the control socket is asked.
var _ control.Node = (*Node)(nil)
