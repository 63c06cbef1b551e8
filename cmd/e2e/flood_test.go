package e2e

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
)

// rubbish is what a node that holds a lease might send but should not, by the
// reason for which it is dropped; "" is what may well be delivered.
func rubbish(src, dst netip.AddrPort) map[string][][]byte {
	good := inner4(src, dst, 62, payload(100))
	with := func(change func(p []byte)) []byte {
		p := slices.Clone(good)
		change(p)
		return p
	}
	length := func(n int) []byte {
		return with(func(p []byte) { binary.BigEndian.PutUint16(p[2:], uint16(n)) })
	}
	fragment := func(at int) []byte {
		return with(func(p []byte) { binary.BigEndian.PutUint16(p[6:], uint16(at)) })
	}
	six := func(next byte, body []byte, claimed int) []byte {
		p := make([]byte, 40, 40+len(body))
		p[0], p[6], p[7] = 0x60, next, 60
		binary.BigEndian.PutUint16(p[4:], uint16(claimed))
		return append(p, body...)
	}
	return map[string][][]byte{
		"runt":            {{}, {0x45}, good[:19], {0x60}, make([]byte, 1)},
		"not_ip":          {with(func(p []byte) { p[0] = 0x05 }), with(func(p []byte) { p[0] = 0xf5 }), with(func(p []byte) { p[0] = 0x75 })},
		"bad_ip_header":   {with(func(p []byte) { p[0] = 0x44 }), with(func(p []byte) { p[0] = 0x40 }), length(19), length(0)},
		"ip_len_mismatch": {length(len(good) + 1), length(65535), good[:len(good)-1], good[:20], six(17, nil, 65535)},
		"ttl_exceeded":    {with(func(p []byte) { p[8] = 0 }), with(func(p []byte) { p[8] = 1 })},
		"": {
			length(len(good) - 1), length(20), // shorter than the datagram
			append(slices.Clone(good), payload(65507-len(good))...),
			with(func(p []byte) { p[0] = 0x46 }), with(func(p []byte) { p[0] = 0x4f }), // options
			fragment(0x2000), fragment(0x2001), fragment(0x1fff), fragment(0x3fff), fragment(0x8000),
			with(func(p []byte) { p[9] = unix.IPPROTO_TCP }), with(func(p []byte) { p[9] = 0 }), with(func(p []byte) { p[9] = 1 }),
			with(func(p []byte) { p[10]++ }), // header checksum
			with(func(p []byte) { binary.BigEndian.PutUint16(p[24:], 3) }),
			with(func(p []byte) { binary.BigEndian.PutUint16(p[26:], 0xbeef) }),
			inner4(src, dst, 62, payload(65507-28)),
			six(0, payload(60), 60), six(43, payload(8), 8), six(44, payload(8), 8), six(59, nil, 0), six(6, payload(3), 3),
			payload(64), payload(1400), payload(65507),
		},
	}
}

// A flood of rubbish, from a stranger and from a node with a lease, while two
// pods exchange data: the data are whole, and each kind has its counter.
func TestFlood(t *testing.T) {
	l := newLabUp(t, lab.Options{Nodes: 2, Store: lab.StoreDir})
	n1, n2 := l.Nodes[0], l.Nodes[1]
	in := openUDP(t, n1.Pod, netip.AddrPortFrom(n1.PodAddr(), 0))
	items := rubbish(netip.AddrPortFrom(n2.PodAddr(), 7), in.addr)
	pid := n1.PID()
	stop, done := make(chan struct{}), make(chan int, 2)
	var floods sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop) })
	defer floods.Wait() // nothing may be sent by a number that another socket has by then
	defer end()
	for _, s := range []*socket{
		openUDP(t, plug(t, l, "stranger", strangerAddr), netip.AddrPortFrom(strangerAddr, 0)),
		openUDP(t, n2.Host, netip.AddrPortFrom(n2.Underlay, 0)),
	} {
		s.discover(t, unix.IP_PMTUDISC_DONT)
		floods.Go(func() { done <- flood(s, tunnelOf(n1), in.addr, items, stop) })
	}
	transfer(t, n1, n2, n2.PodAddr(), 32*mega)
	end()
	t.Logf("%d and %d datagrams of rubbish", <-done, <-done)
	reach(t, n1, n2)
	if n1.PID() != pid || !n1.Running() {
		t.Fatal("weft did not live through it")
	}
	drops := stopped(t, n1)
	for reason := range items {
		if reason != "" && drops[reason] == 0 {
			t.Errorf("nothing was dropped as %s: %v", reason, drops)
		}
	}
	if drops["outer_src_unknown"] == 0 || drops["inner_src_not_in_lease"] == 0 {
		t.Errorf("liars were not counted: %v", drops)
	}
}

// flood sends all items, and a packet under a random name to the pod, over and
// over until stop closes, and often enough for some of it to be received.
func flood(s *socket, to, pod netip.AddrPort, items map[string][][]byte, stop <-chan struct{}) (sent int) {
	const least = 40
	for round := 1; ; round++ {
		for _, list := range items {
			for _, p := range list {
				if s.sendTo(p, to) == nil {
					sent++
				}
			}
		}
		liar := inner4(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(rand.IntN(256)), 9}), 1), pod, 9, nil)
		if s.sendTo(liar, to) == nil {
			sent++
		}
		select {
		case <-stop:
			if round >= least {
				return sent
			}
		default:
		}
	}
}
