package wg

import "sync/atomic"

// A Loss is the reason why the tunnel did not deliver something.
type Loss uint8

// The losses. Those marked in are of datagrams from the wire, those marked out
// of packets from the pods.
const (
	NotMessage     Loss = iota // in: not a WireGuard message
	BadHandshake               // in: a handshake message that was refused
	UnknownSession             // in: for no session of ours
	Replayed                   // in: its counter was used before
	Forged                     // in: it could not be authenticated
	BadSource                  // in: the inner source is not the peer's
	NotIP                      // in: authentic, but no IP packet
	Overdue                    // in: it had waited too long, as all before it; see codel
	NoSession                  // out: the peer did not answer for a long time
	NumLosses                  // how many there are
)

// losses counts them.
type losses struct {
	n [NumLosses]atomic.Uint64

	// Datagrams that the device took and did not give back. It says why of
	// some. The others failed their authentication; or their session has
	// expired or was its peer's that is removed, which it does not tell.
	vanished  atomic.Uint64
	explained atomic.Uint64
	// Keepalives hold no packet and so are not given back either.
	keepalives     atomic.Uint64 // taken
	keepalivesGood atomic.Uint64 // that the device found authentic
	keepalivesSeen uint64        // taken when settled last; guarded by settle's caller
	keepalivesLost uint64
}

func (l *losses) add(why Loss, n uint64) { l.n[why].Add(n) }

// forged brings the number of forged datagrams up to date.
func (l *losses) forged() {
	vanished, explained := l.vanished.Load(), l.explained.Load()
	if vanished > explained {
		l.raise(Forged, vanished-explained+l.keepalivesLost)
	} else {
		l.raise(Forged, l.keepalivesLost)
	}
}

// raise sets a count that must never fall.
func (l *losses) raise(why Loss, to uint64) {
	for {
		was := l.n[why].Load()
		if was >= to || l.n[why].CompareAndSwap(was, to) {
			return
		}
	}
}

// settleKeepalives finds the forged ones among those taken before the last call.
func (l *losses) settleKeepalives() {
	if good := l.keepalivesGood.Load(); l.keepalivesSeen > good {
		l.keepalivesLost = max(l.keepalivesLost, l.keepalivesSeen-good)
	}
	l.keepalivesSeen = l.keepalives.Load()
}
