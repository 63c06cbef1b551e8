package engine

import (
	"net/netip"

	"weft/engine/route"
	"weft/lease"
	"weft/tunnel"
)

// openOwn opens what peers send to, which a node cannot do without.
func (p *plane) openOwn(e *ends) error {
	own := p.back.framings[0]
	if own.kind == "vxlan" {
		if err := p.takeOver(); err != nil {
			return err
		}
	}
	for i, a := range p.outer() {
		if !a.IsValid() {
			continue
		}
		port, err := tunnel.OpenPort(p.portOptions(e, own, netip.AddrPortFrom(a, own.port)))
		if err != nil {
			return err
		}
		e.ports[own.id][i] = port
		if err := p.openOutlets(e, own, i); err != nil {
			return err
		}
	}
	return nil
}

// takeOver removes the kernel devices that stock flanneld leaves behind when it
// stops: they own the port, and their routes would hide ours.
func (p *plane) takeOver() error {
	removed, err := route.RemoveStock(int(p.back.vteps[0].VNI))
	for _, name := range removed {
		p.node.log.Info("took over from a kernel VXLAN device", "iface", name)
	}
	return err
}

// openOthers opens what is needed to speak to leases of other kinds than our
// own, as far as it is not open yet. A port that cannot be had is one where
// peers cannot reach us in that framing; they have our own.
func (p *plane) openOthers(e *ends, leases []lease.Lease) {
	for i := range leases {
		f, err := p.build.framing(leases[i].Attrs)
		if err != nil || f.id == 0 {
			continue
		}
		for family, a := range p.outer() {
			if !a.IsValid() || e.spans[f.id][family].n > 0 {
				continue
			}
			if f.listens {
				p.listen(e, f, family)
			}
			if err := p.openOutlets(e, f, family); err != nil {
				p.node.log.Error("peers of another backend cannot be sent to; trying again when leases change", "backend", f.kind, "err", err)
			}
		}
	}
}

// listen opens the port where peers of another kind expect us.
func (p *plane) listen(e *ends, f *framing, family int) {
	local := netip.AddrPortFrom(p.outer()[family], f.port)
	port, err := tunnel.OpenPort(p.portOptions(e, f, local))
	if err != nil {
		p.node.log.Warn("not listening for peers of another backend", "backend", f.kind, "err", err)
		return
	}
	e.ports[f.id][family] = port
	p.node.log.Info("listening for peers of another backend", "backend", f.kind, "addr", local)
	if e.running {
		p.startDown(e, f, family)
	}
}

// openOutlets opens what f's datagrams leave from: the port that receives them,
// or many, for the sake of many source ports.
func (p *plane) openOutlets(e *ends, f *framing, family int) error {
	first := len(e.outlets)
	if own := e.ports[f.id][family]; own != nil && f.spread == 0 {
		e.outlets = append(e.outlets, own)
	}
	for len(e.outlets)-first < max(1, f.spread) {
		s, err := tunnel.OpenSender(e.ports[0][family], p.portOptions(e, f, netip.AddrPort{}))
		if err != nil {
			e.outlets = e.outlets[:first]
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
	allow := p.node.allow
	if p.node.opt.TunMode == "plain" {
		allow &^= tunnel.GSO | tunnel.GRO | tunnel.Mmsg
	}
	return tunnel.PortOptions{Local: local, Allow: allow, ECN: f.codec.ECN(), Stop: e.stop, Demoted: p.demote}
}
