package tunneltest

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"weft/tunnel"
)

func message(to netip.AddrPort, size int, data string) tunnel.Message {
	return tunnel.Message{To: tunnel.NewAddr(to), Pieces: [][]byte{[]byte(data)}, Size: size,
		Count: (len(data) + size - 1) / size, Bytes: len(data)}
}

func texts(p *Port) (out []string) {
	for _, m := range p.Take() {
		out = append(out, string(m.Data))
	}
	return out
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("%q arrived, want %q", got, want)
		}
	}
}

// Runs arrive as runs, as datagrams, in part or not at all, as the ends and
// the wire between them decide.
func TestWire(t *testing.T) {
	addr := func(n byte) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 1)
	}
	w := NewWire()
	a, b, c := w.Port(addr(1), tunnel.GSO), w.Port(addr(2), tunnel.GRO), w.Port(addr(3), 0)
	send := func(msgs ...tunnel.Message) (reasons []error) {
		refused, err := a.Send(nil, msgs)
		for _, m := range msgs {
			reasons = append(reasons, m.Err)
			if m.Err != nil {
				refused--
			}
		}
		if err != nil || refused != 0 {
			t.Fatalf("Send: %v, and a count that is off by %d", err, refused)
		}
		return reasons
	}
	send(message(addr(2), 4, "aaaabbbbc"), message(addr(3), 4, "aaaabbbbc"), message(addr(9), 4, "lost"))
	same(t, texts(b), "aaaabbbbc")
	same(t, texts(c), "aaaa", "bbbb", "c")

	marked := message(addr(2), 4, "aaaab")
	marked.ECN = 3
	send(marked)
	if got := b.Take(); len(got) != 1 || got[0].ECN != 3 {
		t.Errorf("%+v arrived, want congestion bits 3", got)
	}

	a.Limit = 2
	if got := send(message(addr(3), 4, "aaaabbbbcc"), message(addr(3), 2, "dd")); got[0] != unix.EMSGSIZE || got[1] != nil {
		t.Errorf("reasons %v", got)
	}
	same(t, texts(c), "cc", "dd")
	a.Limit = 0

	a.Refuse = func(m *tunnel.Message) error {
		if m.To.AddrPort() == addr(2) {
			return unix.EPERM
		}
		return nil
	}
	if got := send(message(addr(2), 1, "x"), message(addr(3), 1, "y")); got[0] != unix.EPERM || got[1] != nil {
		t.Errorf("reasons %v", got)
	}
	same(t, append(texts(b), texts(c)...), "y")
	a.Refuse = nil

	w.Lose = func(_, _ netip.AddrPort, d []byte) bool { return d[0] == 'b' }
	send(message(addr(2), 4, "aaaabbbbc"))
	same(t, texts(b), "aaaa", "c")
}

// A message that lies about itself is found out.
func TestSendChecks(t *testing.T) {
	to := netip.MustParseAddrPort("10.0.0.2:1")
	p := NewWire().Port(netip.MustParseAddrPort("10.0.0.1:1"), 0)
	for name, change := range map[string]func(*tunnel.Message){
		"no destination":  func(m *tunnel.Message) { m.To = nil },
		"bytes":           func(m *tunnel.Message) { m.Bytes++ },
		"count":           func(m *tunnel.Message) { m.Count = 0 },
		"a run, no GSO":   func(m *tunnel.Message) { m.Size, m.Count = 2, 2 },
		"size":            func(m *tunnel.Message) { m.Size = 3 },
		"congestion bits": func(m *tunnel.Message) { m.ECN = 4 },
		"nothing changed": nil,
	} {
		m := message(to, 4, "aaaa")
		if change != nil {
			change(&m)
		}
		func() {
			defer func() {
				if found := recover() != nil; found != (change != nil) {
					t.Errorf("%s: found out %v", name, found)
				}
			}()
			_, _ = p.Send(nil, []tunnel.Message{m})
		}()
	}
}

// Closing ends all waiting, and what is read is what was fed.
func TestClose(t *testing.T) {
	d, refusal := NewDevice(tunnel.Vnet), errors.New("no")
	p := NewWire().Port(netip.MustParseAddrPort("10.0.0.1:1"), 0)
	d.Refuse = func(o tunnel.Offload, _ []byte) error {
		if o.GSO != 0 {
			return refusal
		}
		return nil
	}
	batch := tunnel.NewBatch()
	data := []byte("packet")
	d.Feed(tunnel.Packet{Data: data})
	data[0] = 'P'
	if err := d.Read(batch); err != nil || len(batch.Packets) != 1 || string(batch.Packets[0].Data) != "packet" {
		t.Errorf("Read: %v, %v", batch.Packets, err)
	}
	if err := d.Write(nil, tunnel.Offload{GSO: 1}, nil); err != refusal {
		t.Errorf("Write: %v", err)
	}
	if err := d.Write(nil, tunnel.Offload{}, [][]byte{data[:2], data[2:]}); err != nil {
		t.Errorf("Write: %v", err)
	}
	if w := d.Await(); len(w) != 1 || string(w[0].Data) != "Packet" || w[0].Pieces != 2 {
		t.Errorf("written %+v", w)
	}
	ended := make(chan error, 2)
	go func() { ended <- d.Read(batch) }()
	go func() { ended <- p.Recv(&tunnel.Inbox{}) }()
	d.Close()
	p.Close()
	for range 2 {
		if err := <-ended; err != tunnel.ErrClosed {
			t.Errorf("after Close: %v", err)
		}
	}
}
