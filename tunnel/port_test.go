package tunnel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	loopback4 = netip.MustParseAddr("127.0.0.1")
	loopback6 = netip.IPv6Loopback()
)

// allPort is every feature of a port.
const allPort = GSO | GRO | Mmsg | ECN

// testPort opens a port that is closed at the end of the test.
func testPort(t testing.TB, o PortOptions) *Port {
	t.Helper()
	p, err := OpenPort(o)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

// pattern fills n bytes that depend on seed and position.
func pattern(seed, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8 + seed*31)
	}
	if n >= 4 {
		binary.BigEndian.PutUint32(b, uint32(seed))
	}
	return b
}

// train makes n datagrams of size bytes, the last of tail bytes.
func train(first, n, size, tail int) (out [][]byte) {
	for i := range n - 1 {
		out = append(out, pattern(first+i, size))
	}
	return append(out, pattern(first+n-1, tail))
}

// runs makes messages of datagrams, at most limit to a message, each datagram
// in two pieces as a segment is.
func runs(to *Addr, datagrams [][]byte, limit int) (msgs []Message) {
	for len(datagrams) > 0 {
		m := Message{To: to, Size: len(datagrams[0])}
		for m.Count < min(limit, len(datagrams)) && m.Bytes+len(datagrams[m.Count]) <= MaxDatagram {
			d := datagrams[m.Count]
			m.Pieces = append(m.Pieces, d[:len(d)/3], d[len(d)/3:])
			m.Bytes += len(d)
			m.Count++
		}
		msgs = append(msgs, m)
		datagrams = datagrams[m.Count:]
	}
	return msgs
}

// send hands over messages that the kernel must take.
func send(t testing.TB, p *Port, msgs []Message) {
	t.Helper()
	refused, err := p.Send(NewOutbox(), msgs)
	if refused != 0 || err != nil {
		t.Fatalf("Send: %d refused, %v; first reason %v", refused, err, firstErr(msgs))
	}
}

func firstErr(msgs []Message) error {
	for i := range msgs {
		if msgs[i].Err != nil {
			return msgs[i].Err
		}
	}
	return nil
}

// defaultRoom is how many datagrams of up to 300 bytes fit a socket's buffer of
// net.core.rmem_max's default, 208 KiB, doubled: each counts with the memory it
// takes, up to 1280 bytes. The root of a user namespace can have no more.
const defaultRoom = 300

// inboxes saves making one, of 4 MiB, for every call of receive.
var inboxes = sync.Pool{New: func() any { return NewInbox() }}

// receive takes n datagrams out of p.
func receive(t testing.TB, p *Port, n int) (out [][]byte) {
	t.Helper()
	inbox := inboxes.Get().(*Inbox)
	defer inboxes.Put(inbox)
	for len(out) < n {
		if err := p.Recv(inbox); err != nil {
			t.Fatalf("Recv after %d of %d datagrams: %v", len(out), n, err)
		}
		for _, m := range inbox.Messages {
			if m.Truncated {
				t.Fatalf("a message of %d bytes is truncated", len(m.Data))
			}
			out = append(out, split(m)...)
		}
	}
	return out
}

// split takes a run apart.
func split(m Received) (out [][]byte) {
	data := bytes.Clone(m.Data)
	for len(data) > m.Size {
		out = append(out, data[:m.Size])
		data = data[m.Size:]
	}
	return append(out, data)
}

func sameDatagrams(t testing.TB, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d datagrams, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("datagram %d of %d: %d bytes, want %d; or other bytes", i, len(want), len(got[i]), len(want[i]))
		}
	}
}

// Every run arrives in order, in length and in bytes, whatever the kernel is
// allowed to use.
func TestPortRuns(t *testing.T) {
	for f := Feature(0); f < 8; f++ {
		allow := f & 1 * GSO
		allow |= f >> 1 & 1 * GRO
		allow |= f >> 2 & 1 * Mmsg
		for _, lo := range []netip.Addr{loopback4, loopback6} {
			t.Run(fmt.Sprintf("%v/%v", allow, lo), func(t *testing.T) {
				ownNamespace(t)
				testRuns(t, allow, netip.AddrPortFrom(lo, 0))
			})
		}
	}
}

func testRuns(t *testing.T, allow Feature, local netip.AddrPort) {
	stop := stopper(t)
	a := testPort(t, PortOptions{Local: local, Allow: allow, Stop: stop})
	b := testPort(t, PortOptions{Local: local, Allow: allow, Stop: stop})
	if got := a.Features(); got&^allow != 0 {
		t.Fatalf("features %v, but only %v are allowed", got, allow)
	}
	if a.Features().Has(GSO) != (a.MaxRun() > 1) {
		t.Fatalf("features %v, yet runs of %d", a.Features(), a.MaxRun())
	}
	to := NewAddr(b.Local())
	check := func(n, size, tail int) {
		t.Helper()
		want := train(n, n, size, tail)
		send(t, a, runs(to, want, a.MaxRun()))
		sameDatagrams(t, receive(t, b, n), want)
	}
	for n := 1; n <= runSince69; n++ {
		size := 1 + n*37%511
		check(n, size, size)
		check(n, size, size/2+1)
	}
	check(48, 1393, 36) // MaxDatagram bytes in all
	check(7, 9000, 1)   // far above any MTU but the loopback's
	largest := 65536 - 48
	if local.Addr().Is4() {
		largest = MaxDatagram
	}
	check(3, largest, largest)
	sender := NewInbox()
	send(t, a, runs(to, train(0, 1, 5, 5), 1))
	must(t, b.Recv(sender))
	if from := sender.Messages[0].From; from != a.Local() {
		t.Errorf("the sender is %v, want %v", from, a.Local())
	}
}

// Messages to several peers go in one call, more of them than one system call
// takes, and each peer gets its own in order.
func TestPortPeers(t *testing.T) {
	for _, allow := range []Feature{allPort, GSO, 0} {
		t.Run(allow.String(), func(t *testing.T) {
			ownNamespace(t)
			stop := stopper(t)
			local := netip.AddrPortFrom(loopback4, 0)
			a := testPort(t, PortOptions{Local: local, Allow: allow, Stop: stop})
			var peers [5]*Port
			var want [5][][]byte
			var queue [5][]Message
			for i := range peers {
				peers[i] = testPort(t, PortOptions{Local: local, Allow: allow, Stop: stop})
				want[i] = train(1000*i, 60+i, 100+i, 50)
				queue[i] = runs(NewAddr(peers[i].Local()), want[i], min(3, a.MaxRun()))
			}
			var msgs []Message
			for k := range 60 + len(peers) {
				for i := range peers {
					if k < len(queue[i]) {
						msgs = append(msgs, queue[i][k])
					}
				}
			}
			if len(msgs) <= sendBatch {
				t.Fatalf("%d messages fit one system call", len(msgs))
			}
			send(t, a, msgs)
			for i := range peers {
				sameDatagrams(t, receive(t, peers[i], len(want[i])), want[i])
			}
		})
	}
}

// An empty datagram is a datagram.
func TestPortEmptyDatagram(t *testing.T) {
	ownNamespace(t)
	stop := stopper(t)
	local := netip.AddrPortFrom(loopback4, 0)
	a := testPort(t, PortOptions{Local: local, Allow: allPort, Stop: stop})
	send(t, a, []Message{{To: NewAddr(a.Local()), Count: 1}})
	if got := receive(t, a, 1); len(got[0]) != 0 {
		t.Errorf("an empty datagram arrives with %d bytes", len(got[0]))
	}
}

func TestPortOpenErrors(t *testing.T) {
	ownNamespace(t)
	stop := stopper(t)
	p := testPort(t, PortOptions{Local: netip.AddrPortFrom(loopback4, 0), Stop: stop})
	for _, tc := range []struct {
		local netip.AddrPort
		errno unix.Errno
		text  string
	}{
		{p.Local(), unix.EADDRINUSE, "is flanneld or another weft running?"},
		{netip.MustParseAddrPort("192.0.2.77:8285"), unix.EADDRNOTAVAIL, "192.0.2.77:8285"},
	} {
		_, err := OpenPort(PortOptions{Local: tc.local, Stop: stop})
		if !errors.Is(err, tc.errno) || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("OpenPort(%v) = %v; want %v and %q", tc.local, err, tc.errno, tc.text)
		}
	}
}

// The kernel's count of what did not fit the receive buffer is told: every
// datagram is either received or counted.
func TestPortDrops(t *testing.T) {
	ownNamespace(t)
	stop := stopper(t)
	local := netip.AddrPortFrom(loopback4, 0)
	a := testPort(t, PortOptions{Local: local, Allow: Mmsg, Stop: stop})
	b := testPort(t, PortOptions{Local: local, Allow: Mmsg, Stop: stop, Buffer: 1}) // the kernel makes it its minimum
	if n, err := b.Drops(); n != 0 || err != nil {
		t.Fatalf("before any traffic: %d drops, %v", n, err)
	}
	const sent = 100
	send(t, a, runs(NewAddr(b.Local()), train(0, sent, 1000, 1000), 1))
	drops, err := b.Drops()
	must(t, err)
	if drops == 0 || drops >= sent {
		t.Fatalf("%d of %d dropped", drops, sent)
	}
	receive(t, b, sent-int(drops))
	if n, e := b.recv(NewInbox()); e != unix.EAGAIN {
		t.Errorf("%d more messages, %v; want none", n, e)
	}
}
