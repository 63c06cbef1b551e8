package tunnel

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// marked makes runs whose congestion bits go round from 0 to 3, and returns
// the bits that each datagram bears.
func marked(to *Addr, n, each, limit int) (msgs []Message, bits []uint8) {
	for i := range n {
		for _, m := range runs(to, train(len(bits), each, 200, 90), limit) {
			m.ECN = uint8(i % 4)
			msgs = append(msgs, m)
			for range m.Count {
				bits = append(bits, m.ECN)
			}
		}
	}
	return msgs, bits
}

// receiveMarks takes n datagrams out of p and returns the congestion bits of
// each.
func receiveMarks(t testing.TB, p *Port, n int) (bits []uint8) {
	t.Helper()
	inbox := inboxes.Get().(*Inbox)
	defer inboxes.Put(inbox)
	for len(bits) < n {
		must(t, p.Recv(inbox))
		for _, m := range inbox.Messages {
			for range split(m) {
				bits = append(bits, m.ECN)
			}
		}
	}
	return bits
}

func sameMarks(t testing.TB, got, want []uint8) {
	t.Helper()
	if string(got) != string(want) {
		t.Errorf("congestion bits %v, want %v", got, want)
	}
}

// Congestion bits arrive as they were sent, with runs and with single
// datagrams, whatever the kernel is allowed to use; a port that does not ask
// for them is told nothing. Where ECN is not allowed, no bits go out, and none
// that arrive are told.
func TestPortECN(t *testing.T) {
	for f := Feature(0); f < 16; f++ {
		allow := f&1*GSO | f>>1&1*GRO | f>>2&1*Mmsg | f>>3&1*ECN
		for _, lo := range []netip.Addr{loopback4, loopback6} {
			t.Run(fmt.Sprintf("%v/%v", allow, lo), func(t *testing.T) {
				ownNamespace(t)
				stop, local := stopper(t), netip.AddrPortFrom(lo, 0)
				a := testPort(t, PortOptions{Local: local, Allow: allow, Stop: stop})
				b := testPort(t, PortOptions{Local: local, Allow: allow, Stop: stop, ECN: true})
				deaf := testPort(t, PortOptions{Local: local, Allow: allow, Stop: stop})
				able := testPort(t, PortOptions{Local: local, Allow: allPort, Stop: stop, ECN: true})
				if a.Features().Has(ECN) != allow.Has(ECN) || b.Features().Has(ECN) != allow.Has(ECN) {
					t.Fatalf("features %v and %v, allowed are %v", a.Features(), b.Features(), allow)
				}
				exchange := func(from, to *Port, each int, arrive bool) {
					msgs, want := marked(NewAddr(to.Local()), 70, each, from.MaxRun())
					if !arrive {
						clear(want)
					}
					send(t, from, msgs)
					sameMarks(t, receiveMarks(t, to, len(want)), want)
				}
				for _, each := range []int{1, 5} {
					exchange(a, b, each, allow.Has(ECN))
					exchange(a, able, each, allow.Has(ECN))
					exchange(able, b, each, allow.Has(ECN))
				}
				exchange(able, deaf, 3, false)
			})
		}
	}
}

// A run that the kernel does not take as one keeps its bits when it is sent
// datagram by datagram.
func TestPortECNOfRefusedRun(t *testing.T) {
	for _, lo := range []netip.Addr{loopback4, loopback6} {
		t.Run(lo.String(), func(t *testing.T) {
			ownNamespace(t)
			stop, local := stopper(t), netip.AddrPortFrom(lo, 0)
			b := testPort(t, PortOptions{Local: local, Allow: allPort, Stop: stop, ECN: true})
			const each = defaultRoom / 2 // more than any kernel takes
			for i := 0; i < 4; i += 2 {
				a := testPort(t, PortOptions{Local: local, Allow: allPort, Stop: stop})
				if !a.Features().Has(GSO) {
					t.Skip("no GSO here")
				}
				a.caps.maxRun = each
				msgs, want := marked(NewAddr(b.Local()), 4, each, a.MaxRun())
				send(t, a, msgs[i:i+2])
				sameMarks(t, receiveMarks(t, b, 2*each), want[i*each:(i+2)*each])
				if a.Features().Has(GSO) {
					t.Errorf("the kernel takes runs of %d", each)
				}
			}
		})
	}
}

// Only the congestion bits go out, even if a caller gives more.
func TestPortECNOnly(t *testing.T) {
	ownNamespace(t)
	stop, local := stopper(t), netip.AddrPortFrom(loopback4, 0)
	a := testPort(t, PortOptions{Local: local, Allow: allPort, Stop: stop})
	b := testPort(t, PortOptions{Local: local, Allow: allPort, Stop: stop})
	must(t, unix.SetsockoptInt(b.fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1))
	msgs := runs(NewAddr(b.Local()), train(0, 1, 10, 10), 1)
	msgs[0].ECN = 0xff
	send(t, a, msgs)
	must(t, stop.wait(b.fd, unix.POLLIN))
	var tos [64]byte
	_, n, _, _, err := unix.Recvmsg(b.fd, make([]byte, 100), tos[:], 0)
	must(t, err)
	cs, err := unix.ParseSocketControlMessage(tos[:n])
	must(t, err)
	if len(cs) != 1 || cs[0].Header.Type != unix.IP_TOS || cs[0].Data[0] != 3 {
		t.Errorf("control messages %+v, want a TOS of 3", cs)
	}
}
