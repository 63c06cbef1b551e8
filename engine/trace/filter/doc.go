// Package filter compiles pcap-filter's language, and the words that a tunnel
// adds to it, into a function over one packet.
//
// # Theory of operation
//
// A text goes through four hands, each of them a file or a few:
//
//	text ─► lex ─► tokens ─► parse ─► tree of tests ─► emit ─► program ─► run
//
// The program is flat: an instruction loads a number from the packet, masks it,
// and goes on at one of two places, depending on whether the number is in a
// range. "and", "or" and "not" are nothing but where a test goes on:
//
//	tcp dst port 80 or 443, of IPv4 (what is known of the version is not asked twice)
//
//	  byte 0 & 0xf0 = 0x40 ─► byte 9 = 6 ─► half 6 & 0x1fff = 0 ─► half h+2 = 80 ─► accept
//	        │ no                 │ no            │ no                  │ no
//	        └────────────────────┴───────────────┴─────────────────────┴──► … 443
//
// Arithmetic that is more than one load, a mask and a number has a program of its
// own, with a stack of sixteen numbers. Nothing jumps back, and a program has
// at most 512 steps, so that nobody's filter can hold up the packets; matching
// makes no system call and allocates nothing.
//
// # What is pcap-filter's
//
// The language is that of pcap-filter(7), and means what libpcap (1.10.3) makes
// of it for raw IP, DLT_RAW, without its optimizer; the tests hold the two
// against each other. Some of that is worth knowing:
//
//   - A load beyond the bytes that there are rejects the packet, also under
//     "not", unless the test before it had decided: "drop or tcp" finds a packet
//     that is dropped and has no bytes, "tcp or drop" does not.
//   - Lengths are those on the wire, loads see the captured bytes.
//   - Ports are looked for in first fragments only, and of IPv6 only directly
//     after the fixed header. "tcp" of IPv6 may have a fragment header before it;
//     tcp[n] is of IPv4 only.
//   - "ip[0] + tcp[0] > 5" asks whether the packet is IPv4, not whether it is TCP:
//     what must be true before a load is taken from the first operand.
//   - % and ^ have no precedence: "a % b + c" is "a % (b + c)".
//   - Words of protocols that a tunnel cannot carry match nothing (arp), those of
//     the link layer are errors (vlan, broadcast).
//   - "ip broadcast" means 255.255.255.255 and 0.0.0.0, as no subnet is known.
//
// Different from libpcap: names are never looked up in DNS; the common names of
// ports and protocols are built in, other names of ports are those of the
// machine's file of services; "proto tcp" needs no backslash; parentheses may be
// nested where its grammar does not foresee it; "byte N & V" looks at the byte;
// "protochain" goes on behind an authentication header, and follows at most
// sixteen headers; "inbound" and "outbound" are "dir in" and "dir out".
//
// # What is weft's
//
// "outer" and "inner" stand before a primitive or an expression in parentheses
// and say which packet's bytes it is about; a value without words of its own is
// about the same packet as the one before it. "peer", "lease", "dir", "vni" and
// "drop" are about the packet as a whole and need no bytes. A "lease" matches if
// the network and one of the other node's subnets overlap, so that it finds the
// leases in a network as well as the lease that an address is in.
package filter

import (
	"net/netip"

	"weft/encap"
)

// A Packet is what a filter looks at. Nothing in it is kept.
type Packet struct {
	Inner    []byte // the inner IP packet, or its first bytes; nil if none could be read
	InnerLen int    // bytes of the inner packet
	Outer    []byte // the outer packet from its IP header on, or its first bytes; only if Filter.Outer
	OuterLen int    // bytes of the outer packet
	In       bool   // from the wire to the pods

	Remote  netip.Addr      // the other node's outer address; zero if not known
	Other   netip.Addr      // its address of the other family; zero if there is none
	Subnets [2]netip.Prefix // of the other node's lease, IPv4 and IPv6; zero if not known
	VNI     uint32          // valid if HasVNI
	HasVNI  bool
	Drop    encap.Drop // Delivered if it was delivered
}
