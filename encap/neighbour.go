package encap

import (
	"encoding/binary"
	"net/netip"
)

// Neighbour discovery messages (RFC 4861 sections 4.3, 4.4 and 4.6.1).
const (
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136

	optSourceLinkLayer = 1
	optTargetLinkLayer = 2

	advertRouter    = 0x80
	advertSolicited = 0x40
	advertOverride  = 0x20
)

// arpEthernetIPv4 are the first six bytes of an ARP packet that speaks of
// IPv4 over Ethernet (RFC 826): hardware type, protocol type, their lengths.
const arpEthernetIPv4 = 0x0001_0800_06_04

const (
	arpSize    = 28
	advertSize = 24 + 8 // a neighbour advertisement with its one option

	// MaxNeighbour is the size of the largest answer to a neighbour, in bytes.
	MaxNeighbour = vxlanOverhead + 40 + advertSize
)

// Answer writes into buf (at least [MaxNeighbour] bytes) the datagram that
// answers the neighbour question in datagram, which [VXLAN.Open] has called
// [Neighbour], and returns its length. flannel's nodes have permanent entries
// for each other and never ask; a foreign VTEP may. self are our addresses on
// the tunnel device, IPv4 and IPv6; one that is not valid is not asked for.
//
// It returns 0 when there is nothing to answer: the frame is not for our
// VTEP, malformed, about another address, a statement rather than a question
// (gratuitous ARP, ARP replies, advertisements), or from nobody to whom an
// answer could be addressed. Group policies are not looked at: who our VTEP is
// stands in the lease store anyway.
func (v *VXLAN) Answer(buf, datagram []byte, self [2]netip.Addr) int {
	if _, drop := v.Open(datagram); drop != Neighbour {
		return 0
	}
	asker := [6]byte(datagram[14:])
	if asker[0]&1 != 0 || asker == [6]byte{} {
		return 0
	}
	p := datagram[vxlanOverhead:]
	if binary.BigEndian.Uint16(datagram[20:]) == etherARP {
		return v.answerARP(buf, p, asker, self[0])
	}
	return v.answerSolicitation(buf, p, asker, self[1])
}

//	 0                   1                   2                   3
//	+-------------------------------+-------------------------------+
//	|  hardware type: 1, Ethernet   |  protocol type: 0800, IPv4    |  0
//	+---------------+---------------+-------------------------------+
//	|  length: 6    |  length: 4    |  operation: 1 asks, 2 tells   |  4
//	+---------------+---------------+-------------------------------+
//	|  sender: Ethernet address, IPv4 address                       |  8
//	|  target: Ethernet address, IPv4 address                       | 18
//
// A sender of 0.0.0.0 probes whether its address is taken (RFC 5227); it is
// told. One that asks for its own address only makes itself known.
func (v *VXLAN) answerARP(buf, p []byte, asker [6]byte, self netip.Addr) int {
	if len(p) < arpSize || !self.Is4() || v.MACs[0] == [6]byte{} ||
		binary.BigEndian.Uint64(p)>>16 != arpEthernetIPv4 || binary.BigEndian.Uint16(p[6:]) != 1 {
		return 0
	}
	sender, target := p[8:18], [4]byte(p[24:])
	if target != self.As4() || target == [4]byte(p[14:]) {
		return 0
	}
	b := appendFrame(buf[:0:MaxNeighbour], v.VNI, asker, v.MACs[0], etherARP)
	b = binary.BigEndian.AppendUint64(b, arpEthernetIPv4<<16|2)
	b = append(b, v.MACs[0][:]...)
	b = append(b, target[:]...)
	return len(append(b, sender...))
}

//	 0                   1                   2                   3
//	+---------------+---------------+-------------------------------+
//	|   type: 136   |    code: 0    |           checksum            |  0
//	+-+-+-+---------+---------------+-------------------------------+
//	|R|S|O|                       reserved                          |  4
//	+-+-+-+---------------------------------------------------------+
//	|  target: the address that was asked for, 16 bytes             |  8
//	+---------------+---------------+-------------------------------+
//	|    type: 2    | length: 1 (8) |   its Ethernet address        | 24
//
// R says that we route, as every node does for its pods. A solicitation from
// the unspecified address asks whether the address is taken (duplicate address
// detection): the answer is then for all nodes and not solicited (RFC 4861
// 7.2.4). It still goes to the asker's Ethernet address alone, which RFC 6085
// allows: the tunnel has no group to send to.
func (v *VXLAN) answerSolicitation(buf, p []byte, asker [6]byte, self netip.Addr) int {
	if !self.Is6() || v.MACs[1] == [6]byte{} || !validSolicitation(p, self.As16()) {
		return 0
	}
	flags, to := byte(advertRouter|advertSolicited|advertOverride), [16]byte(p[8:])
	if to == [16]byte{} {
		flags, to = advertRouter|advertOverride, [16]byte{0: 0xff, 1: 2, 15: 1}
	}
	target := self.As16()
	b := appendFrame(buf[:0:MaxNeighbour], v.VNI, asker, v.MACs[1], etherIPv6)
	b = append(b, 0x60, 0, 0, 0, 0, advertSize, protoICMPv6, 255)
	b = append(b, target[:]...)
	b = append(b, to[:]...)
	b = append(b, neighbourAdvertisement, 0, 0, 0, flags, 0, 0, 0)
	b = append(b, target[:]...)
	b = append(b, optTargetLinkLayer, 1)
	b = append(b, v.MACs[1][:]...)
	ip := b[vxlanOverhead:]
	putSum(ip[40+icmpCsumAt:], ^icmp6Sum(ip))
	return len(b)
}

// validSolicitation makes the checks of RFC 4861 7.1.1 on p, which is
// IPv6 with ICMPv6 right behind its header, and tells whether it asks for
// target.
func validSolicitation(p []byte, target [16]byte) bool {
	h, drop := Parse(p)
	if drop != Delivered || h.Len < 40+24 {
		return false
	}
	p = p[:h.Len]
	src, dst, icmp := [16]byte(p[8:]), [16]byte(p[24:]), p[40:]
	if p[7] != 255 || icmp[0] != neighbourSolicitation || icmp[1] != 0 ||
		[16]byte(icmp[8:]) != target || icmp6Sum(p) != 0xffff {
		return false
	}
	group := [16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: target[13], 14: target[14], 15: target[15]}
	if dst != group && dst != target || src == target || src[0] == 0xff {
		return false
	}
	probe := src == [16]byte{}
	if probe && dst != group {
		return false
	}
	for options := icmp[24:]; len(options) > 0; {
		if len(options) < 2 || options[1] == 0 || int(options[1])*8 > len(options) {
			return false
		}
		if probe && options[0] == optSourceLinkLayer {
			return false
		}
		options = options[int(options[1])*8:]
	}
	return true
}

// icmp6Sum sums the ICMPv6 message right behind the IPv6 header of p and its
// pseudo header: 0xffff if the checksum in it is right.
func icmp6Sum(p []byte) uint16 {
	return Fold(Sum(p[40:], pseudo(p, 6, protoICMPv6)+uint64(sum16(uint16(len(p)-40)))))
}
