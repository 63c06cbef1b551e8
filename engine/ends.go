package engine

import (
	"errors"
	"os"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"

	"weft/encap"
	"weft/tunnel"
)

// ends is one incarnation of what the loops stand between, and of the loops.
type ends struct {
	stop    *tunnel.Stopper
	dev     tun
	ports   [][2]*tunnel.Port // that receive, by framing and family; nil: there is none
	senders []*tunnel.Port    // that only send
	outlets []port            // all that send
	spans   [][2]span         // of outlets, by framing and family

	loops   sync.WaitGroup
	running bool       // loops may be started
	count   int        // loops started
	ended   chan error // what the first loop ended with

	lost      [][2]uint32 // what sample has seen of the ports' drops
	queueFull uint64      // and of the device's
	sampled   bool        // queueFull is set: a kept device has a past
}

// tun is a device that can be probed and closed.
type tun interface {
	device
	Probe() error
	Close() error
}

func newEnds(framings int) (*ends, error) {
	stop, err := tunnel.NewStopper()
	return &ends{stop: stop, ports: make([][2]*tunnel.Port, framings), spans: make([][2]span, framings),
		lost: make([][2]uint32, framings), ended: make(chan error, 1)}, err
}

// start runs a loop on a thread of its own. When one ends, all do.
func (e *ends) start(loop func() error) {
	e.count++
	reserve(e.count)
	e.loops.Go(func() {
		runtime.LockOSThread() // for good: the thread ends with the loop
		err := loop()
		e.stop.Stop()
		select {
		case e.ended <- err:
		default:
		}
	})
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

// close ends all waiting and frees the ends. The loops must have ended.
func (e *ends) close() error {
	e.stop.Stop()
	var errs []error
	for _, pair := range e.ports {
		for _, port := range pair {
			if port != nil {
				errs = append(errs, port.Close())
			}
		}
	}
	for _, port := range e.senders {
		errs = append(errs, port.Close())
	}
	if e.dev != nil {
		errs = append(errs, e.dev.Close())
	}
	return errors.Join(append(errs, os.NewSyscallError("close", e.stop.Close()))...)
}

// features returns what the ends use.
func (e *ends) features() tunnel.Feature {
	f := e.dev.Features()
	for _, pair := range e.ports {
		for _, port := range pair {
			if port != nil {
				f |= port.Features()
			}
		}
	}
	return f
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
	for f, pair := range p.ends.ports {
		for i, port := range pair {
			if port == nil {
				continue
			}
			if n, err := port.Drops(); err == nil {
				p.down[f][i].drop(encap.SockRecvFull, int(n-p.ends.lost[f][i]))
				p.ends.lost[f][i] = n
			}
		}
	}
	if link, err := netlink.LinkByName(Device); err == nil && link.Attrs().Statistics != nil {
		n := link.Attrs().Statistics.TxDropped
		if p.ends.sampled && n > p.ends.queueFull {
			p.up.drop(encap.TunQueueFull, int(n-p.ends.queueFull))
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
