package engine

import (
	"context"
	"net/netip"
	"time"

	"weft/encap"
	"weft/engine/control"
	"weft/lease"
)

// A dataPlane carries packets between the pods and the peers. The ends it
// carries between can be lost and opened again; what it knows of the cluster,
// and the counters, stay.
type dataPlane interface {
	open(ctx context.Context) error  // opens the ends, and makes the kernel's state what it must be
	isOpen() bool                    // there are ends
	carry(ctx context.Context) error // carries until the ends fail or ctx ends
	lose()                           // closes the ends

	// setPeers makes the leases the peers, and returns those that cannot be;
	// refused are those that were not believed before. reached returns those
	// of the peers that packets can be sent to.
	setPeers(ctx context.Context, leases []lease.Lease, refused []lease.Refusal) []lease.Refusal
	reached(leases []lease.Lease) []lease.Lease

	// inject sends an inner packet of our own into the tunnel, past the device,
	// and injectOuter a datagram of our own beside it.
	inject(packet []byte) error
	injectOuter(key string, datagram []byte) error

	// fars returns all peers, with what is known only elsewhere if full; farOf the
	// one that owns an inner address. describe tells of the ends.
	fars(full bool) []far
	farOf(a netip.Addr) (far, bool)
	describe(*control.Engine)
	hear(now time.Time)                     // notes who was heard since the last call
	lost() (out, in [encap.NumDrops]uint64) // packets, by reason

	relearn(ctx context.Context) error // looks at limited paths again
	sample()                           // counts what was lost around the ends

	Up() Traffic
	Down() Traffic
	Drops() map[string]uint64
}

// carryOn carries packets until ctx ends. Ends that were lost, as when somebody
// deletes the device, are opened again, ever more slowly if that does not last.
func (n *Node) carryOn(ctx context.Context, p dataPlane) error {
	const cause = "the data plane is down"
	const first, last, proven = 100 * time.Millisecond, 5 * time.Second, 5 * time.Second
	for wait := first; ; wait = min(2*wait, last) {
		if p.isOpen() {
			began := time.Now()
			holds := time.AfterFunc(first, func() { n.mend(cause) })
			err := p.carry(ctx)
			holds.Stop()
			p.lose()
			if ctx.Err() != nil {
				return nil
			}
			n.fail(cause)
			n.log.Error("data plane lost; opening it again", "err", err)
			if time.Since(began) > proven {
				wait = first
			}
		}
		if !sleep(ctx, wait) {
			return nil
		}
		if err := p.open(ctx); err != nil {
			n.log.Error("data plane not opened; trying again", "err", err)
		}
	}
}
