package control

import (
	"encoding/binary"

	"weft/engine/trace"
)

// What a reader without the right to change may see of a packet: its headers.
//
//	│ encapsulation │ IP, options, extensions │ transport │ payload …
//	└─ udp 0, vxlan 22, wireguard 16 bytes    └ TCP, UDP, SCTP, ICMP
//	└──────────────────── shown ──────────────────────────┘
//
// What cannot be read as that ends what is shown, because it may be payload.

// Bytes of the headers in front of the inner packet: RFC 7348 section 5, with
// the inner Ethernet header; and the type, receiver and counter of WireGuard's
// transport data message.
const (
	vxlanHeader     = 22
	wireGuardHeader = 16
)

// Protocol numbers (IANA) of what is shown, and of IPv6's extension headers.
const (
	protoHopByHop = 0
	protoICMP     = 1
	protoTCP      = 6
	protoUDP      = 17
	protoRouting  = 43
	protoFragment = 44
	protoICMP6    = 58
	protoDestOpts = 60
	protoSCTP     = 132
)

// headers returns the part of a record's snap that is headers.
func headers(r *trace.Record) []byte {
	prefix := int(r.Prefix)
	most := map[trace.Kind]int{trace.VXLAN: vxlanHeader, trace.WireGuard: wireGuardHeader}[r.Kind]
	if prefix > most || r.Way&trace.Parsed == 0 || len(r.Inner()) == 0 {
		return r.Snap[:min(prefix, most, len(r.Snap))]
	}
	return r.Snap[:prefix+len(ipHeaders(r.Inner()))]
}

// ipHeaders returns the headers that an IP packet, or its beginning, starts with.
func ipHeaders(b []byte) []byte {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		n := int(b[0]&15) * 4
		if n < 20 {
			return nil
		}
		if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 { // a later fragment has no transport header
			return b[:min(n, len(b))]
		}
		return withTransport(b, n, b[9])
	case len(b) >= 40 && b[0]>>4 == 6:
		return afterExtensions(b)
	}
	return nil
}

// afterExtensions is ipHeaders of IPv6 (RFC 8200 section 4).
func afterExtensions(b []byte) []byte {
	n, next := 40, b[6]
	for {
		switch next {
		case protoHopByHop, protoRouting, protoDestOpts:
			if len(b) < n+8 {
				return b[:n]
			}
			next, n = b[n], n+8+int(b[n+1])*8
		case protoFragment:
			if len(b) < n+8 {
				return b[:n]
			}
			later := binary.BigEndian.Uint16(b[n+2:])&0xfff8 != 0
			next, n = b[n], n+8
			if later {
				return b[:n]
			}
		default:
			return withTransport(b, n, next)
		}
		if n > len(b) {
			return b
		}
	}
}

// withTransport is the first n bytes of b and the header of proto after them.
func withTransport(b []byte, n int, proto byte) []byte {
	if n >= len(b) {
		return b
	}
	switch more := b[n:]; proto {
	case protoUDP, protoICMP, protoICMP6:
		n += 8
	case protoSCTP:
		n += 12
	case protoTCP:
		n += 20
		if len(more) >= 20 {
			n = n - 20 + max(20, int(more[12]>>4)*4)
		}
	}
	return b[:min(n, len(b))]
}
