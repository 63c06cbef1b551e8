package probe

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// An Echo is an ICMP echo request or reply (RFC 792, RFC 4443) as an inner IP
// packet: DF set, no options, TTL 64.
//
//	 0                   1                   2                   3
//	+---------------------------------------------------------------+
//	|  IPv4 header, 20 bytes, or IPv6 header, 40 bytes              |
//	+---------------+---------------+-------------------------------+
//	| type 8/0,     |    code 0     |           checksum            |  0
//	|    128/129    |               |                               |
//	+---------------+---------------+-------------------------------+
//	|          identifier           |        sequence number        |  4
//	+-------------------------------+-------------------------------+
//	|                     "weft"            "echo"                  |  8
//	+---------------------------------------------------------------+
//	|                            token                              | 16
//	+---------------------------------------------------------------+
//	|                             seal                              | 24
//	+---------------------------------------------------------------+
//	|   noise up to the size wanted, so that no link compresses it  | 32
type Echo struct {
	Src, Dst netip.Addr
	Reply    bool
	ID, Seq  uint16
	Size     int // bytes of the packet, IP header included
	Token    uint64
	Seal     uint64
}

const (
	echoMagic = "weftecho"
	echoHead  = 8 + len(echoMagic) + markSize // ICMP header and payload without noise
	maxPacket = 65535
)

// MinEcho is the size of the shortest echo between addresses of a's family: 52
// or 72 bytes.
func MinEcho(a netip.Addr) int { return ipHead(a) + echoHead }

// smallEcho is the size of an echo that passes wherever IP does: that of
// ping(8), 84 or 104 bytes.
func smallEcho(a netip.Addr) int { return ipHead(a) + 64 }

// Append appends the packet to b.
func (e *Echo) Append(b []byte) ([]byte, error) {
	if !e.Src.IsValid() || e.Src.Is4() != e.Dst.Is4() || !e.Dst.IsValid() {
		return nil, fmt.Errorf("echo from %s to %s: not two addresses of one family", e.Src, e.Dst)
	}
	if e.Size < MinEcho(e.Src) || e.Size > maxPacket {
		return nil, fmt.Errorf("size of echo: %d is not in %d..%d", e.Size, MinEcho(e.Src), maxPacket)
	}
	at := len(b)
	b = grow(b, e.Size)
	p := b[at:]
	proto, kind := uint8(protoICMP), [2]uint8{8, 0}
	if e.Src.Is6() {
		proto, kind = protoICMPv6, [2]uint8{128, 129}
	}
	putIP(p, e.Src, e.Dst, proto, 64)
	m := p[ipHead(e.Src):]
	m[0], m[1] = kind[0], 0
	if e.Reply {
		m[0] = kind[1]
	}
	binary.BigEndian.PutUint16(m[4:], e.ID)
	binary.BigEndian.PutUint16(m[6:], e.Seq)
	copy(m[8:], echoMagic)
	mark{e.Token, e.Seal}.put(m[16:])
	n := noise(e.Token)
	n.fill(m[echoHead:])
	putSum(p, e.Src, e.Dst, proto, 2)
	return b, nil
}

// grow appends n bytes of any value.
func grow(b []byte, n int) []byte {
	if len(b)+n <= cap(b) {
		return b[:len(b)+n]
	}
	return append(b, make([]byte, n)...)
}

// ParseEcho reads an echo of the form that Append makes, from anyone. A packet
// whose checksum is wrong is none.
func ParseEcho(b []byte) (Echo, bool) {
	p, ok := parseIP(b, false)
	if !ok {
		return Echo{}, false
	}
	e, ok := p.echo()
	return e, ok && p.sum() == 0
}

// echo reads the body of p, of which the end may be missing, as an echo. The
// checksum is not looked at.
func (p *ipPacket) echo() (e Echo, ok bool) {
	m := p.body
	if len(m) < echoHead || m[1] != 0 || string(m[8:16]) != echoMagic {
		return e, false
	}
	switch {
	case p.src.Is4() && p.proto == protoICMP && (m[0] == 8 || m[0] == 0):
		e.Reply = m[0] == 0
	case p.src.Is6() && p.proto == protoICMPv6 && (m[0] == 128 || m[0] == 129):
		e.Reply = m[0] == 129
	default:
		return e, false
	}
	e.Src, e.Dst, e.Size = p.src, p.dst, p.size
	e.ID, e.Seq = binary.BigEndian.Uint16(m[4:]), binary.BigEndian.Uint16(m[6:])
	k := getMark(m[16:])
	e.Token, e.Seal = k.token, k.seal
	return e, true
}
