package echo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	v4 = netip.MustParseAddr("192.0.2.1")
	v6 = netip.MustParseAddr("2001:db8::1")
)

func TestBuild(t *testing.T) {
	for _, to := range []netip.Addr{v4, v6} {
		c := &Conn{to: to, id: 0x1234, token: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}}
		for _, n := range []int{8, 9, 15, 16, 17, 1000} {
			b := c.build(7, n)
			if len(b) != n || binary.BigEndian.Uint16(b[4:]) != 0x1234 || binary.BigEndian.Uint16(b[6:]) != 7 {
				t.Errorf("%s, %d bytes: %x", to, n, b)
			}
			if to.Is4() && checksum(b) != 0 {
				t.Errorf("%d bytes: checksum does not add up: %x", n, b)
			}
			if n > 18 && (b[15] != 8 || b[16] != 8 || b[17] != 9) {
				t.Errorf("payload %x", b[8:20])
			}
		}
	}
}

// answer makes of a request what a host would answer, with an IPv4 header if
// it goes to a raw socket.
func answer(c *Conn, request []byte) []byte {
	b := bytes.Clone(request)
	b[0] = typeEchoReply6
	if c.to.Is4() {
		b[0] = typeEchoReply
		if !c.datagram {
			b = append([]byte{0x46, 23: 0}, b...) // a header with an option
		}
	}
	return b
}

func TestMatch(t *testing.T) {
	for _, c := range []*Conn{{to: v4}, {to: v4, datagram: true}, {to: v6}} {
		c.id, c.token = 77, [8]byte{9, 9, 9}
		request := bytes.Clone(c.build(3, 40))
		good := answer(c, request)
		start := len(good) - 40
		damage := func(at int) []byte {
			b := bytes.Clone(good)
			b[start+at] ^= 0x40
			return b
		}
		for _, tc := range []struct {
			name        string
			b           []byte
			ours, whole bool
		}{
			{"the answer", good, true, true},
			{"the request itself", append(bytes.Clone(good[:start]), request...), false, false},
			{"another code", damage(1), false, false},
			{"another identifier", damage(4), false, false},
			{"another sequence number", damage(6), false, false},
			{"another token", damage(8), false, false},
			{"a changed byte", damage(20), true, false},
			{"a byte less", good[:len(good)-1], true, false},
			{"a byte more", append(bytes.Clone(good), 0), true, false},
			{"cut in the header", good[:start+7], false, false},
			{"nothing", nil, false, false},
		} {
			if ours, whole := c.match(tc.b, request); ours != tc.ours || whole != tc.whole {
				t.Errorf("%s, datagram %v: %s: ours %v whole %v", c.to, c.datagram, tc.name, ours, whole)
			}
		}
	}
}

func FuzzMatch(f *testing.F) {
	c := &Conn{to: v4}
	request := bytes.Clone(c.build(1, 30))
	f.Add(answer(c, request), true, false)
	f.Add([]byte{0x4f}, true, false)
	f.Add([]byte{}, false, true)
	f.Fuzz(func(t *testing.T, b []byte, four, datagram bool) {
		c := &Conn{to: v6, datagram: datagram}
		if four {
			c.to = v4
		}
		if ours, whole := c.match(b, request); whole && (!ours || !bytes.HasSuffix(b, request[8:])) {
			t.Errorf("%x is taken for the whole answer", b)
		}
	})
}

// errqueue lays out an IP_RECVERR control message.
func errqueue(level, kind int, errno unix.Errno, origin, icmpType, code uint8, info uint32, from []byte) []byte {
	data := make([]byte, extendedErr)
	binary.NativeEndian.PutUint32(data, uint32(errno))
	data[4], data[5], data[6] = origin, icmpType, code
	binary.NativeEndian.PutUint32(data[8:], info)
	data = append(data, from...)
	b := make([]byte, unix.CmsgSpace(len(data)))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(len(data))))
	binary.NativeEndian.PutUint32(b[unix.CmsgLen(0)-8:], uint32(level))
	binary.NativeEndian.PutUint32(b[unix.CmsgLen(0)-4:], uint32(kind))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

func inet(a netip.Addr) []byte {
	if a.Is4() {
		b := make([]byte, 16)
		binary.NativeEndian.PutUint16(b, unix.AF_INET)
		copy(b[4:], a.AsSlice())
		return b
	}
	b := make([]byte, 28)
	binary.NativeEndian.PutUint16(b, unix.AF_INET6)
	copy(b[8:], a.AsSlice())
	return b
}

func TestParseRefusal(t *testing.T) {
	const ip, ip6 = unix.SOL_IP, unix.SOL_IPV6
	const e4, e6 = unix.IP_RECVERR, unix.IPV6_RECVERR
	const icmp, icmpv6, local = unix.SO_EE_ORIGIN_ICMP, unix.SO_EE_ORIGIN_ICMP6, unix.SO_EE_ORIGIN_LOCAL
	for want, b := range map[string][]byte{
		"from 192.0.2.1: fragmentation needed, MTU 1400":  errqueue(ip, e4, unix.EMSGSIZE, icmp, 3, 4, 1400, inet(v4)),
		"from 192.0.2.1: host unreachable":                errqueue(ip, e4, unix.EHOSTUNREACH, icmp, 3, 1, 0, inet(v4)),
		"from 192.0.2.1: administratively prohibited":     errqueue(ip, e4, unix.EHOSTUNREACH, icmp, 3, 13, 0, inet(v4)),
		"from 192.0.2.1: TTL exceeded":                    errqueue(ip, e4, unix.EHOSTUNREACH, icmp, 11, 0, 0, inet(v4)),
		"from 192.0.2.1: destination unreachable":         errqueue(ip, e4, unix.EHOSTUNREACH, icmp, 3, 99, 0, inet(v4)),
		"from 192.0.2.1: ICMP type 77 code 1":             errqueue(ip, e4, unix.EHOSTUNREACH, icmp, 77, 1, 0, inet(v4)),
		"from 2001:db8::1: packet too big, MTU 1280":      errqueue(ip6, e6, unix.EMSGSIZE, icmpv6, 2, 0, 1280, inet(v6)),
		"from 2001:db8::1: address unreachable":           errqueue(ip6, e6, unix.EHOSTUNREACH, icmpv6, 1, 3, 0, inet(v6)),
		"from 2001:db8::1: hop limit exceeded":            errqueue(ip6, e6, unix.EHOSTUNREACH, icmpv6, 3, 0, 0, inet(v6)),
		"this host: the packet is too long, MTU 1500":     errqueue(ip, e4, unix.EMSGSIZE, local, 0, 0, 1500, inet(v4)),
		"this host: no route to host":                     errqueue(ip6, e6, unix.EHOSTUNREACH, local, 0, 0, 0, nil),
		"this host: the packet is too long":               errqueue(ip, e4, unix.EMSGSIZE, local, 0, 0, 1<<31, nil),
		"this host: host unreachable":                     errqueue(ip, e4, unix.EHOSTUNREACH, icmp, 3, 1, 0, []byte{2, 0}), // no room for who
		"timestamps are none":                             errqueue(ip, e4, unix.ENOMSG, unix.SO_EE_ORIGIN_TIMESTAMPING, 0, 0, 0, nil),
		"another control message is none":                 errqueue(unix.SOL_SOCKET, 29, 0, icmp, 3, 1, 0, inet(v4)),
		"what is too short to be a control message":       {1, 2, 3},
		"a sock_extended_err that is cut short is none, ": errqueue(ip, e4, unix.EHOSTUNREACH, icmp, 3, 1, 0, nil)[:unix.CmsgLen(8)],
	} {
		r := parseRefusal(b)
		if r == nil {
			if strings.Contains(want, ": ") {
				t.Errorf("nothing, want %q", want)
			}
			continue
		}
		if r.Error() != want {
			t.Errorf("%q, want %q", r, want)
		}
		if mtu, big := TooBig(r); big != errors.Is(r, unix.EMSGSIZE) || mtu != r.MTU {
			t.Errorf("%s: TooBig says %d %v", want, mtu, big)
		}
	}
}

func TestOpenRefusesNonsense(t *testing.T) {
	for _, p := range [][2]netip.Addr{{v4, v6}, {v6, v4}, {v4, {}}, {{}, {}}} {
		if c, err := Open(p[0], p[1], false); err == nil {
			c.Close()
			t.Errorf("%v to %v is let through", p[0], p[1])
		}
	}
}

func TestSizeOutOfRange(t *testing.T) {
	for _, to := range []netip.Addr{v4, v6} {
		for _, size := range []int{-1, 0, Floor(to) - 1, MaxSize + 1} {
			if _, err := (&Conn{to: to}).Echo(context.Background(), 1, size); err == nil || !strings.Contains(err.Error(), "size") {
				t.Errorf("%s: size %d: %v", to, size, err)
			}
		}
	}
}
