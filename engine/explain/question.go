package explain

import (
	"fmt"
	"net/netip"
	"strconv"

	"weft/engine/control"
)

// protocols are those that have names in a question. ICMP is icmp in both
// families.
var protocols = map[string]uint8{"icmp": 1, "tcp": 6, "udp": 17, "icmp6": 58, "icmpv6": 58, "sctp": 132}

// maxPacket is the longest IPv4 packet, and the longest IPv6 payload without
// jumbograms (RFC 791, RFC 8200), in bytes.
const maxPacket = 65535

// Normal checks q and fills in what may be left out, for a device of that MTU.
// An error is a *control.Error that names the field.
func Normal(q control.Question, mtu int) (control.Question, error) {
	for _, f := range [...]struct {
		name string
		a    *netip.Addr
	}{{"src", &q.Src}, {"dst", &q.Dst}} {
		if !f.a.IsValid() {
			return q, wrong(f.name, "missing")
		}
		*f.a = f.a.Unmap().WithZone("")
	}
	if q.Src.Is4() != q.Dst.Is4() {
		return q, wrong("dst", "%v is of another address family than src %v", q.Dst, q.Src)
	}
	if q.Src.IsMulticast() || q.Src.IsUnspecified() {
		return q, wrong("src", "%v is no address of a host", q.Src)
	}
	n, err := protocol(q.Proto, q.Dst.Is6())
	if err != nil {
		return q, err
	}
	if q.Proto == "" {
		q.Proto = "icmp"
	}
	if q.Port != 0 && !ports(n) {
		return q, wrong("port", "%d: %s has no ports", q.Port, q.Proto)
	}
	q.DF = q.DF || q.Dst.Is6() // routers do not fragment IPv6
	if q.Size == 0 {
		q.Size = mtu
	}
	if least := header(q.Dst); q.Size < least || q.Size > maxPacket {
		return q, wrong("size", "%d: a packet has %d to %d bytes", q.Size, least, maxPacket)
	}
	return q, nil
}

// ports tells whether a protocol has them.
func ports(proto uint8) bool { return proto == 6 || proto == 17 || proto == 132 }

// header is the length of an IP header, in bytes.
func header(a netip.Addr) int {
	if a.Is4() {
		return 20
	}
	return 40
}

// protocol returns the number of a protocol; six is for IPv6.
func protocol(name string, six bool) (uint8, error) {
	if name == "" || name == "icmp" {
		if six {
			return 58, nil
		}
		return 1, nil
	}
	if n, ok := protocols[name]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(name, 10, 8)
	if err != nil {
		return 0, wrong("proto", "%q is neither tcp, udp, icmp nor a number up to 255", name)
	}
	return uint8(n), nil
}

func wrong(field, format string, args ...any) error {
	return &control.Error{Field: field, Message: field + ": " + fmt.Sprintf(format, args...)}
}
