// Package wg runs a WireGuard interface: wireguard-go's device between the two
// ends of package tunnel. The device has the protocol, the ciphers and the
// sessions; the ends have the batches, the superpackets and the bounds.
//
// # Theory of operation
//
// The device reads from a tun.Device and sends by a conn.Bind. Both are ours:
//
//	pods ─► TUN ─► Near.Read ──┐                      ┌── bind.Send ─► port ─► wire
//	               look up,    │  device: stage, seal, │   runs, UDP_SEGMENT
//	               cut         └► one sender per peer ─┘
//	pods ◄─ TUN ◄─ Near.Write ─┐                      ┌── receiver ◄─ port ◄─ wire
//	               join,       │  device: open, check  │   UDP_GRO, vet
//	               superpackets└◄ replay and source ◄──┘
//
// [Near] is what the engine makes of the TUN device: it knows routes and cuts
// and joins superpackets. The device gets whole batches of packets from it, and
// hands whole batches back.
//
// # What the device does not tell
//
// The device drops packets without a word, and it has queues without a bound.
// Neither needs a change in it, because all that enters and leaves it passes
// through our ends, in buffers that it neither copies nor moves:
//
//	0        4        8          16                          noteAt
//	| type 4 | index  | counter  | packet … | tag |  unused  | ord │ lane │ ecn │
//	╰─ transport header, in clear ╯                          ╰─ note, ours ─────╯
//
// Behind the longest datagram lies a [note], by which an end recognises what
// the other one put in: the peer of a packet and its congestion bits on the way
// out; on the way in the number that the datagram had in its session. A peer's
// datagrams leave the device in the order in which they came, so a number that
// is missing was dropped. On the way out the ends count packets by peer, and
// stop reading while too many are inside.
//
// Handshake messages show which sessions there are: their sender's index is
// what transport messages to us will bear. With the authenticated counters of
// each session a replayed datagram is known before it costs anything.
//
// Of two initiations that cross each other one is held back for a moment ([crossings]).
// And since TCP lets wait what it can, a datagram is dropped or marked now and
// then while the queue in front of the device stands ([codel]).
//
// The rest the device tells its log, a line for each event; the lines that mean
// a packet dropped or a session made are read as the events they are.
package wg
