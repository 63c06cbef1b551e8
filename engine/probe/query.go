package probe

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// Port is the UDP port, source and destination, of questions between weft
// nodes, on the inside of the tunnel. It is the same whatever the ports of the
// tunnel are, so that a node knows it without asking; it is the one beside
// flannel's 8285, and IANA has registered it for nothing. No socket is bound to
// it: the data plane takes these packets out before the kernel sees them.
const Port = 8286

// A query is a question about an inner address, or its answer, as an inner UDP
// datagram between two tunnel addresses. Both have the same length, so nobody
// gets more from us than was sent; in a question what is for the answer is zero.
//
//	 0                   1                   2                   3
//	+---------------------------------------------------------------+
//	|  IP header and UDP header, ports 8286                         |
//	+---------------------------------------------------------------+
//	|                     "weft"            "view"                  |   0
//	+---------------+---------------+---------------+---------------+
//	|   version 1   | 1 ask, 2 tell | flags: 1 lease|       0       |   8
//	+---------------+---------------+---------------+---------------+
//	|               longest inner packet that is sent               |  12
//	+---------------------------------------------------------------+
//	|            token and seal, the answer repeats them            |  16
//	+---------------------------------------------------------------+
//	|                 the address asked about, 16 bytes             |  32
//	+---------------------------------------------------------------+
//	|         the outer address it is sent to, 16 bytes             |  48
//	+---------------------------------------------------------------+
//	|     the outer address the question came from, 16 bytes        |  64
//	+-------------------------------+-------------------------------+
//	|   port of the address at 48   |   port of the address at 64   |  80
//	+-------------------------------+-------------------------------+
//	|      how it is sent, as in "vxlan", 12 bytes                  |  84
//	+---------------------------------------------------------------+
//	|      version of the node, 32 bytes                            |  96
//	+---------------------------------------------------------------+
//
// IPv4 addresses are written as ::ffff:a.b.c.d, text is padded with zeros, and
// an address that is not there is zero.
type query struct {
	src, dst netip.Addr
	tell     bool
	mark     mark
	about    netip.Addr
	answer   Answer // if tell
}

const (
	queryMagic   = "weftview"
	queryVersion = 1
	querySize    = 128 // bytes of UDP payload
	queryLease   = 1
)

// append appends the packet to b. The addresses are of one family.
func (q *query) append(b []byte) []byte {
	head := ipHead(q.src)
	at := len(b)
	b = grow(b, head+8+querySize)
	p := b[at:]
	putIP(p, q.src, q.dst, protoUDP, 64)
	u := p[head:]
	binary.BigEndian.PutUint16(u[0:], Port)
	binary.BigEndian.PutUint16(u[2:], Port)
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	m := u[8:]
	clear(m)
	copy(m, queryMagic)
	m[8], m[9] = queryVersion, 1
	q.mark.put(m[16:])
	put16(m[32:], q.about)
	if q.tell {
		m[9] = 2
		q.answer.put(m)
	}
	putSum(p, q.src, q.dst, protoUDP, 6)
	return b
}

func (a *Answer) put(m []byte) {
	if a.Lease {
		m[10] = queryLease
	}
	binary.BigEndian.PutUint32(m[12:], uint32(max(0, a.MTU)))
	put16(m[48:], a.Outer.Addr())
	put16(m[64:], a.Observed.Addr())
	binary.BigEndian.PutUint16(m[80:], a.Outer.Port())
	binary.BigEndian.PutUint16(m[82:], a.Observed.Port())
	copy(m[84:96], a.Kind)
	copy(m[96:128], a.Version)
}

// parseQuery reads a query from anyone. A packet whose checksum is wrong is none.
func parseQuery(p *ipPacket) (q query, ok bool) {
	if q, ok = p.query(); !ok || len(p.body) != 8+querySize || p.sum() != 0 {
		return q, false
	}
	m := p.body[8:]
	q.about = get16(m[32:])
	if q.tell {
		q.answer = Answer{Observed: getAddrPort(m[64:], m[82:]), View: View{
			Version: text(m[96:128]), Kind: text(m[84:96]), Lease: m[10]&queryLease != 0,
			Outer: getAddrPort(m[48:], m[80:]), MTU: int(min(maxPacket, binary.BigEndian.Uint32(m[12:])))}}
	}
	return q, true
}

// query reads as much of a query as an ICMP error quotes: addresses, kind and
// mark. The checksum is not looked at.
func (p *ipPacket) query() (q query, ok bool) {
	u := p.body
	if p.proto != protoUDP || len(u) < 8+32 ||
		binary.BigEndian.Uint16(u[0:]) != Port || binary.BigEndian.Uint16(u[2:]) != Port ||
		binary.BigEndian.Uint16(u[4:]) != 8+querySize {
		return q, false
	}
	m := u[8:]
	if string(m[:8]) != queryMagic || m[8] != queryVersion || (m[9] != 1 && m[9] != 2) {
		return q, false
	}
	return query{src: p.src, dst: p.dst, tell: m[9] == 2, mark: getMark(m[16:])}, true
}

func getAddrPort(addr, port []byte) netip.AddrPort {
	a := get16(addr)
	if !a.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}

// text reads padded text. It comes from outside and ends up on terminals, so
// all but printable ASCII is replaced.
func text(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, strings.TrimRight(string(b), "\x00"))
}
