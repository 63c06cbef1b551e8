package e2e

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
)

// payload returns n bytes that no other call returns.
func payload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// An echoer is a pod that sends datagrams back.
type echoer struct{ addr netip.AddrPort }

func startEcho(t testing.TB, at *lab.Place, addr netip.Addr) echoer {
	t.Helper()
	s := openUDP(t, at, netip.AddrPortFrom(addr, 0))
	s.discover(t, unix.IP_PMTUDISC_DONT)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, from, err := s.receive(ctx, buf)
			if err != nil {
				return
			}
			_ = s.sendTo(buf[:n], from) // what is lost is asked for again
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return echoer{s.addr}
}

// echoSizes sends one datagram of each size from a pod to an echoer and
// expects each back, byte for byte. What does not come back is sent again, for
// UDP may lose, but a payload that was changed never passes.
func echoSizes(t testing.TB, from *lab.Place, addr netip.Addr, to echoer, sizes []int) {
	t.Helper()
	s := openUDP(t, from, netip.AddrPortFrom(addr, 0))
	s.discover(t, unix.IP_PMTUDISC_DONT)
	const window = 16
	lost := 0
	for len(sizes) > 0 {
		n := min(window, len(sizes))
		lost += echoWindow(t, s, to, sizes[:n])
		sizes = sizes[n:]
	}
	if lost > 0 {
		t.Logf("%d datagrams had to be sent again", lost)
	}
}

// echoWindow does it for a few sizes at once, told apart by the size.
func echoWindow(t testing.TB, s *socket, to echoer, sizes []int) (lost int) {
	t.Helper()
	want := map[int]string{}
	for _, n := range sizes {
		want[n] = string(payload(n))
	}
	buf := make([]byte, 1<<16)
	for deadline := time.Now().Add(limit); len(want) > 0; lost += len(want) {
		if time.Now().After(deadline) {
			t.Fatalf("%s to %s: no echo of %d sizes out of %v within %s", s.addr, to.addr, len(want), sizes, limit)
		}
		for _, b := range want {
			must(t, unmute(s.sendTo([]byte(b), to.addr)))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		for len(want) > 0 {
			n, _, err := s.receive(ctx, buf)
			if errors.Is(err, context.DeadlineExceeded) {
				break
			}
			must(t, err)
			if b, waiting := want[n]; waiting && b != string(buf[:n]) {
				t.Fatalf("%s to %s: %d bytes came back changed", s.addr, to.addr, n)
			}
			delete(want, n)
		}
		cancel()
	}
	return lost
}

// upTo lists the UDP payload sizes from 1 to the largest that fits an IP
// packet of mtu bytes, every step-th and the last.
func upTo(mtu int, v6 bool, step int) (sizes []int) {
	most := mtu - 20 - 8
	if v6 {
		most = mtu - 40 - 8
	}
	for n := 1; n < most; n += step {
		sizes = append(sizes, n)
	}
	return append(sizes, most)
}

// superpackets sends 40 datagrams of size bytes with one system call, so that
// they enter the tunnel as one superpacket where the device takes those, and
// expects each back.
func superpackets(t testing.TB, from *lab.Place, addr netip.Addr, to echoer, size int) {
	t.Helper()
	const count = 40
	s := openUDP(t, from, netip.AddrPortFrom(addr, 0))
	s.set(t, unix.IPPROTO_UDP, unix.UDP_SEGMENT, size)
	want := map[string]bool{}
	all := payload(count*size - 1) // the last is shorter
	for i := 0; i < len(all); i += size {
		want[string(all[i:min(i+size, len(all))])] = true
	}
	buf := make([]byte, 1<<16)
	for deadline := time.Now().Add(limit); len(want) > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%s to %s: %d of %d datagrams of a superpacket missing after %s", s.addr, to.addr, len(want), count, limit)
		}
		must(t, s.sendTo(all, to.addr))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		for err := error(nil); err == nil && len(want) > 0; {
			var n int
			if n, _, err = s.receive(ctx, buf); err == nil {
				delete(want, string(buf[:n]))
			}
		}
		cancel()
	}
}
