package e2e

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
	"weft/cmd/weft/lab/space"
)

// plug adds a machine without weft to a lab's underlay.
func plug(t testing.TB, l *lab.Lab, name string, addr netip.Addr) *lab.Place {
	t.Helper()
	s, err := space.New(name)
	must(t, err)
	t.Cleanup(s.Close)
	must(t, l.Switch.Pair(name, "underlay", s, "eth0"))
	must(t, s.Addresses("eth0", netip.PrefixFrom(addr, 24)))
	return &lab.Place{Space: s}
}

var strangerAddr = netip.MustParseAddr("10.99.0.200")

// tunnelOf is where a node's weft listens.
func tunnelOf(n *lab.Node) netip.AddrPort { return netip.AddrPortFrom(n.Underlay, 8285) }

// inner4 makes an inner IPv4 UDP packet. Its UDP checksum is absent, which
// RFC 768 allows.
func inner4(src, dst netip.AddrPort, ttl byte, data []byte) []byte {
	p := make([]byte, 28, 28+len(data))
	p[0], p[8], p[9] = 0x45, ttl, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[2:], uint16(28+len(data)))
	copy(p[12:], src.Addr().AsSlice())
	copy(p[16:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[10:], ^fold(sum(p[:20])))
	binary.BigEndian.PutUint16(p[20:], src.Port())
	binary.BigEndian.PutUint16(p[22:], dst.Port())
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(data)))
	return append(p, data...)
}

// sum adds up 16-bit words (RFC 1071).
func sum(b []byte) (s uint32) {
	for i, c := range b {
		s += uint32(c) << (8 * (1 - i%2))
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// Strangers and liars: what is dropped by default and what the other modes do.
func TestSourceCheck(t *testing.T) {
	var mode string
	l := newLab(t, lab.Options{Nodes: 2, Env: quiet, Store: lab.StoreDir, Extra: func(n *lab.Node) (args, env []string) {
		if n.Index == 1 {
			args = []string{"--source-check=" + mode}
		}
		return args, nil
	}})
	n1, n2 := l.Nodes[0], l.Nodes[1]
	stranger := plug(t, l, "stranger", strangerAddr)
	must(t, n2.Start(within(t)))
	const some = 25
	for _, c := range []struct {
		mode      string
		delivered bool
		counted   uint64
	}{
		{"strict", false, some}, {"report", true, some}, {"off", true, 0},
	} {
		t.Run(c.mode, func(t *testing.T) {
			mode = c.mode
			must(t, n1.Start(within(t)))
			reach(t, n1, n2)
			in := openUDP(t, n1.Pod, netip.AddrPortFrom(n1.PodAddr(), 0))
			fakes := []struct {
				name   string
				from   *socket
				src    string
				reason string
			}{
				{"a stranger in its own name", openUDP(t, stranger, netip.AddrPortFrom(strangerAddr, 0)), "10.244.7.7", "outer_src_unknown"},
				{"a stranger in a pod's name", openUDP(t, stranger, netip.AddrPortFrom(strangerAddr, 8285)), "10.244.2.2", "outer_src_unknown"},
				{"a node in nobody's name", openUDP(t, n2.Host, netip.AddrPortFrom(n2.Underlay, 0)), "10.244.7.7", "inner_src_not_in_lease"},
				{"a node in our pod's name", openUDP(t, n2.Host, netip.AddrPortFrom(n2.Underlay, 0)), "10.244.1.2", "inner_src_not_in_lease"},
			}
			want := map[string]uint64{}
			for _, f := range fakes {
				p := inner4(netip.AddrPortFrom(netip.MustParseAddr(f.src), 7), in.addr, 62, []byte(f.name))
				for range some {
					must(t, f.from.sendTo(p, tunnelOf(n1)))
				}
				want[f.reason] += c.counted
			}
			got := map[string]int{}
			end := openUDP(t, n2.Pod, netip.AddrPortFrom(n2.PodAddr(), 0))
			must(t, end.sendTo([]byte("the end"), in.addr)) // from the same switch, after all of them
			for buf := make([]byte, 2048); got["the end"] == 0; {
				n, _, err := in.receive(within(t), buf)
				must(t, err)
				got[string(buf[:n])]++
			}
			drops := stopped(t, n1)
			for _, f := range fakes {
				// Our own pod's address from outside is one that the kernel
				// itself refuses, whatever weft does.
				if f.src == "10.244.1.2" {
					continue
				}
				if n := got[f.name]; c.delivered != (n == some) || !c.delivered && n > 0 {
					t.Errorf("%s: %d of %d delivered", f.name, n, some)
				}
			}
			for reason, n := range want {
				if drops[reason] != n {
					t.Errorf("%s: counted %d, want %d (%v)", reason, drops[reason], n, drops)
				}
			}
		})
	}
}

// Whatever the mode, nothing is carried on to where we are not.
func TestInnerDestination(t *testing.T) {
	l := newLabUp(t, lab.Options{Nodes: 3, Env: quiet, Store: lab.StoreDir})
	n1, n2, n3 := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	in := openUDP(t, n3.Pod, netip.AddrPortFrom(n3.PodAddr(), 0))
	out := openUDP(t, n2.Host, netip.AddrPortFrom(n2.Underlay, 0))
	for _, dst := range []netip.AddrPort{in.addr, netip.AddrPortFrom(switchAddr, 7), netip.MustParseAddrPort("127.0.0.1:7"),
		netip.MustParseAddrPort("224.0.0.1:7"), netip.MustParseAddrPort("255.255.255.255:7")} {
		must(t, out.sendTo(inner4(netip.AddrPortFrom(n2.PodAddr(), 7), dst, 62, []byte("astray")), tunnelOf(n1)))
	}
	reach(t, n1, n2) // after all of them
	reach(t, n1, n3)
	if drops := stopped(t, n1); drops["inner_dst_not_local"] != 5 {
		t.Errorf("drops %v, want 5 inner_dst_not_local", drops)
	}
	if err := in.wait(within(t), unix.POLLOUT); err != nil {
		t.Error(err)
	}
	if n, _, err := unix.Recvfrom(in.fd, make([]byte, 64), 0); err != unix.EAGAIN {
		t.Errorf("%d bytes came to the third node by way of the first (%v)", n, err)
	}
}
