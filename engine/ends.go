package engine

import (
	"errors"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

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

	lost  [][2]uint32 // what sample has seen of the ports' drops
	queue queueDrops  // and of the device's
}

// tun is a device that can be probed and closed.
type tun interface {
	device
	Probe() error
	Nudge()
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

// openDevice opens the TUN device of a name.
func (n *Node) openDevice(name string, pace tunnel.Pace, stop *tunnel.Stopper, demoted func(tunnel.Feature, error)) (tun, error) {
	o := tunnel.TUNOptions{Name: name, Persist: true, Allow: n.allow, Pace: pace, Stop: stop, Demoted: demoted}
	if n.opt.TunMode == "plain" {
		dev, err := tunnel.OpenPlain(o)
		if err != nil {
			return nil, err // not dev: a nil *Plain would be a tun
		}
		return dev, nil
	}
	dev, err := tunnel.OpenTUN(o)
	if err != nil {
		return nil, err
	}
	return dev, nil
}

// portFeatures are the features that ports may use.
func (n *Node) portFeatures() tunnel.Feature {
	if n.opt.TunMode == "plain" {
		return n.allow &^ (tunnel.GSO | tunnel.GRO | tunnel.Mmsg | tunnel.ECN)
	}
	return n.allow
}

// A demotions is the capabilities that the kernel took back.
type demotions struct{ atomic.Uint32 }

// note says once that the kernel took back f.
func (d *demotions) note(log *slog.Logger, f tunnel.Feature, err error) {
	if old := d.Or(uint32(f)); old&uint32(f) == 0 {
		log.Warn("capability switched off: the kernel refused it", "feature", f.String(), "err", err)
	}
}

// demote says once that the kernel took back a capability.
func (p *plane) demote(f tunnel.Feature, err error) { p.demoted.note(p.node.log, f, err) }

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
	p.up.drop(encap.TunQueueFull, p.ends.queue.news(Device))
}

// A queueDrops is what the kernel has counted of packets that found a device's
// queue full.
type queueDrops struct {
	seen  uint64
	valid bool // seen is set: a kept device has a past
}

// news returns how many there are since the last call; 0 at the first one, and
// when the device cannot be asked.
func (q *queueDrops) news(device string) int {
	link, err := netlink.LinkByName(device)
	if err != nil || link.Attrs().Statistics == nil {
		return 0
	}
	n, was := link.Attrs().Statistics.TxDropped, *q
	*q = queueDrops{n, true}
	if !was.valid || n < was.seen {
		return 0
	}
	return int(n - was.seen)
}

// reserve makes sure that n loops, each of which may hold one of Go's
// processors for the length of a system call, leave enough for all others.
func reserve(n int) {
	if want := runtime.NumCPU() + n; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
}
