// Package probe finds out how a node's peers fare: whether they answer, how soon,
// how long packets to them may be, and what they say of themselves. It needs no
// help of pods and no rules of the kernel, and for the most part none of the peer.
//
// # Theory of operation
//
// A [Prober] makes inner packets from our tunnel address to a peer's, which are
// the first addresses of the two subnets, and reads what comes back. It has no
// sockets: packets leave by functions that the data plane gives, and come in by
// Input and InputOuter.
//
//	       ┌────────────────────── Prober ──────────────────────┐
//	Set ──►│ peers ─► schedule ─► echo │ path │ ask ──► Send ───┼─► tunnel
//	State ◄│   ▲                                                │
//	       │   └── Run ◄─ replies ◄───────── Input ◄────────────┼── packets for our
//	Limit ◄│        ▲ └◄─ asks ◄─ gate ◄───────┘                │   tunnel address
//	Changed│        └─ answers to peers that ask ──► Send ──────┼─► tunnel
//	       └────────────────────────────────────────────────────┘
//
// One goroutine, that of Run, has one timer, a heap of peers by what is due next,
// and a token bucket: 200 messages a second at most, whatever the number of peers.
// Above 2,000 peers the interval grows by itself. Input only reads: a packet that
// is not ours costs a look at its header, one that is goes through a bounded
// queue: replies, known by their seal, through one that nothing else can fill and
// that goes first, and questions through another, if the [gate] lets them in. There
// is no timer and no goroutine for a peer, and a message in the air is forgotten
// after 15 seconds.
//
// # Echoes
//
// An ICMP echo ([Echo]) to the tunnel address is answered by every peer: the
// kernel of a stock flanneld node does it, since the address is one of its own.
// The first few go out quickly, later ones once in an interval; while none comes
// back every two seconds until three are lost in a row, and then ever more
// rarely, to once a minute for peers that never answered. An answered echo shows
// that both ways work, the tunnel and the peer's data plane included. One that
// is not says little by itself: a host may refuse echoes and still carry packets.
// All echoes to a peer are one flow: where the network spreads flows over
// several paths, it is one of these that is tried. With the wireguard backend
// they keep the session alive.
//
// A payload bears a token of 64 random bits, and a seal by which a reply is known
// to be to an echo of this process. What anyone else pings with is left to the
// kernel.
//
// # Path MTU
//
// Echoes of full size tell how long packets may be, in the manner of RFC 8899: a
// path that swallows long packets without a word (a black hole) is found, which
// the kernel's own path MTU discovery does not manage. When the full size is not
// answered while small echoes are ([trial] says how sure that is), sizes below it
// are tried ([search] says in which order), and only when one passes and, asked
// again, the full size still does not, is there a limit. Every ten minutes it is
// made sure of, and the path may have grown. A size with which Send fails with
// EMSGSIZE, or for which a router inside sends "packet too big", needs no trial.
// Where the tunnel pads packets, only sizes that are not padded are tried.
//
// The reply to an echo is as long as the echo. So the limit is that of the
// narrower direction; of a path that is narrow on the way back only, it is more
// careful than need be. And a peer that answers small echoes and long ones up to
// some size above 576 (IPv6: 1280) bytes, for reasons of its own, looks the same
// as a path that is so narrow. One that answers only shorter ones gets no limit.
//
// # Questions to weft nodes
//
// A [query] asks another weft node, in an inner UDP datagram, how it would treat
// a packet to some inner address, and from where on the outside the question came
// to it. Each peer is asked when it begins to answer, and again every ten minutes,
// about our own tunnel address: that is the way back. A kernel refuses the
// datagram at once (port unreachable), by which a node that is not weft is known.
// Answers are no longer than questions, go only to the tunnel addresses of peers,
// and at most five a second to each and a hundred to all; what a peer's pod sends
// in this form is left to the kernel.
//
// # Beside the tunnel
//
// A [Datagram] goes from node to node in the clear, to the tunnel's port, in one
// of several forms ([Form]). If the noise arrives and what is shaped like VXLAN
// does not, then something on the path eats VXLAN; if neither does, the port is
// closed or the node is not there. The answer shows whether addresses are
// translated on the way. It goes to where all datagrams to the peer go, and not
// to the source of the probe, so nobody can be made the target of answers. Stock
// flanneld and the kernel drop all forms (flanneld's udp proxy may log the noise
// as a failed write). With the wireguard backend there is nothing beside the
// tunnel.
//
// # What is asked of the engine
//
//   - Send and SendOuter may be called by several goroutines. Send must not
//     apply learnt limits, and takes no part in the pods' statistics.
//   - Input gets the inner packets for our tunnel address that passed the source
//     check: the seal proves that a reply is to an echo of ours, not that it comes
//     from the tunnel's other end. What it takes is not written to the device.
//   - InputOuter gets datagrams from the outer addresses of peers only. Those of
//     the ip-shaped form open as inner packets; they are found where a TTL of 1
//     ends.
//   - A target's Path changes whenever its datagrams go elsewhere.
package probe
