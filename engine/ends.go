package engine

import (
	"errors"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"

	"weft/encap"
	"weft/tunnel"
)

// ends is one incarnation of what the loops stand between.
type ends struct {
	stop  *tunnel.Stopper
	dev   tun
	ports [2]*tunnel.Port

	lost      [2]uint32 // what sample has seen of the ports' drops
	queueFull uint64    // and of the device's
	sampled   bool      // queueFull is set: a kept device has a past
}

// tun is a device that can be probed and closed.
type tun interface {
	device
	Probe() error
	Close() error
}

// openPorts binds a UDP port for each family of the underlay.
func (p *plane) openPorts(e *ends) (err error) {
	allow := p.node.allow
	if p.node.opt.TunMode == "plain" {
		allow &^= tunnel.GSO | tunnel.GRO | tunnel.Mmsg
	}
	for i, a := range [2]netip.Addr{p.under.Addr, p.under.Addr6} {
		if !a.IsValid() {
			continue
		}
		e.ports[i], err = tunnel.OpenPort(tunnel.PortOptions{Local: netip.AddrPortFrom(a, p.back.port),
			Allow: allow, Stop: e.stop, Demoted: p.demote})
		if err != nil {
			return err
		}
	}
	return nil
}

// openDevice opens the TUN device.
func (p *plane) openDevice(e *ends) error {
	o := tunnel.TUNOptions{Name: Device, Persist: true, Allow: p.node.allow, Stop: e.stop, Demoted: p.demote}
	if p.node.opt.TunMode == "plain" {
		dev, err := tunnel.OpenPlain(o)
		if err != nil {
			return err
		}
		e.dev = dev
		return nil
	}
	dev, err := tunnel.OpenTUN(o)
	if err != nil {
		return err
	}
	e.dev = dev
	return nil
}

// demote says once that the kernel took back a capability.
func (p *plane) demote(f tunnel.Feature, err error) {
	if old := p.demoted.Or(uint32(f)); old&uint32(f) == 0 {
		p.node.log.Warn("capability switched off: the kernel refused it", "feature", f.String(), "err", err)
	}
}

// close ends all waiting and frees the ends. The loops must have ended, or be
// about to find that they have.
func (e *ends) close() error {
	e.stop.Stop()
	var errs []error
	for _, port := range e.ports {
		if port != nil {
			errs = append(errs, port.Close())
		}
	}
	if e.dev != nil {
		errs = append(errs, e.dev.Close())
	}
	return errors.Join(append(errs, os.NewSyscallError("close", e.stop.Close()))...)
}

// sample adds to the counters what the kernel has dropped around the ends since
// the last sample: datagrams that found a port's receive buffer full, and
// packets that found the device's queue full.
func (p *plane) sample() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ends == nil {
		return
	}
	for i, port := range p.ends.ports {
		if port == nil {
			continue
		}
		if n, err := port.Drops(); err == nil {
			p.counts[1+i].drop(encap.SockRecvFull, int(n-p.ends.lost[i]))
			p.ends.lost[i] = n
		}
	}
	if link, err := netlink.LinkByName(Device); err == nil && link.Attrs().Statistics != nil {
		n := link.Attrs().Statistics.TxDropped
		if p.ends.sampled && n > p.ends.queueFull {
			p.counts[0].drop(encap.TunQueueFull, int(n-p.ends.queueFull))
		}
		p.ends.queueFull, p.ends.sampled = n, true
	}
}

// reserve makes sure that n loops, each of which may hold one of Go's
// processors for the length of a system call, leave enough for all others.
func reserve(n int) {
	if want := runtime.NumCPU() + n; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
}
