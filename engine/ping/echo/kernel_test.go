package echo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/engine/ping/internal/line"
)

// within gives an echo more time than it takes anywhere.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// inEach runs f on a line of its own for both families and both kinds of socket.
func inEach(t *testing.T, f func(t *testing.T, l *line.Line, i int, open func(from, to netip.Addr, df bool) *Conn)) {
	for i, family := range []string{"IPv4", "IPv6"} {
		for _, datagram := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/datagram=%v", family, datagram), func(t *testing.T) {
				l := line.New(t)
				l.Near.Sysctl("net.ipv4.ping_group_range", "0 0")
				f(t, l, i, func(from, to netip.Addr, df bool) *Conn {
					c, err := open(from, to, df, datagram)
					must(t, err)
					t.Cleanup(func() { c.Close() })
					if c.datagram != datagram {
						t.Fatalf("datagram %v", c.datagram)
					}
					return c
				})
			})
		}
	}
}

// refused sends one echo that must come to grief.
func refused(t *testing.T, c *Conn, size int) *Refusal {
	t.Helper()
	ctx := within(t)
	_, err := c.Echo(ctx, 5, size)
	if ctx.Err() != nil {
		t.Errorf("%d bytes: waited on, in spite of %v", size, err)
	}
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("%d bytes: %v, want a refusal", size, err)
	}
	return r
}

func TestEcho(t *testing.T) {
	inEach(t, func(t *testing.T, l *line.Line, i int, open func(from, to netip.Addr, df bool) *Conn) {
		c := open(netip.Addr{}, line.Far[i], false)
		if c.From() != line.Near[i] {
			t.Errorf("from %s, want %s", c.From(), line.Near[i])
		}
		if mtu := c.PathMTU(); mtu != 1500 {
			t.Errorf("path MTU %d, want 1500", mtu)
		}
		for seq, size := range []int{Floor(line.Far[i]), 84, 1500, 1501, 9000, MaxSize} {
			rtt, err := c.Echo(within(t), uint16(seq), size)
			if err != nil || rtt <= 0 {
				t.Errorf("%d bytes: %v, %v", size, rtt, err)
			}
		}
	})
}

// A packet that is too long for the first link is refused by our own kernel,
// one that is for a later link by the router there. Both say how long it may be.
func TestTooLong(t *testing.T) {
	inEach(t, func(t *testing.T, l *line.Line, i int, open func(from, to netip.Addr, df bool) *Conn) {
		l.Router.MTU("far", 1400)
		l.Far.MTU("eth0", 1400)
		c := open(line.Near[i], line.Far[i], true)
		if r := refused(t, c, 1501); r.From.IsValid() || r.MTU != 1500 || r.Err != unix.EMSGSIZE || r.Seq != 5 {
			t.Errorf("1501 bytes: %+v", r)
		}
		if r := refused(t, c, 1401); r.From != line.Router[i] || r.MTU != 1400 || r.Err != unix.EMSGSIZE || r.Seq != 5 {
			t.Errorf("1401 bytes: %+v", r)
		}
		if mtu := c.PathMTU(); mtu != 1400 {
			t.Errorf("the kernel has learnt %d, want 1400", mtu)
		}
		if r := refused(t, c, 1401); r.From.IsValid() || r.MTU != 1400 {
			t.Errorf("1401 bytes again: %+v", r)
		}
		if _, err := c.Echo(within(t), 6, 1400); err != nil {
			t.Errorf("1400 bytes: %v", err)
		}
		if _, err := open(line.Near[i], line.Far[i], false).Echo(within(t), 7, 3000); err != nil {
			t.Errorf("3000 bytes in fragments: %v", err)
		}
	})
}

func TestRefusals(t *testing.T) {
	for kind, text := range map[int][2]string{
		unix.RTN_PROHIBIT:    {"administratively prohibited", "administratively prohibited"},
		unix.RTN_UNREACHABLE: {"host unreachable", "no route"},
	} {
		inEach(t, func(t *testing.T, l *line.Line, i int, open func(from, to netip.Addr, df bool) *Conn) {
			l.Router.Refuse(netip.PrefixFrom(line.Far[i], line.Far[i].BitLen()), kind)
			r := refused(t, open(netip.Addr{}, line.Far[i], false), 84)
			if r.From != line.Router[i] || r.Text != text[i] || r.Seq != 5 {
				t.Errorf("route type %d: %+v", kind, r)
			}
		})
	}
}

// A neighbour that does not answer is told by our own kernel, and late: here in
// the time of the second request or even the third.
func TestLateRefusal(t *testing.T) {
	inEach(t, func(t *testing.T, l *line.Line, i int, open func(from, to netip.Addr, df bool) *Conn) {
		for _, key := range []string{"net.ipv4.neigh.eth0.", "net.ipv6.neigh.eth0."} {
			l.Near.Sysctl(key+"retrans_time_ms", "50")
		}
		nobody := line.Near[i].Next().Next().Next()
		c := open(netip.Addr{}, nobody, false)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Echo(gone, 1, 84); !errors.Is(err, context.Canceled) {
			t.Fatalf("with a context that has ended: %v", err)
		}
		if r := refused(t, c, 84); r.From != line.Near[i] || r.Err != unix.EHOSTUNREACH || r.Seq != 1 && r.Seq != 5 {
			t.Errorf("%+v", r)
		}
	})
}

func TestSilence(t *testing.T) {
	inEach(t, func(t *testing.T, l *line.Line, i int, open func(from, to netip.Addr, df bool) *Conn) {
		l.Router.Refuse(netip.PrefixFrom(line.Far[i], line.Far[i].BitLen()), unix.RTN_BLACKHOLE)
		c := open(netip.Addr{}, line.Far[i], false)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := c.Echo(ctx, 1, 84); err != context.DeadlineExceeded {
			t.Errorf("%v, want the deadline's error", err)
		}
		// The next request has its own time.
		if _, err := open(netip.Addr{}, line.Router[i], false).Echo(within(t), 2, 84); err != nil {
			t.Error(err)
		}
	})
}

func TestNotOurs(t *testing.T) {
	line.New(t)
	for i := range 2 {
		if _, err := Open(line.Far[i], line.Near[i], false); !errors.Is(err, ErrNotOurs) {
			t.Errorf("from %s: %v", line.Far[i], err)
		}
	}
	if _, err := Open(netip.Addr{}, netip.MustParseAddr("10.9.1.255"), false); err == nil {
		t.Error("a broadcast address is let through")
	}
}

func TestPingSocketNotAllowed(t *testing.T) {
	line.New(t) // where net.ipv4.ping_group_range is what it is at first: nobody
	if _, err := open(netip.Addr{}, line.Far[0], false, true); !errors.Is(err, ErrPermission) {
		t.Errorf("%v, want ErrPermission", err)
	}
}
