package rtmon

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// parse reads the events from one datagram of the kernel. What it does not
// know, and whatever follows a message that does not fit, it leaves out.
func parse(b []byte) []Event {
	var out []Event
	for len(b) >= unix.SizeofNlMsghdr {
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.SizeofNlMsghdr || n > len(b) {
			break
		}
		if ev, ok := event(binary.NativeEndian.Uint16(b[4:]), b[unix.SizeofNlMsghdr:n]); ok {
			out = append(out, ev)
		}
		b = b[min(align(n), len(b)):]
	}
	return out
}

func event(typ uint16, b []byte) (Event, bool) {
	switch typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return linkEvent(typ, b)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(b) < unix.SizeofIfAddrmsg {
			return Event{}, false
		}
		return Event{Kind: Addr, Index: int(binary.NativeEndian.Uint32(b[4:]))}, true
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return routeEvent(b)
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return Event{Kind: Rule}, true
	}
	return Event{}, false
}

// linkEvent reads an ifinfomsg. Messages of the bridge family are about ports:
// there, "deleted" means that the link left its bridge.
func linkEvent(typ uint16, b []byte) (Event, bool) {
	if len(b) < unix.SizeofIfInfomsg {
		return Event{}, false
	}
	ev := Event{Kind: Link, Index: int(binary.NativeEndian.Uint32(b[4:]))}
	if typ == unix.RTM_DELLINK && b[0] == unix.AF_UNSPEC {
		ev.Kind = LinkGone
	}
	attributes(b[unix.SizeofIfInfomsg:], func(t uint16, v []byte) {
		if t == unix.IFLA_IFNAME {
			for len(v) > 0 && v[len(v)-1] == 0 {
				v = v[:len(v)-1]
			}
			ev.Name = string(v)
		}
	})
	return ev, true
}

func routeEvent(b []byte) (Event, bool) {
	if len(b) < unix.SizeofRtMsg {
		return Event{}, false
	}
	ev := Event{Kind: Route, Table: int(b[4]), Protocol: b[5]}
	addr := netip.IPv4Unspecified()
	if b[0] == unix.AF_INET6 {
		addr = netip.IPv6Unspecified()
	}
	attributes(b[unix.SizeofRtMsg:], func(t uint16, v []byte) {
		switch {
		case t == unix.RTA_DST:
			if a, ok := netip.AddrFromSlice(v); ok {
				addr = a
			}
		case t == unix.RTA_OIF && len(v) >= 4:
			ev.Index = int(binary.NativeEndian.Uint32(v))
		case t == unix.RTA_TABLE && len(v) >= 4:
			ev.Table = int(binary.NativeEndian.Uint32(v))
		}
	})
	ev.Dst = netip.PrefixFrom(addr, int(b[1]))
	return ev, true
}

// attributes calls f for each rtattr: length (2 bytes, header included), type
// (2 bytes, the top two bits being flags), value, padding.
func attributes(b []byte, f func(typ uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:n])
		b = b[min(align(n), len(b)):]
	}
}

// align rounds up to netlink's 4 bytes.
func align(n int) int { return (n + 3) &^ 3 }
