//go:build !race

package wg

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"

	"weft/tunnel"
)

// None of this runs with the race detector, under which pools forget.

// A still is a near end that has the same packets again and again.
type still struct{ out Outgoing }

func (s still) Stop() {}
func (s still) Read(bufs [][]byte, offset int, out []Outgoing) (int, error) {
	for i := range bufs {
		s.out.Lane.Admit(1)
		out[i] = s.out
	}
	return len(bufs), nil
}
func (s still) Write([][]byte, int, []uint8) error { return nil }

func buffers(n int) (bufs [][]byte) {
	for range n {
		bufs = append(bufs, make([]byte, device.MaxMessageSize))
	}
	return bufs
}

// The near end's part of the way costs no allocation.
func TestNearEndAllocations(t *testing.T) {
	tun := newTunnel(Options{MTU: 1420, Key: NewPrivateKey()})
	l := tun.lanes.add(PublicKey{1}, func() {})
	l.left(0)
	tun.opt.Near = still{Outgoing{Size: 1000, Lane: l, ECN: 2}}
	tun.sessions.offer(offered(7), tun.settled)
	n, bufs, sizes, s := newNearEnd(tun), buffers(batchSize), make([]int, batchSize), tun.sessions.find(7)
	var counter uint64
	cut := make([][]byte, batchSize)
	turn := func() {
		if k, err := n.Read(bufs, sizes, headerBytes); k != batchSize || err != nil {
			t.Fatal(k, err)
		}
		tun.outward.give(batchSize)
		for i, b := range bufs {
			binary.LittleEndian.PutUint32(b[4:], 7)
			binary.LittleEndian.PutUint64(b[8:], counter)
			counter++
			tn := note{ord: s.handed.Add(1)}
			tn.put(b, tun.noteAt, 1032)
			cut[i] = b[:1016]
		}
		if _, err := n.Write(cut, headerBytes); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("%v allocations a turn", n)
	}
	if got := tun.lost.vanished.Load(); got != 0 {
		t.Errorf("%d vanished", got)
	}
}

// Nor does the way from the device to the wire and back.
func TestBindAllocations(t *testing.T) {
	a := newNode(t, 1, nil)
	must(t, a.dev.Down()) // the bind is ours
	fns, port, err := a.bind.Open(0)
	must(t, err)
	defer a.bind.Close()
	a.sessions.offer(offered(7), a.settled)
	l := a.lanes.add(PublicKey{1}, func() {})
	to := newEndpoint(netip.AddrPortFrom(loopback[0], port))
	out, in, sizes, eps := buffers(64), buffers(batchSize), make([]int, batchSize), make([]conn.Endpoint, batchSize)
	for i := range out {
		b := out[i]
		b[0], b[4] = typeTransport, 7
		(&note{lane: l.id, ecn: uint8(i / 16)}).put(b, a.noteAt, 1032)
		out[i] = b[:1032]
	}
	turn := func() {
		if err := a.bind.Send(out, to); err != nil {
			t.Fatal(err)
		}
		for k := 0; k < len(out); {
			n, err := fns[0](in, sizes, eps)
			must(t, err)
			k += n
		}
		a.inward.give(len(out))
	}
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("%v allocations a turn", n)
	}
	a.counted(l, func(c *counted) {
		if want := 101 * len(out); c.packets != want || c.bytes != want*1032 || c.refused != 0 {
			t.Errorf("counted %+v, want %d packets", *c, want)
		}
	})
	if f := a.Features(); !f.Has(tunnel.Mmsg) {
		t.Logf("features %v", f)
	}
}
