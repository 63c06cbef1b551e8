package filter

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A writer makes up expressions that libpcap understands.
type writer struct{ r *rand.Rand }

func (w writer) one(of ...string) string { return pick(w.r, of) }

// some is s half of the time.
func (w writer) some(s string) string {
	if w.r.IntN(2) == 0 {
		return ""
	}
	return s + " "
}

func (w writer) and() string { return w.one(" and ", " or ", " && ", " || ") }

// expr is up to depth levels of terms.
func (w writer) expr(depth int) string {
	s := w.term(depth)
	for w.r.IntN(3) == 0 {
		s += w.and() + w.term(depth)
	}
	return s
}

func (w writer) term(depth int) string {
	if depth > 0 {
		switch w.r.IntN(4) {
		case 0:
			return w.one("not ", "!") + w.term(depth-1)
		case 1:
			return "(" + w.expr(depth-1) + ")"
		}
	}
	switch w.r.IntN(8) {
	case 0:
		return w.hosts()
	case 1:
		return w.nets()
	case 2:
		return w.ports()
	case 3:
		return w.proto()
	case 4:
		return w.single()
	default:
		return w.relation()
	}
}

// list is values after their qualifiers, as they may follow each other.
func (w writer) list(head string, value func() string) string {
	switch w.r.IntN(5) {
	case 0:
		return head + value() + w.and() + value()
	case 1:
		return head + value() + w.and() + "not " + value()
	case 2:
		return head + "(" + value() + w.and() + value() + w.and() + value() + ")" + w.and() + value()
	case 3:
		return head + "not " + value()
	}
	return head + value()
}

func (w writer) dir() string {
	return w.one("", "", "src ", "dst ", "src or dst ", "dst or src ", "src and dst ")
}

func (w writer) hosts() string {
	head := w.dir()
	if head == "" || w.r.IntN(2) == 0 {
		head += "host "
	}
	if w.r.IntN(2) == 0 {
		return w.list(w.some("ip")+head, func() string {
			return w.one("10.244.1.2", "10.244.1.3", "10.244.2.2", "192.168.0.1", "10.244", "10.244.1", "10", "0x0af40102")
		})
	}
	return w.list(w.some("ip6")+head, func() string {
		return w.one("fd00:0:0:1::2", "fd00:0:0:2::2", "fe80::1", "ff02::1", "::", "::ffff:10.244.1.2")
	})
}

func (w writer) nets() string {
	head := w.dir() + "net "
	if w.r.IntN(2) == 0 {
		return w.list(w.some("ip")+head, func() string {
			return w.one("10.244.1.0/24", "10.244.0.0/16", "10/8", "10.0.0.0 mask 255.0.0.0", "10", "10.244", "0",
				"0.0.0.0/0", "10.244.1.2/32", "192.168.0.0/31")[0:]
		})
	}
	return w.list(w.some("ip6")+head, func() string {
		return w.one("fd00::/16", "fd00:0:0:1::/64", "fe80::/10", "::/0", "ff00::/8", "fd00:0:0:1::2/127", "fe80::1")
	})
}

func (w writer) ports() string {
	head := w.some(w.one("tcp", "udp", "sctp")) + w.dir()
	if w.r.IntN(3) == 0 {
		return w.list(head+"portrange ", func() string {
			return w.one("20-22", "1-1024", "443-80", "80", "0-65535", "8080-8080", "(53)")
		})
	}
	return w.list(head+"port ", func() string {
		return w.one("80", "443", "53", "0x16", "024", "65535", "(21)", "domain")
	})
}

func (w writer) proto() string {
	switch w.r.IntN(5) {
	case 0:
		return w.one("ip", "ip6", "arp", "stp", "ipx", "esis", "lat", "ah", "esp", "pim", "igrp", "vrrp", "carp")
	case 1:
		return w.list(w.one("", "ip ", "ip6 ")+"proto ", func() string {
			return w.one("6", "17", "58", "44", `\tcp`, `\udp`, `\icmp`, "gre", "ipv6-icmp", "(132)", "ospf")
		})
	case 2:
		return "ether proto " + w.one("0x800", `\ip`, `\ip6`, "0x86dd", `\arp`, "0x806")
	}
	return w.one("tcp", "udp", "sctp", "icmp", "icmp6", "igmp")
}

func (w writer) single() string {
	switch w.r.IntN(4) {
	case 0:
		return w.one("ip broadcast", "ip multicast", "ip6 multicast")
	case 1:
		return fmt.Sprintf("byte %d %s %d", w.r.IntN(50), w.one("=", "<", ">"), w.r.IntN(256))
	}
	return fmt.Sprintf("%s %d", w.one("less", "greater"), w.r.IntN(120))
}

func (w writer) relation() string {
	if w.r.IntN(3) == 0 {
		return w.one("tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "icmp[icmptype] = icmp-echo",
			"icmp6[icmp6type] == icmp6-neighborsolicit", "ip[0] & 0xf != 5", "len > 80", "ip6[6] = 17",
			"(((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)", "tcp[13] & 2 != 0")
	}
	return w.number(3) + " " + w.one("=", "==", "!=", "<", "<=", ">", ">=") + " " + w.number(2)
}

// number is an arithmetic expression. What may be taken for an address or a name
// is kept apart by spaces.
func (w writer) number(depth int) string {
	if depth == 0 || w.r.IntN(4) == 0 {
		return w.one("0", "1", "4", "0x3f", "255", "0x0af40102", "len", "tcp-syn", "icmp-echo", "tcpflags")
	}
	switch w.r.IntN(8) {
	case 0:
		return "(" + w.number(depth-1) + ")"
	case 1:
		return "- " + w.number(depth-1)
	case 2, 3, 4:
		size := w.one("", "", ":1", ":2", ":4")
		return w.one("ip", "ip6", "tcp", "udp", "icmp", "icmp6", "ether", "sctp", "pim", "arp", "igmp") +
			"[" + w.one("0", "2", "8", "12", "40", w.number(depth-1)) + size + "]"
	}
	op := w.one("+", "-", "*", "&", "|", "^", "<<", ">>", "/", "%")
	right := w.number(depth - 1)
	if strings.ContainsAny(op, "/%<>") {
		right = w.one("1", "3", "7", "31", "ip[0]", "tcp[12]", "len")
	}
	return w.number(depth-1) + " " + op + " " + right
}
