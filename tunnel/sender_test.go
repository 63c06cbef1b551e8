package tunnel

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func testSender(t testing.TB, like *Port, o PortOptions) *Port {
	t.Helper()
	p, err := OpenSender(like, o)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

// Senders share the address of the port and not its number; what they send
// arrives, in runs where the port has them.
func TestPortSender(t *testing.T) {
	for _, allow := range []Feature{allPort, GSO, Mmsg, 0} {
		for _, lo := range []netip.Addr{loopback4, loopback6} {
			t.Run(allow.String()+"/"+lo.String(), func(t *testing.T) {
				ownNamespace(t)
				stop, local := stopper(t), netip.AddrPortFrom(lo, 0)
				like := testPort(t, PortOptions{Local: local, Allow: allow, Stop: stop})
				b := testPort(t, PortOptions{Local: local, Allow: allow, Stop: stop})
				ports := map[netip.AddrPort]bool{like.Local(): true}
				for i := range 16 {
					s := testSender(t, like, PortOptions{Allow: allPort, Stop: stop})
					if got, want := s.Features(), like.Features()&^GRO; got != want || s.MaxRun() != like.MaxRun() {
						t.Fatalf("features %v and runs of %d, want %v and %d", got, s.MaxRun(), want, like.MaxRun())
					}
					if s.Local().Addr() != lo || s.Local().Port() == 0 || ports[s.Local()] {
						t.Fatalf("sender %d is at %v", i, s.Local())
					}
					ports[s.Local()] = true
					want := train(100*i, 20, 500, 99)
					send(t, s, runs(NewAddr(b.Local()), want, s.MaxRun()))
					sameDatagrams(t, receive(t, b, len(want)), want)
					if from := sourceOf(t, s, b); from != s.Local() {
						t.Fatalf("a datagram comes from %v, want %v", from, s.Local())
					}
				}
			})
		}
	}
}

// sourceOf sends a datagram from s to b and returns from where it came.
func sourceOf(t testing.TB, s, b *Port) netip.AddrPort {
	t.Helper()
	inbox := NewInbox()
	send(t, s, runs(NewAddr(b.Local()), train(0, 1, 10, 10), 1))
	must(t, b.Recv(inbox))
	return inbox.Messages[0].From
}

// What arrives at a sender is thrown away at once, and counted; it may go on
// sending.
func TestPortSenderIsDeaf(t *testing.T) {
	for _, lo := range []netip.Addr{loopback4, loopback6} {
		t.Run(lo.String(), func(t *testing.T) {
			ownNamespace(t)
			stop, local := stopper(t), netip.AddrPortFrom(lo, 0)
			like := testPort(t, PortOptions{Local: local, Allow: allPort, Stop: stop})
			s := testSender(t, like, PortOptions{Allow: allPort, Stop: stop})
			const n = 50
			send(t, like, runs(NewAddr(s.Local()), train(0, n, 100, 100), 1))
			if _, e := s.recv(NewInbox()); e != unix.EAGAIN {
				t.Errorf("a sender receives: %v", e)
			}
			if drops, err := s.Drops(); drops != n || err != nil {
				t.Errorf("%d datagrams thrown away, %v; want %d", drops, err, n)
			}
			if from := sourceOf(t, s, like); from != s.Local() {
				t.Errorf("then it sends from %v", from)
			}
		})
	}
}

// What one learns about the kernel, all know, and it is told once.
func TestPortSendersShareDemotion(t *testing.T) {
	ownNamespace(t)
	var told demotions
	stop, local := stopper(t), netip.AddrPortFrom(loopback4, 0)
	o := PortOptions{Local: local, Allow: allPort, Stop: stop, Demoted: told.note}
	like := testPort(t, o)
	if !like.Features().Has(GSO) {
		t.Skip("no GSO here")
	}
	like.caps.maxRun = 500
	one, other := testSender(t, like, o), testSender(t, like, o)
	for _, s := range []*Port{one, other, one} {
		want := train(0, 250, 40, 40)
		send(t, s, runs(NewAddr(like.Local()), want, 250))
		sameDatagrams(t, receive(t, like, len(want)), want)
	}
	for _, p := range []*Port{like, one, other} {
		if p.Features().Has(GSO) || p.MaxRun() != 1 {
			t.Errorf("features %v, runs of %d", p.Features(), p.MaxRun())
		}
	}
	if len(told) != 1 || told[0] != GSO {
		t.Errorf("told %v, want gso once", told)
	}
}

// A sender may be allowed less than its port.
func TestPortSenderAllowsLess(t *testing.T) {
	ownNamespace(t)
	stop := stopper(t)
	like := testPort(t, PortOptions{Local: netip.AddrPortFrom(loopback4, 0), Allow: allPort, Stop: stop})
	s := testSender(t, like, PortOptions{Allow: Mmsg, Stop: stop})
	if s.Features()&^Mmsg != 0 || s.MaxRun() != 1 {
		t.Errorf("features %v, runs of %d; only mmsg is allowed", s.Features(), s.MaxRun())
	}
}

// Too long is refused, as it is by a port.
func TestPortSenderDoesNotFragment(t *testing.T) {
	namespace(t)
	dummy(t, 1400, "10.9.0.1/24")
	stop := stopper(t)
	like := testPort(t, PortOptions{Local: netip.MustParseAddrPort("10.9.0.1:0"), Allow: allPort, Stop: stop})
	s := testSender(t, like, PortOptions{Allow: allPort, Stop: stop})
	msgs := runs(NewAddr(netip.MustParseAddrPort("10.9.0.2:1")), train(0, 1, 1373, 1373), 1)
	if n, err := s.Send(NewOutbox(), msgs); n != 1 || err != nil || !errors.Is(msgs[0].Err, unix.EMSGSIZE) {
		t.Errorf("%d refused, %v, reason %v; want EMSGSIZE", n, err, msgs[0].Err)
	}
}
