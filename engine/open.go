package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"weft/engine/route"
	"weft/lease"
	"weft/tunnel"
)

// openOwn opens what peers send to, which a node cannot do without. A device of
// stock flanneld that stands in the way goes only now, when all else is there.
func (p *plane) openOwn(e *ends) error {
	own := p.back.framings[0]
	for i, a := range p.outer() {
		if !a.IsValid() {
			continue
		}
		port, err := p.bind(e, own, netip.AddrPortFrom(a, own.port))
		if err != nil {
			return err
		}
		e.ports[own.id][i] = port
		if err := p.openOutlets(e, own, i); err != nil {
			return err
		}
	}
	p.takeOver() // devices that are down hold no port, but have routes
	return nil
}

// bind opens the port local, if need be in place of the kernel device of stock
// flanneld that has it.
func (p *plane) bind(e *ends, own *framing, local netip.AddrPort) (*tunnel.Port, error) {
	port, err := tunnel.OpenPort(p.portOptions(e, own, local))
	if !errors.Is(err, unix.EADDRINUSE) {
		return port, err
	}
	p.takeOver()
	if port, err = tunnel.OpenPort(p.portOptions(e, own, local)); errors.Is(err, unix.EADDRINUSE) {
		if names := route.Holders(int(local.Port())); len(names) > 0 {
			err = fmt.Errorf("%w; VXLAN devices of the kernel with this port: %s", err, strings.Join(names, ", "))
		}
	}
	return port, err
}

// takeOver removes, at the start, the kernel devices that stock flanneld leaves
// behind when it stops: they own the port, and their routes would hide ours.
func (p *plane) takeOver() {
	own := p.back.framings[0]
	if p.tookOver {
		return
	}
	p.node.clearAway(p.back)
	if own.kind != "vxlan" {
		return
	}
	removed, err := route.RemoveStock(route.Stock{VNI: int(p.back.vteps[0].VNI), Port: int(own.port),
		Networks: []netip.Prefix{p.cfg.Network, p.cfg.IPv6Network},
		MACs:     [][6]byte{p.back.vteps[0].MAC, p.back.vteps[1].MAC}})
	for _, name := range removed {
		p.node.log.Info("took over from a kernel VXLAN device", "iface", name)
	}
	if err != nil {
		p.node.log.Warn("a kernel VXLAN device is left alone", "err", err)
	}
}

// clearAway removes, at the start, what another backend has left behind: its
// routes would hide ours, or lead packets around an encryption.
func (n *Node) clearAway(back *backend) {
	removed, err := route.RemoveLeftovers([]string{Device, wgDevice, wgDevice6}, back.devices())
	for _, name := range removed {
		n.log.Info("removed what another backend left", "iface", name)
	}
	if err != nil {
		n.log.Warn("a device of another backend is left alone", "err", err)
	}
}

// openOthers opens what is needed to speak to leases of other kinds than our
// own, as far as it is not open yet. A port that cannot be had is one where
// peers cannot reach us in that framing; they have our own.
func (p *plane) openOthers(e *ends, leases []lease.Lease) {
	done := make([]bool, len(p.back.framings))
	for i := range leases {
		f, err := p.build.framing(leases[i].Attrs)
		if err != nil || f.id == 0 || done[f.id] {
			continue
		}
		done[f.id] = true
		for family, a := range p.outer() {
			if !a.IsValid() {
				continue
			}
			if f.listens && e.ports[f.id][family] == nil {
				p.listen(e, f, family)
			}
			if e.spans[f.id][family].n > 0 {
				continue
			}
			if err := p.openOutlets(e, f, family); err != nil {
				p.node.log.Error("peers of another backend cannot be sent to; trying again when leases change", "backend", f.kind, "err", err)
			}
		}
	}
}

// listen opens the port where peers of another kind expect us. It says once
// that it cannot.
func (p *plane) listen(e *ends, f *framing, family int) {
	local := netip.AddrPortFrom(p.outer()[family], f.port)
	port, err := tunnel.OpenPort(p.portOptions(e, f, local))
	if err != nil {
		if text := err.Error(); p.unheard[local] != text {
			p.unheard[local] = text
			p.node.log.Warn("not listening for peers of another backend; trying again when leases change", "backend", f.kind, "err", err)
		}
		return
	}
	delete(p.unheard, local)
	e.ports[f.id][family] = port
	p.node.log.Info("listening for peers of another backend", "backend", f.kind, "addr", local)
	if e.running {
		p.startDown(e, f, family)
	}
}

// openOutlets opens what f's datagrams leave from: the port that receives them,
// or many, for the sake of many source ports.
func (p *plane) openOutlets(e *ends, f *framing, family int) error {
	first, senders := len(e.outlets), len(e.senders)
	if own := e.ports[f.id][family]; own != nil && f.spread == 0 {
		e.outlets = append(e.outlets, own)
	}
	for len(e.outlets)-first < max(1, f.spread) {
		s, err := tunnel.OpenSender(e.ports[0][family], p.portOptions(e, f, netip.AddrPort{}))
		if err != nil {
			for _, s := range e.senders[senders:] {
				err = errors.Join(err, s.Close())
			}
			e.outlets, e.senders = e.outlets[:first], e.senders[:senders]
			return err
		}
		e.senders = append(e.senders, s)
		e.outlets = append(e.outlets, s)
	}
	e.spans[f.id][family] = span{first, len(e.outlets) - first}
	return nil
}

// outer returns our outer addresses by family.
func (p *plane) outer() [2]netip.Addr { return [2]netip.Addr{p.under.Addr, p.under.Addr6} }

func (p *plane) portOptions(e *ends, f *framing, local netip.AddrPort) tunnel.PortOptions {
	return tunnel.PortOptions{Local: local, Allow: p.node.portFeatures(), ECN: f.codec.ECN(), Stop: e.stop, Demoted: p.demote}
}
