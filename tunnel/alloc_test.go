package tunnel

import (
	"net/netip"
	"testing"
)

// Neither end allocates once its buffers have grown.

func TestPortAllocations(t *testing.T) {
	ownNamespace(t)
	for _, allow := range []Feature{allPort, 0} {
		stop := stopper(t)
		a := testPort(t, PortOptions{Local: netip.AddrPortFrom(loopback4, 0), Allow: allow, Stop: stop, ECN: true})
		inbox, out := NewInbox(), NewOutbox()
		msgs := append(runs(NewAddr(a.Local()), train(0, 40, 1400, 1400), a.MaxRun()), runs(NewAddr(a.Local()), train(0, 5, 80, 80), 1)...)
		for i := range msgs {
			msgs[i].ECN = uint8(i % 4)
		}
		turn := func() {
			if refused, err := a.Send(out, msgs); refused != 0 || err != nil {
				t.Fatalf("%d refused, %v", refused, err)
			}
			for n := 0; n < 45; {
				must(t, a.Recv(inbox))
				for _, m := range inbox.Messages {
					n += (len(m.Data) + m.Size - 1) / m.Size
				}
			}
		}
		if n := testing.AllocsPerRun(50, turn); n != 0 {
			t.Errorf("%v: %v allocations a turn", allow, n)
		}
	}
}

func TestTUNAllocations(t *testing.T) {
	tunSpace(t)
	d := testTUN(t, TUNOptions{Allow: allTUN, Stop: stopper(t)})
	linkUp(t)
	port := testPort(t, PortOptions{Local: ephemeral, Allow: allPort, Stop: stopper(t)})
	batch, g, out := NewBatch(), NewGather(), NewOutbox()
	msgs := runs(overlay, train(0, 20, 100, 100), 1)
	p := finish(udpPacket("10.5.2.9:4000", "10.5.1.0:5001", pattern(1, 1000))) // nobody listens there
	pieces := [][]byte{p[:28], p[28:500], p[500:]}
	turn := func() {
		if _, err := port.Send(out, msgs); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(msgs); n += len(batch.Packets) {
			must(t, d.Read(batch))
		}
		must(t, d.Write(g, Offload{}, pieces))
	}
	if n := testing.AllocsPerRun(50, turn); n != 0 {
		t.Errorf("%v allocations a turn", n)
	}
}
