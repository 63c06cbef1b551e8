package probe

import (
	"log/slog"
	"net/netip"
	"time"
)

// A Target is a peer as far as probing is concerned.
type Target struct {
	Key      string     // names the peer in every call, both ways
	Src, Dst netip.Addr // our tunnel address and the peer's, of one family
	// Alt is the peer's tunnel address of the other family; zero if it has none. It
	// may ask us from there, as it chooses the family by itself.
	Alt      netip.Addr
	MTU      int // bytes of the longest inner packet if the path has no limit
	Overhead int // bytes that the wire has around an inner packet, outer headers included
	// Pad is what the tunnel fills inner packets up to: the next multiple of so many
	// bytes, or MTU if that is less (WireGuard: 16). Sizes that are tried, and limits,
	// are multiples of it or MTU. 0 and 1: it fills up nothing.
	Pad int
	// Path names the outer way, as in "vxlan 192.0.2.7". When it, Src or Dst
	// changes, what was measured is forgotten; when anything else does, what was
	// learnt of the path's limit, but for Alt.
	Path string
}

// A Sender puts an inner packet into the tunnel to the peer with the key. The
// packet is the callee's only during the call. The learnt limit of the path
// must not be applied, or nobody would notice that a path has grown. An error
// that is unix.EMSGSIZE says that a packet of this size cannot leave.
type Sender func(key string, packet []byte) error

// Options are what a [Prober] needs of its surroundings. The functions are
// called from the goroutine of [Prober.Run] (Send and SendOuter also from
// those of Ping, Ask and Underlay), never with a lock held.
type Options struct {
	Send Sender
	// SendOuter sends a datagram to the peer's tunnel port, from where tunnel
	// datagrams to it leave. Nil: there is no underlay probe.
	SendOuter func(key string, datagram []byte) error
	// Limit is told what was learnt of a path: the bytes of the longest inner
	// packet that passes; 0: there is no limit below the target's MTU.
	Limit func(key string, inner int)
	// Changed is told when a peer begins or ceases to answer, when the limit of
	// its path or Searching changes, and when it told something new of itself.
	Changed func(key string, s State)
	// Answer says what this node tells peers that ask. Nil: nothing; then
	// questions are not taken from the stream of packets.
	Answer Answerer
	// Interval is the time between echoes to a peer that answers; 10 s if 0.
	Interval time.Duration
	// Passive has nothing sent that nobody asked for: no echoes, searches or
	// questions in the background. Peers are answered, and Ping, Ask and Underlay
	// work; of a State nothing but its zero value becomes known.
	Passive bool
	Log     *slog.Logger // nil: none
}

// A State is what is known about a peer.
type State struct {
	FirstTried time.Time // when the first echo was sent; zero: none yet
	Sent       uint64    // background echoes of small size, so far
	Answered   uint64
	LastAnswer time.Time     // to any echo
	Alive      bool          // it answered, and the latest three echoes whose time has passed are not all lost
	RTT        time.Duration // of the latest answered echo; 0: none
	MinRTT     time.Duration // the least of those that Loss is about
	SRTT       time.Duration // smoothed (RFC 6298)
	Loss       float64       // 0 to 1, of the latest echoes whose time has passed
	Window     int           // how many echoes Loss is about, 0 to 20
	SendErr    error         // why the latest echo could not be sent; nil: it left

	Limit     int       // bytes of the longest inner packet that passes; 0: no limit is known
	PathMTU   int       // bytes of the longest inner packet that was seen to pass; 0: not known
	Probed    time.Time // when Limit was last made sure of; zero: never
	Searching bool      // Limit is being looked for

	Asked    time.Time      // when the peer last told about itself, or refused to
	Weft     string         // its version; empty: not known to be a weft node
	Observed netip.AddrPort // where our question came from as the peer saw it
	View     Answer         // all that it told last, about the way to Target.Src
}

// An Answerer tells how this node would treat a packet to the inner address
// about. It is called from the goroutine of [Prober.Run].
type Answerer func(about netip.Addr) View

// A View is what a node says about an inner address.
type View struct {
	Version string         // of the node; 32 bytes are sent
	Kind    string         // how it would send: udp, vxlan, wireguard, direct; empty: it would not; 12 bytes are sent
	Outer   netip.AddrPort // to where; zero: nowhere. The port may be 0
	Lease   bool           // it knows a lease that holds the address
	MTU     int            // bytes of the longest inner packet it would send there; 0: not known
}

// An Answer is what a peer told.
type Answer struct {
	View
	Observed netip.AddrPort // where our question came from, on the outside
}
