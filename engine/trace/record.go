package trace

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"weft/encap"
)

// A Dir is a direction.
type Dir uint8

// The directions, as seen from the node: out goes from the pods to the wire.
const (
	Out Dir = iota
	In
)

// String returns "out" or "in".
func (d Dir) String() string { return [...]string{"out", "in"}[d&1] }

// A Kind is how a packet is carried. The numbers are stable.
type Kind uint8

// The kinds.
const (
	NoKind Kind = iota // not known, as of a packet without a peer
	UDP
	VXLAN
	WireGuard
)

var kindNames = [...]string{"", "udp", "vxlan", "wireguard"}

// String returns the name of the backend, or "" if it is not known.
func (k Kind) String() string {
	if int(k) >= len(kindNames) {
		return "unknown"
	}
	return kindNames[k]
}

// A Way is the set of stages that a packet has passed, its last one included.
// The numbers are stable; the order of bits is the order of stages on both ways.
type Way uint32

// The stages.
const (
	Read       Way = 1 << iota // out: taken from the device
	Received                   // in: taken from the port
	Known                      // in: the outer source is a node's
	Opened                     // in: the bytes in front of the inner packet were right
	Parsed                     // the inner header makes sense
	Routed                     // out: a lease covers the destination
	Checked                    // in: the inner source is the sender's, the destination ours
	Hopped                     // the TTL was lowered
	Fragmented                 // out: cut into fragments
	Segmented                  // out: a superpacket was cut into packets
	Wrapped                    // out: the bytes in front were set
	Sealed                     // out: handed to WireGuard, which encrypts and sends
	Joined                     // in: one packet of a superpacket
	Sent                       // out: the port took it
	Written                    // in: the device took it
	Answered                   // its sender was owed an ICMP error
	Retried                    // out: was sent again after it proved too long for its path
	Consumed                   // in: it was for weft itself
)

var wayNames = [...]string{"read", "received", "known", "opened", "parsed", "routed", "checked", "hopped", "fragmented",
	"segmented", "wrapped", "sealed", "joined", "sent", "written", "answered", "retried", "consumed"}

// Names returns the names of the stages in w, in order.
func (w Way) Names() (names []string) {
	for i, name := range wayNames {
		if w&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// A Record is what is told of one packet or superpacket: its headers, whence and
// where to, and what became of it.
//
// Encoded it is, in network byte order:
//
//	 0  time 8 │ 8 id 8 │ 16 took 4 │ 20 way 4 │ 24 packets 4 │ 28 len 4 │ 32 vni 4
//	36  size 2 │ limit 2 │ run 2 │ joined 2 │ 44 dir 1 │ kind 1 │ drop 1 │ ecn 1
//	48  local 16+2 │ 66 remote 16+2 │ 84 prefix 2 │ 86 snap …
type Record struct {
	ID      uint64 // the same for all that is told of one packet; unique in this run of the node
	Time    int64  // when the loop took its batch, nanoseconds since the Unix epoch
	Took    uint32 // nanoseconds from then to the verdict
	Way     Way
	Dir     Dir
	Kind    Kind
	Drop    encap.Drop     // why it was not delivered; Delivered if it was
	ECN     uint8          // congestion bits of the outer header
	Packets uint32         // packets that it stands for; 1 unless it is a superpacket
	Len     uint32         // bytes of the inner packet, or of the datagram if none could be read
	VNI     uint32         // VXLAN network identifier; of VXLAN only
	Size    uint16         // payload bytes of each packet of a superpacket; else 0
	Limit   uint16         // bytes of the longest inner packet that fits the path, if that mattered; else 0
	Run     uint16         // in: datagrams that came as one message; out: datagrams made of it
	Joined  uint16         // in: packets of the superpacket that it was written in; else 0
	Local   netip.AddrPort // our outer address; the address may be unknown (zero)
	Remote  netip.AddrPort // the other node's; zero if not known
	Prefix  uint16         // bytes at the start of Snap that stand in front of the inner packet
	Snap    []byte         // the first bytes of the datagram: Prefix and the inner packet
}

// Inner returns the captured part of the inner packet; empty if none could be
// read.
func (r *Record) Inner() []byte { return r.Snap[min(int(r.Prefix), len(r.Snap)):] }

// At returns when the packet was taken.
func (r *Record) At() time.Time { return time.Unix(0, r.Time) }

// fixed is the length of an encoded record without its snap.
const fixed = 86

// Append appends the encoded record to b.
func (r *Record) Append(b []byte) []byte {
	be := binary.BigEndian
	b = be.AppendUint64(b, uint64(r.Time))
	b = be.AppendUint64(b, r.ID)
	b = be.AppendUint32(b, r.Took)
	b = be.AppendUint32(b, uint32(r.Way))
	b = be.AppendUint32(b, r.Packets)
	b = be.AppendUint32(b, r.Len)
	b = be.AppendUint32(b, r.VNI)
	b = be.AppendUint16(b, r.Size)
	b = be.AppendUint16(b, r.Limit)
	b = be.AppendUint16(b, r.Run)
	b = be.AppendUint16(b, r.Joined)
	b = append(b, byte(r.Dir), byte(r.Kind), byte(r.Drop), r.ECN)
	b = appendAddr(b, r.Local)
	b = appendAddr(b, r.Remote)
	b = be.AppendUint16(b, r.Prefix)
	return append(b, r.Snap...)
}

// appendAddr appends 16 bytes of address, all zero if there is none and
// IPv4-mapped if it is IPv4, and 2 of port.
func appendAddr(b []byte, a netip.AddrPort) []byte {
	if !a.Addr().IsValid() {
		b = append(b, make([]byte, 16)...)
	} else {
		x := a.Addr().As16()
		b = append(b, x[:]...)
	}
	return binary.BigEndian.AppendUint16(b, a.Port())
}

// ErrRecord says that bytes are no encoded record.
var ErrRecord = errors.New("trace: not a record")

// Decode reads an encoded record. Snap is a part of b.
func (r *Record) Decode(b []byte) error {
	if len(b) < fixed {
		return ErrRecord
	}
	be := binary.BigEndian
	*r = Record{Time: int64(be.Uint64(b)), ID: be.Uint64(b[8:]), Took: be.Uint32(b[16:]), Way: Way(be.Uint32(b[20:])),
		Packets: be.Uint32(b[24:]), Len: be.Uint32(b[28:]), VNI: be.Uint32(b[32:]),
		Size: be.Uint16(b[36:]), Limit: be.Uint16(b[38:]), Run: be.Uint16(b[40:]), Joined: be.Uint16(b[42:]),
		Dir: Dir(b[44]), Kind: Kind(b[45]), Drop: encap.Drop(b[46]), ECN: b[47],
		Local: decodeAddr(b[48:]), Remote: decodeAddr(b[66:]), Prefix: be.Uint16(b[84:]), Snap: b[fixed:]}
	return nil
}

func decodeAddr(b []byte) netip.AddrPort {
	a := netip.AddrFrom16([16]byte(b)).Unmap()
	port := binary.BigEndian.Uint16(b[16:])
	if a == netip.IPv6Unspecified() {
		return netip.AddrPortFrom(netip.Addr{}, port)
	}
	return netip.AddrPortFrom(a, port)
}
