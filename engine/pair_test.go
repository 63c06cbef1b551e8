package engine

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// A talker makes the packets that the pods of one node send to those of
// another, flow by flow as real stacks do: sequence numbers and IPv4 IDs go
// on where they were.
type talker struct {
	rng      *rand.Rand
	from, to int
	seq      map[int]uint32
	id       uint16
}

// next makes a packet or superpacket of a random flow.
func (s *talker) next() tunnel.Packet {
	kind := s.rng.IntN(9)
	src, dst := pod(s.from, 2+kind), pod(s.to, 2)
	if kind%2 == 1 {
		src, dst = pod6(s.from, 2+kind), pod6(s.to, 2)
	}
	size := 1 + s.rng.IntN(1400)
	payload := make([]byte, min(60000, size*(1+s.rng.IntN(50)*s.rng.IntN(2))+s.rng.IntN(size)))
	for i := range payload {
		payload[i] = byte(s.rng.Uint32())
	}
	switch kind {
	case 0, 1, 2, 3: // TCP
		p := ip(src, dst, tcp, tcpSegment(4000, 5000, s.seq[kind], 0x10|uint8(s.rng.IntN(2))*0x08, payload))
		s.seq[kind] += uint32(len(payload))
		return s.dress(p, size, len(payload))
	case 4, 5: // UDP
		return s.dress(ip(src, dst, udp, udpDatagram(1, 2, payload)), size, len(payload))
	case 6: // UDP without a checksum
		p := udpFrom(src, dst, payload[:min(len(payload), 1400)])
		p[26], p[27] = 0, 0
		return one(p)
	case 7: // ICMPv6, of which we touch nothing
		return one(ip(src, dst, icmp6, payload[:min(len(payload), 1400)]))
	}
	p := udpFrom(src, dst, payload[:min(len(payload), 1400)]) // some fragment
	binary.BigEndian.PutUint16(p[6:], uint16(s.rng.IntN(0x4000)))
	return one(seal4(p))
}

// dress gives p a TTL, an ID, and an offload: a superpacket if it is long
// enough to be one, its checksum begun or done.
func (s *talker) dress(p []byte, size, payload int) tunnel.Packet {
	p[ttlAt(p)] = byte(3 + s.rng.IntN(253))
	if p[0]>>4 == 4 {
		s.id++
		binary.BigEndian.PutUint16(p[4:], s.id)
		p[6] = byte(s.rng.IntN(2)) * 0x40
		seal4(p)
		s.id += uint16(payload / size)
	}
	switch {
	case len(p) > 1500 || payload > size:
		return superpacket(p, size)
	case s.rng.IntN(2) == 0:
		return partial(p)
	}
	return one(finished(p))
}

// TestNodesExchange joins three nodes by a wire and lets all their pods talk at
// once. What arrives, cut again by the slow reference, is what was sent, cut by
// the slow reference, two hops older: in order within each flow, nothing lost.
func TestNodesExchange(t *testing.T) {
	for name, o := range map[string]struct{ tun, port tunnel.Feature }{
		"everything":    {allTUN, allPort},
		"no gso":        {allTUN, tunnel.GRO},
		"no gro":        {allTUN, tunnel.GSO},
		"no uso":        {tunnel.Vnet | tunnel.TSO, allPort},
		"no offloads":   {tunnel.Vnet, 0},
		"no vnet":       {0, allPort},
		"plain and all": {0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(3, 4))
			wire := tunneltest.NewWire()
			var nodes [4]*rig
			for i := 1; i <= 3; i++ {
				c := rigOptions{own: node(i), wire: wire, tun: o.tun, port: o.port}
				for j := 1; j <= 3; j++ {
					if j != i {
						c.peers = append(c.peers, node(j))
					}
				}
				nodes[i] = newRig(t, c)
			}
			exchange(t, rng, nodes[1:])
		})
	}
}

// exchange lets the pods of all nodes talk at once.
func exchange(t *testing.T, rng *rand.Rand, nodes []*rig) {
	t.Helper()
	var talkers []*talker
	for i := range nodes {
		for j := range nodes {
			if i != j {
				talkers = append(talkers, &talker{rng: rng, from: i + 1, to: j + 1, seq: map[int]uint32{}})
			}
		}
	}
	want, got := make([][][]byte, len(nodes)), make([][][]byte, len(nodes))
	sent, bytes := uint64(0), uint64(0)
	for range 25 {
		batches := make([][]tunnel.Packet, len(nodes))
		for range 1 + rng.IntN(20) {
			s := talkers[rng.IntN(len(talkers))]
			pk := s.next()
			for _, p := range hopsAll(cutSlow(pk), nodes[s.to-1].hops()) {
				want[s.to-1] = append(want[s.to-1], p)
				sent++
				bytes += uint64(len(p))
			}
			batches[s.from-1] = append(batches[s.from-1], pk)
		}
		for i, r := range nodes {
			if len(batches[i]) > 0 {
				r.sendUp(batches[i]...)
			}
		}
		for i, r := range nodes {
			r.drain()
			got[i] = append(got[i], written(r.dev.Take())...)
		}
	}
	var up, down Traffic
	for i, r := range nodes {
		sameFlows(t, got[i], want[i])
		r.wantDrops(nil)
		up = up.plus(r.counts[0].traffic())
		for j := range r.counts[1:] {
			down = down.plus(r.counts[1+j].traffic())
		}
	}
	if up.Packets != sent || up.Bytes != bytes || down.Packets != sent || down.Bytes != bytes {
		t.Errorf("%d packets of %d bytes were sent; counted are %+v up and %+v down", sent, bytes, up, down)
	}
}

// An inlet is a port and the loop that reads it.
type inlet struct {
	port *tunneltest.Port
	down *down
}

// drain carries all that has arrived.
func (r *rig) drain() {
	r.t.Helper()
	for _, in := range append([]inlet{{r.ports[0], r.down}, {r.ports[1], r.down6}}, r.others...) {
		for in.port.Pending() > 0 {
			must(r.t, in.port.Recv(in.down.inbox))
			in.down.carry()
			must(r.t, in.down.failed)
		}
	}
}

// TestNodesRun lets the loops of two nodes run on their own while the table is
// swapped under them, over and over, by equal ones: nobody notices. It is of
// most use under the race detector.
func TestNodesRun(t *testing.T) {
	a := newRig(t, usual())
	b := newRig(t, peerOptions(a, 2))
	var loops, control sync.WaitGroup
	for _, r := range []*rig{a, b} {
		for _, run := range []func() error{r.up.run, r.down.run, r.down6.run} {
			loops.Go(func() {
				if err := run(); err != tunnel.ErrClosed {
					t.Error(err)
				}
			})
		}
	}
	done := make(chan struct{})
	control.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				a.setPeers(node(2), node(3), only6(4))
				b.setPeers(node(1), node(3))
				b.drops()
				a.counts[0].traffic()
			}
		}
	})
	rng := rand.New(rand.NewPCG(5, 6))
	s := &talker{rng: rng, from: 1, to: 2, seq: map[int]uint32{}}
	var want, got [][]byte
	for range 400 {
		pk := s.next()
		want = append(want, hopsAll(cutSlow(pk), 2)...)
		a.dev.Feed(pk)
		a.dev.Feed(one(udpFrom(pod(1, 2), "10.6.0.1", nil))) // and an answer now and then
	}
	for len(got) < len(want) {
		got = append(got, written(b.dev.Await())...)
	}
	close(done)
	control.Wait()
	for _, r := range []*rig{a, b} {
		must(t, r.dev.Close())
		must(t, r.ports[0].Close())
		must(t, r.ports[1].Close())
	}
	loops.Wait()
	sameFlows(t, got, want)
	if n := b.drops(); len(n) != 0 {
		t.Errorf("drops %v", n)
	}
}
