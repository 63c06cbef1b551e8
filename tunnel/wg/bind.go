package wg

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"

	"weft/tunnel"
)

// batchSize is how many packets pass through the device together: a superpacket
// of 64 KB and some more.
const batchSize = 128

// maxMessage is the longest message the device has buffers for, in bytes.
const maxMessage = 1<<16 - 1

// A bind is the device's conn.Bind: the ports of the tunnel. The device opens
// and closes it, more than once if its port is changed.
type bind struct {
	t   *Tunnel
	out sync.Pool // of *outgoing

	mu   sync.RWMutex // held while sending
	now  *opening     // nil: closed
	mark uint32
	lost uint64 // datagrams that ports had no room for which are closed
}

var _ conn.Bind = (*bind)(nil)

func newBind(t *Tunnel) *bind {
	return &bind{t: t, out: sync.Pool{New: func() any { return &outgoing{box: tunnel.NewOutbox()} }}}
}

// An opening is the ports of a bind from one Open to the next Close. The last
// of those who use them closes them.
type opening struct {
	stop  *tunnel.Stopper
	ports [2]*tunnel.Port // by family; nil: none
	users atomic.Int32    // the bind and its receivers at work
	done  <-chan struct{} // stop's
	held  chan *heldBack  // initiations that come late
}

// enter reports whether the ports are still open, and keeps them so.
func (o *opening) enter() bool {
	for n := o.users.Load(); n > 0; n = o.users.Load() {
		if o.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

func (o *opening) leave() error {
	if o.users.Add(-1) > 0 {
		return nil
	}
	var errs []error
	for _, p := range o.ports {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	return errors.Join(append(errs, o.stop.Close())...)
}

// Open opens a port for each family. Port 0 is for the kernel to choose.
func (b *bind) Open(port uint16) (fns []conn.ReceiveFunc, actual uint16, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.now != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	stop, err := tunnel.NewStopper()
	if err != nil {
		return nil, 0, err
	}
	o := &opening{stop: stop, done: stop.Done(), held: make(chan *heldBack, 16)}
	o.users.Store(1)
	for family, local := range b.t.opt.Local {
		if !local.IsValid() {
			continue
		}
		p, err := b.t.opt.Open(netip.AddrPortFrom(local, port), stop)
		if err == nil {
			o.ports[family] = p
			err = p.SetMark(b.mark)
		}
		if err != nil {
			err = errors.Join(err, o.leave())
			if b.t.up.Load() { // the port was changed by wg(8), and the device would stay deaf
				b.t.fail(err)
			}
			return nil, 0, err
		}
		port = p.Local().Port() // the second family has the same
		fns = append(fns, newReceiver(b.t, o, p).receive)
	}
	b.now = o
	return append(fns, o.receiveHeldBack), port, nil
}

// Close ends all sending and receiving.
func (b *bind) Close() error {
	b.interrupt()
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.now
	if b.now = nil; o == nil {
		return nil
	}
	b.lost += o.drops()
	return o.leave()
}

// interrupt ends all waiting to send or receive. The device cannot close the
// bind while somebody waits to send: both need its lock.
func (b *bind) interrupt() {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.now != nil {
		b.now.stop.Stop()
	}
}

// SetMark sets the mark of outgoing packets (SO_MARK).
func (b *bind) SetMark(mark uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mark = mark
	if b.now == nil {
		return nil
	}
	var errs []error
	for _, p := range b.now.ports {
		if p != nil {
			errs = append(errs, p.SetMark(mark))
		}
	}
	return errors.Join(errs...)
}

// ParseEndpoint reads ADDRESS:PORT.
func (b *bind) ParseEndpoint(s string) (conn.Endpoint, error) { return parseEndpoint(s) }

// BatchSize returns how many datagrams pass at once.
func (b *bind) BatchSize() int { return batchSize }
