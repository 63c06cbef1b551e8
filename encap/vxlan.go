package encap

import (
	"encoding/binary"
	"fmt"
	"strings"

	"weft/lease"
)

// VXLAN is flannel's vxlan encapsulation, as the kernel's devices flannel.VNI
// and flannel-v6.VNI speak it (drivers/net/vxlan/vxlan_core.c). A datagram is
// a header with the network's number and an Ethernet frame between two VXLAN
// tunnel endpoints (VTEPs); the frame holds the inner packet (RFC 7348):
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|G|R|R|R|I|R|R|R|R|D|R|R|A|R|R|R|        group policy           |  0
//	+---------------+-------+-------+---------------+---------------+
//	|                      VNI                      |   reserved    |  4
//	+-----------------------------------------------+---------------+
//	|            inner destination: the VTEP of the peer            |  8
//	|                               +-------------------------------+
//	|                               |   inner source: the VTEP      | 12
//	+-------------------------------+   of the sender               |
//	|                                                               | 16
//	+-------------------------------+---------------+---------------+
//	|  type: 0800 IPv4, 86dd IPv6   |  inner packet                 | 20
//	+-------------------------------+-------------------------------+
//
// I says that there is a VNI and must be set. G says that the bits D, A and
// the group policy mean something (draft-smith-vxlan-group-policy); a kernel
// takes the policy from a packet's mark and, on the other side, puts it there
// again. RFC 7348 has receivers ignore reserved bits; the kernel refuses
// frames that have any of them set, and so does weft. It sends none, nor G.
//
// Overhead with outer headers: 50 bytes over IPv4, 70 over IPv6. Nothing is
// learnt from frames; the address of a peer's VTEP is in its lease.
type VXLAN struct {
	VNI uint32 // of 24 bits; larger ones match no frame
	// MACs are the addresses of our VTEP: for inner IPv4, for inner IPv6. They
	// may be equal. Zero: no VTEP of this version; then no frame is for us, and
	// none can be sent, for kernels may refuse a source that is no address. A
	// node that only sends has a random one, which no lease names.
	MACs   [2][6]byte
	GBP    bool      // frames with a group policy are in order
	Accept *Policies // with GBP: the policies whose frames are delivered; nil: all
}

const (
	vxlanOverhead = 8 + 14

	// The VXLAN header as a number of 64 bits.
	vxlanG   uint64 = 1 << 63
	vxlanI   uint64 = 1 << 59
	vxlanGBP        = vxlanG | 0xffffff<<32 // VXLAN_GBP_USED_BITS
	vxlanVNI uint64 = lease.MaxVNI << 8

	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	broadcast = 1<<48 - 1
)

// Overhead is 22: the VXLAN header and the inner Ethernet header.
func (*VXLAN) Overhead() int { return vxlanOverhead }

// Routes reports false: the kernel's VXLAN leaves the TTL to the routers on
// both sides of it.
func (*VXLAN) Routes() bool { return false }

// ECN reports true.
func (*VXLAN) ECN() bool { return true }

// Prefix addresses the frame to the VTEP in the lease's BackendData, or
// BackendV6Data for IPv6. The VNI is the one in there, or ours when there is
// none.
func (v *VXLAN) Prefix(l lease.Lease, version uint8) ([]byte, error) {
	peer, err := l.Attrs.VTEP(version)
	if err != nil {
		return nil, err
	}
	own, field := v.MACs[0], "BackendData"
	etherType := uint16(etherIPv4)
	if version == 6 {
		own, field, etherType = v.MACs[1], "BackendV6Data", etherIPv6
	}
	vni := peer.VNI
	if vni == 0 {
		vni = v.VNI
	}
	switch {
	case own == [6]byte{} || own[0]&1 != 0:
		return nil, fmt.Errorf("our VtepMAC for IPv%d: %s is no unicast address", version, etherText(own))
	case own == peer.MAC:
		return nil, fmt.Errorf("%s: VtepMAC: %s is ours, and a VTEP drops what comes from its own address", field, etherText(own))
	case vni > lease.MaxVNI:
		return nil, fmt.Errorf("VNI: %d is not in 0..%d", vni, lease.MaxVNI)
	}
	return appendFrame(make([]byte, 0, vxlanOverhead), vni, peer.MAC, own, etherType), nil
}

// etherText writes an Ethernet address as leases do.
func etherText(mac [6]byte) string {
	return strings.ReplaceAll(fmt.Sprintf("% x", mac[:]), " ", ":")
}

// appendFrame appends the headers in front of an inner packet.
func appendFrame(b []byte, vni uint32, dst, src [6]byte, etherType uint16) []byte {
	b = binary.BigEndian.AppendUint64(b, vxlanI|uint64(vni)<<8)
	b = append(b, dst[:]...)
	b = append(b, src[:]...)
	return binary.BigEndian.AppendUint16(b, etherType)
}

// Open returns the inner packet of a frame for our VTEP. It takes and refuses
// what vxlan_rcv and the layers above it do, except that padding after the
// packet and packets that are cut are left for [Parse] to find, and that ARP
// and neighbour discovery are [Neighbour]: there is nobody behind a TUN device
// who would answer them ([VXLAN.Answer] can). A datagram that ends before the
// inner packet begins is VXLANHeader.
func (v *VXLAN) Open(d []byte) ([]byte, Drop) {
	if len(d) <= vxlanOverhead {
		return nil, VXLANHeader
	}
	head := binary.BigEndian.Uint64(d)
	if v.GBP {
		head &^= vxlanGBP
	}
	if head != vxlanI|uint64(v.VNI)<<8 {
		return nil, badHeader(head)
	}
	// Each load takes two bytes more than the address.
	dst, src := binary.BigEndian.Uint64(d[8:])>>16, binary.BigEndian.Uint64(d[14:])
	etherType, p := uint16(src), d[vxlanOverhead:]
	src >>= 16
	switch {
	case v.isOwn(src):
		return nil, VXLANMAC
	case etherType == etherIPv4 && p[0]>>4 == 4 && v.owns(0, dst):
	case etherType == etherIPv6 && p[0]>>4 == 6 && v.owns(1, dst) && !discovery(p):
	default:
		return nil, v.noPacket(dst, etherType, p)
	}
	if v.GBP && v.Accept != nil {
		if id, _ := v.Policy(d); !v.Accept.Has(id) {
			return nil, VXLANPolicy
		}
	}
	return p, Delivered
}

// badHeader tells what is wrong with a header, its group policy set aside.
func badHeader(head uint64) Drop {
	if head&^vxlanVNI != vxlanI {
		return VXLANHeader
	}
	return VXLANVNI
}

// noPacket tells why a frame of our network, not from us, holds no packet for
// us.
func (v *VXLAN) noPacket(dst uint64, etherType uint16, p []byte) Drop {
	var toUs bool
	switch etherType {
	case etherARP:
		if v.owns(0, dst) || dst == broadcast {
			return Neighbour
		}
	case etherIPv6:
		toUs = v.owns(1, dst)
		if discovery(p) && (toUs || dst == broadcast || dst>>32 == 0x3333) { // RFC 2464 section 7
			return Neighbour
		}
	case etherIPv4:
		toUs = v.owns(0, dst)
	default:
		toUs = v.isOwn(dst)
	}
	if !toUs {
		return VXLANMAC
	}
	return VXLANEtherType
}

// discovery tells whether p, which is not empty, is an ICMPv6 neighbour
// solicitation or advertisement (RFC 4861).
func discovery(p []byte) bool {
	return len(p) > 40 && p[6] == protoICMPv6 && p[0]>>4 == 6 &&
		(p[40] == neighbourSolicitation || p[40] == neighbourAdvertisement)
}

// owns tells whether mac is the address of our VTEP for IPv4 (0) or IPv6 (1).
func (v *VXLAN) owns(version int, mac uint64) bool {
	m := &v.MACs[version]
	own := uint64(binary.BigEndian.Uint32(m[:]))<<16 | uint64(binary.BigEndian.Uint16(m[4:]))
	return mac == own && mac != 0
}

// isOwn tells whether mac is either address.
func (v *VXLAN) isOwn(mac uint64) bool { return v.owns(0, mac) || v.owns(1, mac) }
