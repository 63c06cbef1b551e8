package tunnel

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// demotions records what an end says about its features.
type demotions []Feature

func (d *demotions) note(f Feature, _ error) { *d = append(*d, f) }

func anyPort(t testing.TB, allow Feature, stop *Stopper, told *demotions) *Port {
	t.Helper()
	return testPort(t, PortOptions{Local: netip.MustParseAddrPort("0.0.0.0:0"), Allow: allow, Stop: stop, Demoted: told.note})
}

// TestPortRefused sends good messages with bad ones between them. Each bad one
// bears its own reason, and every good datagram arrives in order.
func TestPortRefused(t *testing.T) {
	for _, allow := range []Feature{allPort, GSO | GRO, Mmsg, 0} {
		t.Run(allow.String(), func(t *testing.T) {
			namespace(t)
			dummy(t, 1400, "10.9.0.1/24")
			var told demotions
			stop := stopper(t)
			a := anyPort(t, allow, stop, &told)
			b := testPort(t, PortOptions{Local: netip.AddrPortFrom(loopback4, 0), Allow: allow, Stop: stop})
			narrow := NewAddr(netip.MustParseAddrPort("10.9.0.2:8285"))
			nowhere := NewAddr(netip.MustParseAddrPort("203.0.113.1:8285"))
			nobody := NewAddr(netip.MustParseAddrPort("10.9.0.2:0"))
			limit := a.MaxRun()

			var msgs []Message
			var want [][]byte
			var reasons []error
			add := func(reason error, m ...Message) {
				msgs = append(msgs, m...)
				for range m {
					reasons = append(reasons, reason)
				}
			}
			good := func() {
				d := train(len(want), min(5, limit), 300, 100)
				want = append(want, d...)
				add(nil, runs(NewAddr(b.Local()), d, limit)...)
			}
			good()
			add(unix.EMSGSIZE, runs(narrow, train(0, 1, 1373, 1373), 1)...)
			good()
			add(unix.ENETUNREACH, runs(nowhere, train(0, 3, 100, 100), limit)...)
			add(unix.EINVAL, runs(nobody, train(0, 1, 100, 100), 1)...)
			good()
			add(unix.EMSGSIZE, runs(narrow, train(0, 4, 1373, 1373), limit)...)
			good()

			refused, err := a.Send(NewOutbox(), msgs)
			must(t, err)
			for i := range msgs {
				if !errors.Is(msgs[i].Err, reasons[i]) {
					t.Errorf("message %d: %v, want %v", i, msgs[i].Err, reasons[i])
				}
				if reasons[i] != nil {
					refused--
				}
			}
			if refused != 0 {
				t.Errorf("the count of refused messages is off by %d", refused)
			}
			sameDatagrams(t, receive(t, b, len(want)), want)
			if len(told) != 0 {
				t.Errorf("%v demoted for what single datagrams are refused for", told)
			}
		})
	}
}

// TestPortNarrowRun: of a run to a path that is too narrow the shorter tail
// still fits. It goes, the message is reported, and GSO is not to blame,
// whichever errno the kernel has for this (EINVAL or EMSGSIZE).
func TestPortNarrowRun(t *testing.T) {
	namespace(t)
	sysctl(t, "ipv4/conf/all/rp_filter", "0")
	dummy(t, 1400, "10.9.0.1/24")
	// The neighbour is this namespace itself, by a narrow route over loopback.
	assign(t, "lo", "10.9.1.1/32")
	must(t, netlink.RouteReplace(&netlink.Route{LinkIndex: 1, Dst: ipNet("10.9.1.1/32"), MTU: 1400, MTULock: true,
		Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST, Protocol: 2}))
	local := netip.MustParseAddrPort("10.9.1.1:0")
	for _, errno := range []unix.Errno{0, unix.EINVAL, unix.EMSGSIZE} {
		var told demotions
		stop := stopper(t)
		a := testPort(t, PortOptions{Local: local, Allow: allPort, Stop: stop, Demoted: told.note})
		b := testPort(t, PortOptions{Local: local, Allow: allPort, Stop: stop})
		m := runs(NewAddr(b.Local()), train(0, 4, 1373, 90), a.MaxRun())
		if len(m) != 1 {
			t.Skip("no GSO here")
		}
		var err error
		if errno == 0 { // what this kernel says
			if n, sendErr := a.Send(NewOutbox(), m); n != 1 || sendErr != nil {
				t.Fatalf("%d refused, %v", n, sendErr)
			}
			err = m[0].Err
		} else { // what others say
			_, err = a.refusedOne(NewOutbox(), &m[0], errno)
		}
		if !errors.Is(err, unix.EMSGSIZE) {
			t.Errorf("errno %d: the reason is %v", errno, err)
		}
		sameDatagrams(t, receive(t, b, 1), [][]byte{pattern(3, 90)})
		if len(told) != 0 || !a.Features().Has(GSO) {
			t.Errorf("errno %d: demoted %v", errno, told)
		}
	}
}

// TestPortDemotesGSO lets the port believe in runs that no kernel takes. The
// run arrives all the same, GSO goes off, and that is told once, however many
// runs of the same batch meet the same fate.
func TestPortDemotesGSO(t *testing.T) {
	for _, allow := range []Feature{allPort, GSO} {
		t.Run(allow.String(), func(t *testing.T) {
			ownNamespace(t)
			var told demotions
			stop := stopper(t)
			a := testPort(t, PortOptions{Local: netip.AddrPortFrom(loopback4, 0), Allow: allow, Stop: stop, Demoted: told.note})
			b := testPort(t, PortOptions{Local: netip.AddrPortFrom(loopback4, 0), Allow: allow, Stop: stop})
			if !a.Features().Has(GSO) {
				t.Skip("no GSO here")
			}
			a.caps.maxRun = 500
			to := NewAddr(b.Local())
			const run = defaultRoom/2 - 2
			first, second, third := train(0, run, 40, 40), train(run, run, 40, 7), train(2*run, 4, 40, 40)
			msgs := append(append(runs(to, first, a.MaxRun()), runs(to, second, a.MaxRun())...), runs(to, third, a.MaxRun())...)
			send(t, a, msgs)
			sameDatagrams(t, receive(t, b, defaultRoom), append(append(first, second...), third...))
			if len(told) != 1 || told[0] != GSO {
				t.Errorf("told %v, want gso once", told)
			}
			if a.MaxRun() != 1 || a.Features().Has(GSO) {
				t.Errorf("runs of %d with features %v after the demotion", a.MaxRun(), a.Features())
			}
		})
	}
}

// TestPathMTU: the limit is that of the link, of the route, or an error that
// says what was asked.
func TestPortPathMTU(t *testing.T) {
	namespace(t)
	dev := dummy(t, 1480, "10.9.0.1/24", "fd00:9::1/64")
	for dst, mtu := range map[string]int{"10.8.0.0/16": 1300, "fd00:8::/32": 1290} {
		must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: dev.Attrs().Index, Dst: ipNet(dst), MTU: mtu, Scope: netlink.SCOPE_LINK}))
	}
	for _, tc := range []struct {
		local, remote string
		want          int
	}{
		{"10.9.0.1", "10.9.0.2:8285", 1480},
		{"10.9.0.1", "10.8.1.2:8285", 1300},
		{"fd00:9::1", "[fd00:9::2]:8285", 1480},
		{"fd00:9::1", "[fd00:8::2]:8285", 1290},
	} {
		if got, err := PathMTU(netip.MustParseAddr(tc.local), netip.MustParseAddrPort(tc.remote)); got != tc.want || err != nil {
			t.Errorf("%s → %s: %d, %v; want %d", tc.local, tc.remote, got, err, tc.want)
		}
	}
	if _, err := PathMTU(netip.MustParseAddr("10.9.0.1"), netip.MustParseAddrPort("203.0.113.1:1")); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("without a route: %v", err)
	}
	if _, err := PathMTU(netip.MustParseAddr("10.9.0.77"), netip.MustParseAddrPort("10.9.0.2:1")); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("from an address that is not ours: %v", err)
	}
}
