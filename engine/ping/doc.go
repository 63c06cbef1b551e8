// Package ping sends echoes to a peer layer by layer, and says in words which
// layer is the first that fails.
//
// # Theory of operation
//
// A packet between two pods passes through five things that can each eat it. Four
// echoes, each of which leaves one of them out, tell which it was:
//
//	      pod ─► bridge ─► kernel ─► flannel0 ─► weft ─► underlay ─► ...  the same, mirrored
//	pod           ├───────────────────────────────────────────────►        bridge to bridge, or pod
//	kernel                 ├──────────────────────────────────────►        tunnel address to tunnel address
//	engine                                       ├────────────────►        the same addresses, but the node makes the packet
//	underlay                                             ├────────►        outer address to outer address
//
// The underlay layer goes beside the tunnel and in two ways: ICMP, which hosts
// and routers answer but firewalls often eat, and a datagram to the tunnel's own
// port, which only a weft node answers. That one of them works is enough.
//
// An echo is a packet of the size that was asked for, in bytes of the whole IP
// packet as that layer sees it: the outer one in the layer underlay, the inner one
// in all others. The far kernel answers the others, be its node weft or flanneld.
//
// A sweep first sends the usual echoes. If any is answered it searches by halves
// for the largest packet that passes with "don't fragment" set. The way is asked
// first how long it believes a packet may be, and whoever refuses a packet with
// the length that would do has that length tried next, but nobody is believed
// unseen.
//
// [Run] hands on every echo as it ends, then what each layer came to, then the
// verdict. The last line names in its field Layer the layer that fails; it is
// empty if none does that matters: a silent underlay does not if the tunnel
// works.
package ping
