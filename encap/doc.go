// Package encap is the arithmetic of the tunnel: the bytes in front of an
// inner packet, and what must be done to a packet so that it can travel.
// It makes no system calls, reads no clock, takes no lock, starts no
// goroutine and writes no log; everything in it can be tested and fuzzed with
// byte slices alone.
//
// # Theory of operation
//
// The kernel hands the engine packets and superpackets. A superpacket is one
// header and up to 64 KB of payload that stands for many packets (GSO). What
// it needs is written beside it in an [Offload], the fields of a virtio-net
// header.
//
// Upwards (pods to wire) a [Cutter] turns a superpacket into segments. A
// segment is two slices: a header block of its own, and a view of the payload
// where it lies. No payload byte is moved:
//
//	read buffer   │ IP TCP │ payload 0 │ payload 1 │ payload 2 │
//	               ╰──┬──╯  ╰────┬────╯ ╰────┬────╯ ╰────┬────╯
//	header arena  │prefix IP TCP│prefix IP TCP│prefix IP TCP│
//	segments      {head 0, body 0} {head 1, body 1} {head 2, body 2}
//
// Downwards (wire to pods) a [Coalescer] does the reverse: consecutive
// packets of one flow become one header and a list of payload views, which a
// single writev gives to the kernel. Superpackets that a kernel peer on the
// same machine sends uncut pass through it as well, described for the device.
//
// Around these two stand the header parser ([Parse]), the Internet checksum
// ([Sum]), the answers a router owes ([ICMP]), IPv4 fragmentation
// ([Fragment]), the encapsulations themselves ([Encapsulator]), and the one
// table of reasons for which a packet can be lost ([Drop]).
package encap
