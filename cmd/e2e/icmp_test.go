package e2e

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
	"weft/cmd/weft/lab/probe"
)

// ask sends a datagram until an ICMP error comes back. Kernels limit the rate
// of those, so one that is missing proves nothing; one that never comes does.
func ask(t testing.TB, s *socket, to netip.AddrPort, size int) icmpError {
	t.Helper()
	ctx := within(t)
	for {
		must(t, unmute(s.sendTo(payload(size), to)))
		short, cancel := context.WithTimeout(ctx, time.Second)
		e, err := s.icmp(short)
		cancel()
		if err == nil {
			return e
		}
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%s to %s: no ICMP error: %v", s.addr, to, err)
		}
	}
}

// unmute passes over what a socket reports of earlier datagrams.
func unmute(err error) error {
	for _, e := range []error{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ECONNREFUSED, unix.EMSGSIZE} {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

// route traces the way to an address with datagrams of growing TTL, and
// returns who answered, up to the one that says the port is closed.
func route(t testing.TB, from *lab.Place, addr, to netip.Addr) (hops []netip.Addr) {
	t.Helper()
	for ttl := 1; ttl < 10; ttl++ {
		s := openUDP(t, from, netip.AddrPortFrom(addr, 0))
		s.hops(t, ttl)
		e := ask(t, s, netip.AddrPortFrom(to, 33434), 30)
		hops = append(hops, e.from)
		if e.errno == unix.ECONNREFUSED {
			return hops
		}
		if e.errno != unix.EHOSTUNREACH || !(e.typ == 11 || e.typ == 3 && !addr.Is4()) {
			t.Errorf("TTL %d: %s, want time exceeded", ttl, e)
		}
	}
	t.Errorf("no end of the way after %v", hops)
	return hops
}

func testTraceroute(t *testing.T, n1, n2 *lab.Node) {
	for family, want := range map[string]string{
		// pod's gateway, up at n1, down at n2, n2's kernel, pod
		"IPv4": "10.244.1.1 10.244.1.0 10.244.2.0 10.244.2.0 10.244.2.2",
		"IPv6": "fd00:244:0:1::1 fd00:244:0:1:: fd00:244:0:2:: fd00:244:0:2:: fd00:244:0:2::2",
	} {
		var got []string
		for _, a := range route(t, n1.Pod, addrs(n1)[family], addrs(n2)[family]) {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: hops %s, want %s", family, strings.Join(got, " "), want)
		}
	}
}

// testTTL checks that 64 arrives as 60, as through stock flannel.
func testTTL(t *testing.T, n1, n2 *lab.Node) {
	for family, a := range addrs(n1) {
		in := openUDP(t, n2.Pod, netip.AddrPortFrom(addrs(n2)[family], 0))
		level, option, what := unix.IPPROTO_IP, unix.IP_RECVTTL, int32(unix.IP_TTL)
		if !a.Is4() {
			level, option, what = unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, unix.IPV6_HOPLIMIT
		}
		in.set(t, level, option, 1)
		out := openUDP(t, n1.Pod, netip.AddrPortFrom(a, 0))
		out.hops(t, 64)
		must(t, out.sendTo([]byte("ttl"), in.addr))
		must(t, in.wait(within(t), unix.POLLIN))
		buf, oob := make([]byte, 64), make([]byte, 128)
		_, n, _, _, err := unix.Recvmsg(in.fd, buf, oob, 0)
		must(t, err)
		msgs, err := unix.ParseSocketControlMessage(oob[:n])
		must(t, err)
		if len(msgs) != 1 || msgs[0].Header.Type != what || msgs[0].Data[0] != 60 {
			t.Errorf("%s: sent with TTL 64, control messages %+v, want 60", family, msgs)
		}
	}
}

// testUnallocated checks that what no lease covers is answered, towards a pod
// and towards the node itself.
func testUnallocated(t *testing.T, n1 *lab.Node) {
	for _, c := range []struct {
		name     string
		at       *lab.Place
		from, to string
	}{
		{"pod, IPv4", n1.Pod, "10.244.1.2", "10.244.77.2"},
		{"pod, IPv6", n1.Pod, "fd00:244:0:1::2", "fd00:244:0:77::2"},
		{"node, IPv4", n1.Host, "10.244.1.0", "10.244.77.2"},
		{"node, IPv6", n1.Host, "fd00:244:0:1::", "fd00:244:0:77::2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openUDP(t, c.at, netip.AddrPortFrom(netip.MustParseAddr(c.from), 0))
			e := ask(t, s, netip.AddrPortFrom(netip.MustParseAddr(c.to), 9), 100)
			if e.fromKernel || e.errno != unix.ENETUNREACH && e.errno != unix.EHOSTUNREACH {
				t.Errorf("%s, want unreachable by ICMP", e)
			}
		})
	}
}

// reach waits until two pods answer each other.
func reach(t testing.TB, from, to *lab.Node) {
	t.Helper()
	for _, a := range addrs(to) {
		awaitPing(t, from.Pod, a)
	}
	for _, a := range addrs(from) {
		awaitPing(t, to.Pod, a)
	}
}

func awaitPing(t testing.TB, from *lab.Place, to netip.Addr) {
	t.Helper()
	var p *probe.Pinger
	must(t, from.Do(func() (err error) { p, err = probe.NewPinger(to.Is6()); return }))
	defer p.Close()
	if err := p.Await(within(t), to); err != nil {
		t.Fatalf("from %s: %v", from.Name(), err)
	}
}
