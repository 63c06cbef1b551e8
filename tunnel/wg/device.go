package wg

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/tun"

	"weft/tunnel"
)

// An Outgoing is a packet that Near read for the device.
type Outgoing struct {
	Size int   // bytes
	Lane *Lane // whose it is
	ECN  uint8 // its congestion bits (RFC 3168)
}

// Near is the side of the pods, which the device reads from and writes to.
type Near interface {
	// Read waits for packets and writes each into one of bufs from offset
	// on, which has room for any. It says of each what it is in out, and
	// returns how many there are. Only packets that their Lane admitted may
	// be among them. It returns tunnel.ErrClosed after Stop.
	Read(bufs [][]byte, offset int, out []Outgoing) (int, error)
	// Write takes authenticated packets of one peer, which begin at offset
	// in bufs; ecn are the congestion bits of the datagrams they came in.
	// Several may be at work at once.
	Write(bufs [][]byte, offset int, ecn []uint8) error
	// Stop ends all waiting.
	Stop()
}

// A nearEnd is the device's tun.Device: Near, and the account of what enters
// and leaves the device.
type nearEnd struct {
	t      *Tunnel
	out    []Outgoing
	timer  *time.Timer
	events chan tun.Event
	once   sync.Once
	marks  sync.Pool // of *[]uint8
}

var _ tun.Device = (*nearEnd)(nil)

func newNearEnd(t *Tunnel) *nearEnd {
	n := &nearEnd{t: t, out: make([]Outgoing, batchSize), timer: time.NewTimer(time.Hour), events: make(chan tun.Event)}
	n.timer.Stop()
	n.marks.New = func() any { s := make([]uint8, 0, batchSize); return &s }
	return n
}

// Read gives the device packets to send, once there is room for them.
func (n *nearEnd) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	if !n.t.outward.wait(n.timer, n.t.done) {
		n.t.lanes.stalled()
	}
	count, err := n.t.opt.Near.Read(bufs, offset, n.out[:len(bufs)])
	inside := 0
	for i := range n.out[:count] {
		o := &n.out[i]
		sizes[i] = o.Size
		tn := note{lane: o.Lane.id, ecn: o.ECN}
		tn.put(bufs[i], n.t.noteAt, offset+padded(o.Size, n.t.opt.MTU)+tagBytes)
		if o.Lane.open.Load() {
			inside++
		}
	}
	n.t.outward.take(inside)
	if errors.Is(err, tunnel.ErrClosed) {
		err = os.ErrClosed
	}
	if err != nil {
		n.t.fail(err)
	}
	return count, err
}

// padded is how long the device makes a packet before it seals it, in bytes.
func padded(size, mtu int) int {
	last := size
	if last > mtu {
		last %= mtu
	}
	return size - last + min((last+15)&^15, mtu)
}

// Write takes what the device has authenticated, all of one peer and in the
// order of arrival.
func (n *nearEnd) Write(bufs [][]byte, offset int) (int, error) {
	marks := n.marks.Get().(*[]uint8)
	defer n.marks.Put(marks)
	*marks = (*marks)[:0]
	var id uint32
	var s *session
	var lost, done uint64
	for _, b := range bufs {
		if i := binary.LittleEndian.Uint32(b[4:]); s == nil || i != id {
			id, s = i, n.t.sessions.find(i)
		}
		tn := noteOf(b, n.t.noteAt, len(b)+tagBytes)
		if s != nil { // its index may have been forgotten a moment ago
			s.mark(binary.LittleEndian.Uint64(b[8:]))
			l, d := s.came(tn.ord)
			if d == 0 { // it may have been padded to more than we know of
				tn = noteOf(b, n.t.noteAt, n.t.noteAt+1)
				l, d = s.came(tn.ord)
			}
			lost, done = lost+l, done+d
		}
		*marks = append(*marks, tn.ecn)
	}
	if lost > 0 {
		n.t.lost.vanished.Add(lost)
	}
	n.t.inward.give(int(done))
	return len(bufs), n.t.opt.Near.Write(bufs, offset, *marks)
}

// MTU returns the longest packet that is padded as one, in bytes.
func (n *nearEnd) MTU() (int, error) { return n.t.opt.MTU, nil }

// Name returns the interface's name.
func (n *nearEnd) Name() (string, error) { return n.t.opt.Name, nil }

// File returns no file: the descriptor is not the device's business.
func (n *nearEnd) File() *os.File { return nil }

// Events returns a channel on which nothing ever comes: the interface is up
// for as long as it is there.
func (n *nearEnd) Events() <-chan tun.Event { return n.events }

// BatchSize returns how many packets pass at once.
func (n *nearEnd) BatchSize() int { return batchSize }

// Close ends all waiting.
func (n *nearEnd) Close() error {
	n.once.Do(func() {
		n.t.opt.Near.Stop()
		close(n.events)
	})
	return nil
}
