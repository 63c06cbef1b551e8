package engine

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"testing"

	"weft/encap"
	"weft/engine/probe"
	"weft/engine/trace"
	"weft/lease"
	"weft/tunnel"
)

// Ends that do nothing, so that only the engine's own work is measured.

type nullDevice struct{ writes int }

func (*nullDevice) Read(*tunnel.Batch) error { return nil }
func (d *nullDevice) Write(*tunnel.Gather, tunnel.Offload, [][]byte) error {
	d.writes++
	return nil
}
func (*nullDevice) Features() tunnel.Feature { return allTUN }

type nullPort struct{ messages int }

func (p *nullPort) Send(_ *tunnel.Outbox, msgs []tunnel.Message) (int, error) {
	p.messages += len(msgs)
	return 0, nil
}
func (*nullPort) Recv(*tunnel.Inbox) error { return nil }
func (*nullPort) MaxRun() int              { return 64 }

// A mill runs one batch over and over, upwards and downwards.
type mill struct {
	up       *up
	down     *down
	dev      *nullDevice
	port     *nullPort
	hub      trace.Hub
	counts   [2]counters
	original []tunnel.Packet   // of the batch that goes up
	received []tunnel.Received // what comes down
	fresh    [][]byte          // its bytes before a carry has changed them
}

// newMill makes node 1 among peers 2 to 9 and 1000 others. The batch goes up
// from it; the same, sent by the peers, comes down.
func newMill(batch, back []tunnel.Packet) *mill {
	m := &mill{dev: &nullDevice{}, port: &nullPort{}, original: batch}
	var tab atomic.Pointer[table]
	tab.Store(udpBuilder(node(1), m.port).build(func(yield func(lease.Lease) bool) {
		for i := 2; i < 10; i++ {
			if !yield(node(i)) {
				return
			}
		}
		for _, l := range thousand(1000) {
			if l.Subnet.Addr().As4()[1] != 5 && !yield(l) {
				return
			}
		}
	}, func(l lease.Lease, err error) { panic(err) }))
	m.load(&tab, udpFraming(), nil, batch, back)
	return m
}

// newVXLANMill makes the same of a node of a vxlan network, with peers 2 to 9
// and four sockets that send.
func newVXLANMill(batch, back []tunnel.Packet) *mill {
	m := &mill{dev: &nullDevice{}, port: &nullPort{}, original: batch}
	f := vxlanFraming(1)
	b := newBuilder([]*framing{f}, leaseOf(1, "vxlan"), 0, [2]bool{true, false})
	for range f.spread {
		b.outlets = append(b.outlets, m.port)
	}
	b.spans[0][0] = span{0, f.spread}
	var tab atomic.Pointer[table]
	tab.Store(b.build(func(yield func(lease.Lease) bool) {
		for i := 2; i < 10 && yield(leaseOf(i, "vxlan")); i++ {
		}
	}, func(lease.Lease, error) {})) // of IPv6, which has no port here
	m.load(&tab, f, frame, batch, back)
	return m
}

// load makes the loops, and gives them the batch that goes up, and, each packet
// in the frame that wrap makes, the one that comes back.
func (m *mill) load(tab *atomic.Pointer[table], f *framing, wrap func([]byte) []byte, batch, back []tunnel.Packet) {
	answer := newAnswerer(tunnelAddr(node(1).Subnet), netip.Addr{})
	m.up = newUp(m.dev, tab, answer, nil, newTap(&m.hub, trace.Out, &m.counts[0]))
	m.down = newDown(m.dev, 1472, m.port, f, tab, Strict, answer, newTap(&m.hub, trace.In, &m.counts[1]))
	m.down.prober = probe.New(probe.Options{Send: func(string, []byte) error { return nil }})
	for _, pk := range batch {
		m.up.batch.Packets = append(m.up.batch.Packets, tunnel.Packet{Offload: pk.Offload, Data: bytes.Clone(pk.Data)})
	}
	for _, pk := range back {
		packets := cutSlow(pk)
		h, _ := encap.Parse(packets[0])
		from := outer(int(h.Src(packets[0]).As4()[2]))
		for i := range packets {
			if wrap != nil {
				packets[i] = wrap(packets[i])
			}
		}
		for len(packets) > 0 { // as UDP_GRO hands them over
			n := min(len(packets), 64, 65535/len(packets[0]))
			data := bytes.Join(packets[:n], nil)
			m.received = append(m.received, tunnel.Received{Data: bytes.Clone(data), Size: len(packets[0]), From: from})
			m.fresh, packets = append(m.fresh, data), packets[n:]
		}
	}
	m.down.inbox.Messages = m.received
}

// The kernel would fill the buffers anew; here only what a carry changes is
// put back: the TTL, its checksum, and the transport checksum.

func (m *mill) goUp() {
	for i := range m.original {
		copy(m.up.batch.Packets[i].Data[:60], m.original[i].Data)
	}
	if err := m.up.carry(); err != nil {
		panic(err)
	}
}

func (m *mill) goDown() {
	for i := range m.received {
		r := &m.received[i]
		for off := 0; off < len(r.Data); off += r.Size {
			copy(r.Data[off:min(off+20, len(r.Data))], m.fresh[i][off:])
		}
	}
	m.down.carry()
}

// check makes sure that the mill grinds: all that goes in comes out.
func (m *mill) check(t testing.TB, rounds int, up, down uint64) {
	t.Helper()
	a, b := m.counts[0].traffic(), m.counts[1].traffic()
	if a.Packets != up*uint64(rounds) || b.Packets != down*uint64(rounds) || m.port.messages == 0 || m.dev.writes == 0 {
		t.Fatalf("%d rounds: %+v up, %+v down, %d messages, %d writes; want %d and %d packets a round",
			rounds, a, b, m.port.messages, m.dev.writes, up, down)
	}
}

// loads are the batches of the allocation tests and the benchmarks: name, what
// goes up, and the same from the peers.
func loads() map[string][2][]tunnel.Packet {
	out := map[string][2][]tunnel.Packet{}
	add := func(name string, f func(i int, peer int, up bool) tunnel.Packet, n, peers int) {
		var up, down []tunnel.Packet
		for i := range n {
			up = append(up, f(i, 2+i%peers, true))
			down = append(down, f(i, 2+i%peers, false))
		}
		out[name] = [2][]tunnel.Packet{up, down}
	}
	ends := func(peer int, up bool) (string, string) {
		if up {
			return pod(1, 2), pod(peer, 2)
		}
		return pod(peer, 2), pod(1, 2)
	}
	super := func(i, peer int, up bool) tunnel.Packet {
		src, dst := ends(peer, up)
		return superpacket(tcpFrom(src, dst, uint32(i*45*1420), pattern(i, 45*1420)), 1420)
	}
	small := func(i, peer int, up bool) tunnel.Packet {
		src, dst := ends(peer, up)
		return one(udpFrom(src, dst, pattern(i, 64)))
	}
	add("super", super, 1, 1)
	add("3 supers of 3 peers", super, 3, 3)
	add("64 small", small, 64, 1)
	add("64 small of 8 peers", small, 64, 8)
	add("a mixture", func(i, peer int, up bool) tunnel.Packet {
		if i%8 == 0 {
			return super(i, peer, up)
		}
		return small(i, peer, up)
	}, 24, 5)
	return out
}

// packetsOf counts what packets stand for.
func packetsOf(batch []tunnel.Packet) (n uint64) {
	for _, pk := range batch {
		n += uint64(len(cutSlow(pk)))
	}
	return n
}

// TestNoAllocations holds the promise that a packet costs no allocation in
// either direction, once the buffers have grown to the size of the load.
func TestNoAllocations(t *testing.T) {
	for name, load := range loads() {
		t.Run("udp "+name, func(t *testing.T) { noAllocations(t, newMill(load[0], load[1]), load) })
		t.Run("vxlan "+name, func(t *testing.T) { noAllocations(t, newVXLANMill(load[0], load[1]), load) })
	}
}

func noAllocations(t *testing.T, m *mill, load [2][]tunnel.Packet) {
	const warm, rounds = 3, 100
	for range warm {
		m.goUp()
		m.goDown()
	}
	up, down := testing.AllocsPerRun(rounds, m.goUp), testing.AllocsPerRun(rounds, m.goDown)
	if up != 0 || down != 0 {
		t.Errorf("%v allocations a batch up, %v down", up, down)
	}
	m.check(t, warm+rounds+1, packetsOf(load[0]), packetsOf(load[1]))
	for i := range m.counts {
		drops := map[string]uint64{}
		if m.counts[i].addDrops(drops); len(drops) != 0 {
			t.Errorf("drops %v", drops)
		}
	}
}

// Neither does a packet that is dropped by the check of its source, so that a
// flood costs no more than its own time.
func TestNoAllocationsInAFlood(t *testing.T) {
	load := loads()["64 small"]
	for _, from := range []netip.AddrPort{outer(9), netip.MustParseAddrPort("203.0.113.5:8285")} {
		m := newMill(load[0], load[1])
		for i := range m.received {
			m.received[i].From = from
		}
		if n := testing.AllocsPerRun(100, m.goDown); n != 0 {
			t.Errorf("from %v: %v allocations a batch", from, n)
		}
		drops := map[string]uint64{}
		m.counts[1].addDrops(drops)
		if drops["outer_src_unknown"]+drops["inner_src_not_in_lease"] != 101*64 {
			t.Errorf("from %v: drops %v", from, drops)
		}
	}
}
