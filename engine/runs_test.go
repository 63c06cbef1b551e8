package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"weft/encap"
	"weft/tunnel"
)

// runPeers are peers for runs alone: odd ones are behind port 1.
func runPeers(n int) (out []*peer) {
	for i := range n {
		out = append(out, &peer{id: i, port: i % 2, addr: &tunnel.Addr{}})
	}
	return out
}

// describe writes the messages of one port as count×size(bytes) per message.
func describe(msgs []tunnel.Message) (out []string) {
	for _, m := range msgs {
		out = append(out, fmt.Sprintf("%d×%d(%d)", m.Count, m.Size, m.Bytes))
	}
	return out
}

// The rules of a run, one by one: equal lengths, one shorter datagram ends it,
// a longer one starts another, and there is a limit of number and of bytes.
func TestRunsRules(t *testing.T) {
	const limit = 4
	for name, tc := range map[string]struct {
		sizes []int
		want  string
	}{
		"nothing":         {nil, "[]"},
		"one":             {[]int{100}, "[1×100(100)]"},
		"equal":           {[]int{100, 100, 100}, "[3×100(300)]"},
		"a shorter one":   {[]int{100, 100, 40}, "[3×100(240)]"},
		"it ends the run": {[]int{100, 40, 40, 100}, "[2×100(140) 1×40(40) 1×100(100)]"},
		"growing":         {[]int{1, 2, 3}, "[1×1(1) 1×2(2) 1×3(3)]"},
		"the number":      {[]int{9, 9, 9, 9, 9}, "[4×9(36) 1×9(9)]"},
		"the bytes":       {[]int{30000, 30000, 5507}, "[3×30000(65507)]"},
		"a byte too many": {[]int{30000, 30000, 5508}, "[2×30000(60000) 1×5508(5508)]"},
		"the largest":     {[]int{65507, 1}, "[1×65507(65507) 1×1(1)]"},
	} {
		var r runs
		r.reset(1)
		p := runPeers(1)[0]
		for _, n := range tc.sizes {
			r.add(p, encap.Segment{Body: make([]byte, n)}, limit)
		}
		r.messages()
		if got := fmt.Sprint(describe(r.msgs[0])); got != tc.want || len(r.msgs[1]) != 0 {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// Peers that take turns do not break each other's runs.
func TestRunsInterleaved(t *testing.T) {
	var r runs
	peers := runPeers(3)
	r.reset(len(peers))
	for i := range 30 {
		r.add(peers[i%3], encap.Segment{Head: []byte{byte(i)}, Body: make([]byte, 99)}, 64)
	}
	r.messages()
	if got := fmt.Sprint(describe(r.msgs[0]), describe(r.msgs[1])); got != "[10×100(1000) 10×100(1000)] [10×100(1000)]" {
		t.Errorf("messages %s", got)
	}
}

// TestRunsModel: whatever comes, each peer gets all its datagrams in their
// order, each message keeps the rules of tunnel.Message and the limits, and
// nothing of an earlier batch is left.
func TestRunsModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var r runs
	for batch := range 300 {
		peers := runPeers(1 + rng.IntN(6))
		limit := []int{1, 3, 64, 128}[rng.IntN(4)]
		want := make([][][]byte, len(peers))
		r.reset(len(peers))
		for i := range rng.IntN(300) {
			p := peers[rng.IntN(len(peers))]
			size := []int{1, 7, 100, 100, 100, 100, 1400, 9000, 65507}[rng.IntN(9)]
			d := pattern(i, size)
			cut := rng.IntN(size)
			want[p.id] = append(want[p.id], d)
			r.add(p, encap.Segment{Head: d[:cut], Body: d[cut:]}, limit)
		}
		r.messages()
		got := make([][][]byte, len(peers))
		for port, msgs := range r.msgs {
			for i := range msgs {
				p := r.runs[r.origin[port][i]].peer
				if p.port != port || msgs[i].To != p.addr {
					t.Fatalf("batch %d: a message for peer %d went to port %d", batch, p.id, port)
				}
				got[p.id] = append(got[p.id], datagrams(t, &msgs[i], limit)...)
			}
		}
		for i := range peers {
			samePackets(t, got[i], want[i])
		}
	}
}

// datagrams takes a message apart and holds it to the rules.
func datagrams(t *testing.T, m *tunnel.Message, limit int) (out [][]byte) {
	t.Helper()
	data := bytes.Join(m.Pieces, nil)
	if m.Count > limit || len(data) != m.Bytes || m.Bytes > tunnel.MaxDatagram || m.Size == 0 {
		t.Fatalf("a message of %d×%d, %d bytes that are %d; the limit is %d", m.Count, m.Size, m.Bytes, len(data), limit)
	}
	for len(data) > m.Size {
		out = append(out, data[:m.Size])
		data = data[m.Size:]
	}
	if out = append(out, data); len(out) != m.Count {
		t.Fatalf("a message of %d datagrams holds %d", m.Count, len(out))
	}
	return out
}
