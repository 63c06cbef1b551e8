package encap

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

// unhex decodes hexadecimal digits; blanks are ignored.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// A packet describes an inner packet to be built. The zero value of a field
// means the value zero, so tests start from a template such as [tcp4].
type packet struct {
	v            int
	proto        byte
	src, dst     byte // last byte of the address
	sport, dport uint16
	tos, ttl     byte
	id           uint16
	df           bool
	options      []byte // IPv4 options, or IPv6 extension headers made by [extensions]
	first        byte   // IPv6: the type of the first extension header
	seq, ack     uint32
	flags        byte
	window       uint16
	urgent       uint16
	tcpOptions   []byte
	payload      []byte
}

var (
	timestamps = unhex("0101080a 00112233 44556677")

	tcp4 = packet{v: 4, proto: 6, src: 2, dst: 9, sport: 40000, dport: 5201, ttl: 64, id: 7, df: true,
		seq: 1000, ack: 2000, flags: tcpACK, window: 501, tcpOptions: timestamps}
	udp4 = packet{v: 4, proto: 17, src: 2, dst: 9, sport: 40000, dport: 53, ttl: 64, id: 7, df: true}
)

// six turns an IPv4 packet into its IPv6 sister.
func (q packet) six() packet { q.v = 6; return q }

// with returns q with a payload of n bytes that no other n and seed give.
func (q packet) with(n int, seed uint64) packet {
	q.payload = make([]byte, n)
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	for i := range q.payload {
		q.payload[i] = byte(r.Uint32())
	}
	return q
}

// build returns the bytes of q with right checksums.
func (q packet) build() []byte {
	b := q.network()
	l4 := len(b)
	b = binary.BigEndian.AppendUint16(b, q.sport)
	b = binary.BigEndian.AppendUint16(b, q.dport)
	switch q.proto {
	case 6:
		b = binary.BigEndian.AppendUint32(b, q.seq)
		b = binary.BigEndian.AppendUint32(b, q.ack)
		b = append(b, byte(20+len(q.tcpOptions))/4<<4, q.flags)
		b = binary.BigEndian.AppendUint16(b, q.window)
		b = append(b, 0, 0)
		b = binary.BigEndian.AppendUint16(b, q.urgent)
		b = append(b, q.tcpOptions...)
	case 17:
		b = binary.BigEndian.AppendUint16(b, uint16(8+len(q.payload)))
		b = append(b, 0, 0)
	default:
		b = b[:l4]
	}
	b = append(b, q.payload...)
	if q.v == 4 {
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	}
	refFix(b)
	return b
}

// then returns the packet that follows q in its flow.
func (q packet) then(change ...func(*packet)) packet {
	if q.proto == 6 {
		q.seq += uint32(len(q.payload))
	}
	q.id++
	q = q.with(len(q.payload), uint64(q.seq)+uint64(q.id))
	for _, f := range change {
		f(&q)
	}
	return q
}

// network returns q's IP header with the lengths left open.
func (q packet) network() []byte {
	if q.v == 6 {
		b := make([]byte, 40)
		b[0], b[1], b[7] = 0x60|q.tos>>4, q.tos<<4, q.ttl
		b[2], b[3] = 0xbe, 0xef // flow label
		b[6] = q.proto
		if len(q.options) > 0 {
			b[6] = q.first
		}
		copy(b[8:], unhex("fd00 0005 0001 0000 0000 0000 0000 0000"))
		copy(b[24:], unhex("fd00 0005 0002 0000 0000 0000 0000 0000"))
		b[23], b[39] = q.src, q.dst
		return append(b, q.options...)
	}
	b := make([]byte, 20)
	b[0], b[1], b[8], b[9] = byte(0x45+len(q.options)/4), q.tos, q.ttl, q.proto
	binary.BigEndian.PutUint16(b[4:], q.id)
	if q.df {
		b[6] = 0x40
	}
	copy(b[12:], []byte{10, 5, 1, q.src, 10, 5, 2, q.dst})
	return append(b, q.options...)
}

// extensions makes a chain of IPv6 extension headers of the given types, each
// of size bytes (a multiple of 8), in front of the header type last.
func extensions(last byte, size int, types ...byte) (first byte, chain []byte) {
	for i, kind := range types {
		h := make([]byte, size)
		h[0], h[1] = last, byte(size/8-1)
		if i+1 < len(types) {
			h[0] = types[i+1]
		}
		if kind == 44 {
			h[1] = 0
		}
		chain = append(chain, h...)
	}
	return types[0], chain
}

// parsed returns b's header and fails the test when there is none.
func parsed(t testing.TB, b []byte) Header {
	t.Helper()
	h, drop := Parse(b)
	if drop != Delivered {
		t.Fatalf("Parse(%x): %v", b[:min(len(b), 60)], drop)
	}
	return h
}

// offload returns what a kernel writes beside the superpacket b.
func offload(t testing.TB, b []byte, size int) Offload {
	t.Helper()
	h := parsed(t, b)
	o := Offload{Flags: NeedsCsum, GSOSize: uint16(size), CsumStart: uint16(h.L4), GSO: GSOUDP, CsumOffset: 6}
	if h.Proto == 6 {
		o.GSO, o.CsumOffset = GSOTCP4, 16
		if h.Version == 6 {
			o.GSO = GSOTCP6
		}
	}
	return o
}

const guardByte = 0xa5

// guarded copies b between two strips of guard bytes. intact reports whether
// they are still as they were.
func guarded(b []byte) (inside []byte, intact func() bool) {
	const strip = 32
	all := make([]byte, strip+len(b)+strip)
	for i := range all {
		all[i] = guardByte
	}
	copy(all[strip:], b)
	return all[strip : strip+len(b)], func() bool {
		for i := range strip {
			if all[i] != guardByte || all[len(all)-1-i] != guardByte {
				return false
			}
		}
		return true
	}
}
