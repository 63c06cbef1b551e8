// Package echo sends ICMP echo requests to one address and tells what came
// back: the answer, or the message that says why there is none, and from whom.
//
// # Theory of operation
//
// A [Conn] is an ICMP socket that is bound to a source, if one is given, and
// connected to a destination, so that the kernel chooses the route as it would
// for any packet from the one to the other. It is a raw socket where that is
// allowed (CAP_NET_RAW), and else the kernel's ping socket, which is allowed to
// the groups in net.ipv4.ping_group_range.
//
// What routers, the far host and our own kernel have to object comes through the
// socket's error queue (IP_RECVERR, ip(7)): both kinds of socket have it, it
// tells who sent the message, and it quotes the request's ICMP header, so that an
// objection finds the request that it is about, however late it comes.
//
//	 0               1               2               3
//	+---------------+---------------+-------------------------------+
//	| type          | code 0        | checksum                      |
//	+---------------+---------------+-------------------------------+
//	| identifier, ours              | sequence number               |
//	+-------------------------------+-------------------------------+
//	| token, 8 bytes, drawn when the Conn is opened                 |
//	+---------------------------------------------------------------+
//	| 8, 9, 10, ... : the offset of each byte, modulo 256           |
//	+---------------------------------------------------------------+
//
// An answer must bear every byte of its request (RFC 792, RFC 4443 4.2). One that
// does not is an error of its own, [ErrDamaged]: the path changes packets.
//
// Sizes are bytes of the whole IP packet, with an IP header that has no options.
package echo
