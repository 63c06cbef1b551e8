package engine

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"weft/encap"
	"weft/tunnel"
)

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// An answerer sends the ICMP messages that a router owes, at a bounded rate.
// Several loops share one; it is off the hot path and takes a lock.
type answerer struct {
	self [2]netip.Addr // our tunnel addresses, IPv4 and IPv6; zero: none
	// trusted tells whether the kernel takes packets from the device that
	// bear our own address (accept_local). If not, the answer bears the
	// address that could not be reached, which every kernel takes.
	trusted atomic.Bool

	mu     sync.Mutex
	bucket limiter
	buf    [encap.MaxICMP]byte
	gather *tunnel.Gather
	out    *tunnel.Outbox
	sent   atomic.Uint64
}

func newAnswerer(v4, v6 netip.Addr) *answerer {
	return &answerer{self: [2]netip.Addr{v4, v6}, gather: tunnel.NewGather(), out: tunnel.NewOutbox()}
}

// excepts tells whether a packet that is longer than the limit of its path goes out
// all the same: our kernel's reply to an echo that was sent to our tunnel address,
// as long as only a prober has found the limit. Peers ask by such echoes whether
// the path has grown; held to the limit that our prober found, which asks in the
// same way, both would find it confirmed for ever.
func (a *answerer) excepts(on *path, p []byte, h *encap.Header) bool {
	if src := h.Src(p); src != a.self[0] && src != a.self[1] || !encap.EchoReply(p, h) {
		return false
	}
	limit := on.told()
	return limit == 0 || h.Len <= limit
}

func (a *answerer) source(h *encap.Header) netip.Addr {
	if h.Version == 4 {
		return a.self[0]
	}
	return a.self[1]
}

// toPod answers a packet that came from the device. An answer that cannot be
// built or written is let go, and false returned: ICMP is best effort.
func (a *answerer) toPod(dev device, p []byte, h *encap.Header, kind encap.ICMPKind, mtu int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	src := a.source(h)
	if h.Version == 4 && !a.trusted.Load() {
		src = h.Dst(p)
	}
	n := a.build(p, h, kind, src, mtu)
	if n == 0 || dev.Write(a.gather, tunnel.Offload{}, [][]byte{a.buf[:n]}) != nil {
		return false
	}
	a.sent.Add(1)
	return true
}

// toPeer answers a packet that came from a peer, and tells whether it could.
func (a *answerer) toPeer(out port, to *peer, p []byte, h *encap.Header, kind encap.ICMPKind) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.build(p, h, kind, a.source(h), 0)
	return n > 0 && a.send(out, to.addr, to.prefix, a.buf[:n])
}

// neighbour answers the neighbour question in the datagram b, if it is one and
// about our address on the device, with a datagram to the address to.
func (a *answerer) neighbour(out port, codec *encap.VXLAN, to netip.AddrPort, b []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := codec.Answer(a.buf[:], b, a.self)
	if n == 0 || !a.bucket.allow(time.Now()) {
		return false
	}
	return a.send(out, tunnel.NewAddr(to), nil, a.buf[:n])
}

// send sends one datagram. The caller holds mu.
func (a *answerer) send(out port, to *tunnel.Addr, prefix, body []byte) bool {
	n := len(prefix) + len(body)
	m := tunnel.Message{To: to, Pieces: [][]byte{prefix, body}, Size: n, Count: 1, Bytes: n}
	if refused, err := out.Send(a.out, []tunnel.Message{m}); refused > 0 || err != nil {
		return false
	}
	a.sent.Add(1)
	return true
}

func (a *answerer) build(p []byte, h *encap.Header, kind encap.ICMPKind, src netip.Addr, mtu int) int {
	if !src.IsValid() || !a.bucket.allow(time.Now()) {
		return 0
	}
	return encap.ICMP(a.buf[:], p, h, kind, src, mtu)
}

// Rate of ICMP answers: Linux itself sends at most 1,000 a second and 50 in a
// row (icmp_msgs_per_sec, icmp_msgs_burst).
const (
	answersPerSecond = 1000
	answersInARow    = 50
)

// A limiter is a token bucket.
type limiter struct {
	tokens float64
	last   time.Time
}

func (l *limiter) allow(now time.Time) bool {
	if l.last.IsZero() {
		l.tokens = answersInARow
	} else {
		l.tokens = min(answersInARow, l.tokens+now.Sub(l.last).Seconds()*answersPerSecond)
	}
	l.last = now
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}
