package echo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A Refusal is the message that came instead of an answer.
type Refusal struct {
	From netip.Addr // who sent it; invalid: our own kernel, before the packet left
	Seq  uint16     // of the request that it is about
	Text string     // what it says, in words
	MTU  int        // bytes that would have passed, of a message that says so; else 0
	Err  unix.Errno // what the kernel makes of it, as in EHOSTUNREACH or EMSGSIZE

	known bool // Seq is
}

// Error returns the message and who sent it.
func (r *Refusal) Error() string {
	s := r.Text
	if r.MTU > 0 {
		s = fmt.Sprintf("%s, MTU %d", s, r.MTU)
	}
	if !r.From.IsValid() {
		return "this host: " + s
	}
	return fmt.Sprintf("from %s: %s", r.From, s)
}

// Unwrap returns r.Err.
func (r *Refusal) Unwrap() error { return r.Err }

// TooBig reports whether err says that a packet was too long, and if known how
// long it may be, in bytes.
func TooBig(err error) (mtu int, yes bool) {
	var r *Refusal
	if errors.As(err, &r) {
		mtu = r.MTU
	}
	return mtu, errors.Is(err, unix.EMSGSIZE)
}

// objection takes the next message off the error queue; nil: it is empty.
func (c *Conn) objection() (r *Refusal) {
	// An error says that the file is closed, and then there is no queue.
	_ = c.raw.Control(func(fd uintptr) { r = c.dequeue(int(fd)) })
	return r
}

// dequeue takes the next message that it understands off the error queue.
func (c *Conn) dequeue(fd int) *Refusal {
	for {
		n, oobn, _, _, err := unix.Recvmsg(fd, c.buf[:], c.oob[:], unix.MSG_ERRQUEUE)
		if err != nil {
			return nil
		}
		r := parseRefusal(c.oob[:oobn])
		if r == nil {
			continue
		}
		if n >= icmpHeader { // the request's header, as it left
			if binary.BigEndian.Uint16(c.buf[4:]) != c.id {
				continue // of another process with a raw socket
			}
			r.Seq, r.known = binary.BigEndian.Uint16(c.buf[6:]), true
		}
		return r
	}
}

// Lengths in the control message IP_RECVERR (linux/errqueue.h), in bytes. A
// sock_extended_err is followed by the address of who sent the message.
//
//	 0      4        5      6      7    8      12     16
//	+------+--------+------+------+----+------+------+-----------------
//	| errno| origin | type | code |    | info | data | sockaddr_in[6]
//	+------+--------+------+------+----+------+------+-----------------
const (
	extendedErr  = 16
	sockaddrIn   = 8  // as far as the address goes
	sockaddrIn6  = 24 // likewise
	inAddrOffset = 4
	in6Offset    = 8
)

// parseRefusal reads the control messages of one message of the error queue.
// The words are in the machine's byte order, the address in the network's.
func parseRefusal(oob []byte) *Refusal {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		four := m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVERR
		six := m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if (four || six) && len(m.Data) >= extendedErr {
			return extended(m.Data)
		}
	}
	return nil
}

func extended(b []byte) *Refusal {
	r := &Refusal{Err: unix.Errno(binary.NativeEndian.Uint32(b))}
	origin, kind, code, info := b[4], b[5], b[6], binary.NativeEndian.Uint32(b[8:])
	if r.Err == unix.EMSGSIZE && info <= MaxSize {
		r.MTU = int(info)
	}
	switch origin {
	case unix.SO_EE_ORIGIN_ICMP:
		r.Text = words(icmp4, kind, code)
	case unix.SO_EE_ORIGIN_ICMP6:
		r.Text = words(icmp6, kind, code)
	case unix.SO_EE_ORIGIN_LOCAL:
		r.Text = r.Err.Error()
		if r.Err == unix.EMSGSIZE {
			r.Text = "the packet is too long"
		}
		return r
	default:
		return nil
	}
	r.From = offender(b[extendedErr:])
	return r
}

// offender reads the sockaddr behind a sock_extended_err.
func offender(b []byte) netip.Addr {
	if len(b) < sockaddrIn {
		return netip.Addr{}
	}
	switch family := binary.NativeEndian.Uint16(b); {
	case family == unix.AF_INET:
		return netip.AddrFrom4([4]byte(b[inAddrOffset:sockaddrIn]))
	case family == unix.AF_INET6 && len(b) >= sockaddrIn6:
		return netip.AddrFrom16([16]byte(b[in6Offset:sockaddrIn6])).Unmap()
	}
	return netip.Addr{}
}

// anyCode stands for the codes of a type that have no words of their own.
const anyCode = 255

type message struct{ kind, code uint8 }

// icmp4 has the words for errors of ICMP (RFC 792, RFC 1122 3.2.2.1, RFC 1812
// 5.2.7.1).
var icmp4 = map[message]string{
	{3, 0}: "network unreachable", {3, 1}: "host unreachable", {3, 2}: "protocol unreachable",
	{3, 3}: "port unreachable", {3, 4}: "fragmentation needed", {3, 5}: "source route failed",
	{3, 6}: "network unknown", {3, 7}: "host unknown", {3, 8}: "source host isolated",
	{3, 9}: "network administratively prohibited", {3, 10}: "host administratively prohibited",
	{3, 11}: "network unreachable for this type of service", {3, 12}: "host unreachable for this type of service",
	{3, 13}: "administratively prohibited", {3, 14}: "host precedence violation", {3, 15}: "precedence cutoff",
	{3, anyCode}: "destination unreachable", {4, anyCode}: "source quench",
	{11, 0}: "TTL exceeded", {11, 1}: "fragments came in too late to be joined", {11, anyCode}: "time exceeded",
	{12, anyCode}: "parameter problem",
}

// icmp6 has those of ICMPv6 (RFC 4443 3).
var icmp6 = map[message]string{
	{1, 0}: "no route", {1, 1}: "administratively prohibited", {1, 2}: "beyond the scope of the source address",
	{1, 3}: "address unreachable", {1, 4}: "port unreachable", {1, 5}: "source address failed the policy",
	{1, 6}: "the route rejects it", {1, anyCode}: "destination unreachable", {2, anyCode}: "packet too big",
	{3, 0}: "hop limit exceeded", {3, 1}: "fragments came in too late to be joined", {3, anyCode}: "time exceeded",
	{4, anyCode}: "parameter problem",
}

func words(table map[message]string, kind, code uint8) string {
	for _, m := range []message{{kind, code}, {kind, anyCode}} {
		if s := table[m]; s != "" {
			return s
		}
	}
	return fmt.Sprintf("ICMP type %d code %d", kind, code)
}
