package wg

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/device"

	"weft/tunnel"
)

// Options says how a tunnel is to be run. All fields but Log are needed.
type Options struct {
	Name  string        // of the interface, for the log and for wg(8)
	MTU   int           // of the interface, in bytes
	Key   PrivateKey    // our own
	Local [2]netip.Addr // where to listen, IPv4 and IPv6; zero: not in that family
	Port  uint16        // UDP
	Near  Near
	// Open opens a port that stops with stop.
	Open func(local netip.AddrPort, stop *tunnel.Stopper) (*tunnel.Port, error)
	// Refused is told of n datagrams that the kernel did not take, and why.
	// lane is nil for handshakes.
	Refused func(lane *Lane, err error, n int)
	// Sent is told of packets that were sent, of so many bytes with all that
	// WireGuard adds, in so many messages.
	Sent func(lane *Lane, packets, bytes, messages int)
	// Changed is told when a peer answers a handshake, and when it leaves
	// one unanswered.
	Changed func(lane *Lane, answers bool)
	Log     *slog.Logger // nil: slog.Default
}

// How many packets may be inside the device before we stop reading, in each
// direction. A batch more may enter. Fewer would leave a processor idle while
// the other one seals; more is delay and memory for nothing.
const (
	outwardRoom = 2 * batchSize
	inwardRoom  = 2 * batchSize
)

// A Tunnel is a running WireGuard interface.
type Tunnel struct {
	opt     Options
	log     *slog.Logger
	dev     *device.Device
	bind    *bind
	noteAt  int
	mac1    *mac1
	made    chan struct{} // closed when dev is set
	done    chan struct{} // closed when the tunnel is closing
	up      atomic.Bool   // New has succeeded
	closing atomic.Bool
	calls   sync.WaitGroup
	called  atomic.Int64 // nanoseconds of the Unix epoch: when callOn last acted
	failed  atomic.Pointer[error]

	outward, inward *room
	lanes           *lanes
	sessions        sessions
	crossings       crossings
	lost            losses

	mu      sync.Mutex // guards peers and what follows
	peers   map[PublicKey]Peer
	lane    map[PublicKey]*Lane
	settled time.Time
}

// New starts a tunnel without peers.
func New(o Options) (*Tunnel, error) {
	t := newTunnel(o)
	t.dev = device.NewDevice(newNearEnd(t), t.bind, t.logger())
	close(t.made)
	err := t.dev.IpcSet(fmt.Sprintf("private_key=%s\nlisten_port=%d\n", hex.EncodeToString(o.Key[:]), o.Port))
	if err == nil {
		err = t.dev.Up()
	}
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("wireguard %s: %w", o.Name, err)
	}
	t.up.Store(true)
	return t, nil
}

func newTunnel(o Options) *Tunnel {
	t := &Tunnel{opt: o, log: o.Log, noteAt: notePlace(o.MTU), mac1: newMAC1(o.Key.Public()),
		made: make(chan struct{}), done: make(chan struct{}), outward: newRoom(outwardRoom), inward: newRoom(inwardRoom),
		lanes: newLanes(), peers: map[PublicKey]Peer{}, lane: map[PublicKey]*Lane{}}
	if t.log == nil {
		t.log = slog.Default()
	}
	t.bind = newBind(t)
	return t
}

// Close ends the tunnel and returns when nothing of it is at work any more.
func (t *Tunnel) Close() {
	if !t.closing.Swap(true) {
		close(t.done)
	}
	t.bind.interrupt()
	t.dev.Close()
	<-t.dev.Wait()
	t.calls.Wait() // no receiver adds to them any more
}

// Ended returns a channel that is closed when the tunnel has ended, by Close or
// by itself; then Err says why.
func (t *Tunnel) Ended() <-chan struct{} { return t.dev.Wait() }

// Err returns why the tunnel ended by itself, or nil.
func (t *Tunnel) Err() error {
	if err := t.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// fail ends the tunnel for a reason.
func (t *Tunnel) fail(err error) {
	if t.closing.Load() || errors.Is(err, tunnel.ErrClosed) {
		return
	}
	if t.failed.CompareAndSwap(nil, &err) {
		go func() {
			<-t.made // the device reads before it is made
			t.bind.interrupt()
			t.dev.Close()
		}()
	}
}
