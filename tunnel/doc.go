// Package tunnel holds the two ends of the tunnel: the TUN device towards the
// pods and the UDP port towards the peers. It moves bytes between user memory
// and the kernel in as few system calls, wake-ups and copies as the kernel at
// hand allows. It knows nothing of packets' headers, peers, leases or routes.
//
// # Theory of operation
//
// Both ends work in batches of borrowed memory. A [Batch] receives what a TUN
// queue has to give, an [Inbox] what a port has received; each is allocated
// once and belongs to one loop. What is written is described by gather lists
// ([][]byte) that point into such memory, so payload is copied by the kernel
// only.
//
//	             Batch                                  Message
//	TUN ──read──► │packet│packet│superpacket│  ──gather──► sendmsg + UDP_SEGMENT ──► port
//	    ◄─writev── gather list of one superpacket ◄────── │64 KB│64 KB│ ◄──recvmmsg── port
//	                                                        Inbox
//
// The TUN speaks virtio-net headers (IFF_VNET_HDR), so that the kernel hands
// over superpackets of up to 64 KB and takes them back (TSO, USO). The port
// uses UDP_SEGMENT and UDP_GRO, which carry a run of equally long datagrams
// through the network stack as one. Beside a message go the congestion bits of
// its outer header, so that an encapsulation can hand them through (RFC 6040).
//
// One port receives. Where peers and networks tell flows apart by the outer
// source port, several more that only send stand beside it ([OpenSender]).
//
// # Waiting
//
// Descriptors are non-blocking. A loop drains its end, and when the end is
// empty it yields the processor a few times before it sleeps in ppoll: what a
// yield costs is little, what a wake-up costs is tens of microseconds, and
// under load the next packet is usually already on its way. Each sleep also
// waits for the [Stopper], so that closing is prompt and certain. Only the
// yield and calls that cannot block are made without telling Go's scheduler.
//
// # Capabilities
//
// What the kernel can do is found out by trying ([Feature], [TUN.Probe],
// [OpenPort]); each capability can be switched off by naming it in the
// environment variable WEFT_DISABLE. A refusal while running demotes the
// capability, is reported once, and what was refused is sent again without
// it.
package tunnel
