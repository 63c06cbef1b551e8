package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"weft/encap"
	"weft/tunnel"
)

// runLanes are lanes to as many peers: odd ones go through outlet 1.
func runLanes(n, limit int) (out []*lane) {
	for i := range n {
		out = append(out, &lane{peer: &peer{addr: &tunnel.Addr{}}, slot: i, outlet: i % 2, limit: limit})
	}
	return out
}

// runTable is a table that runs of n lanes fit.
func runTable(n int) *table { return &table{outlets: make([]port, 2), slots: n} }

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
		r.reset(runTable(1))
		l := runLanes(1, limit)[0]
		for _, n := range tc.sizes {
			r.add(l, encap.Segment{Body: make([]byte, n)})
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
	lanes := runLanes(3, 64)
	r.reset(runTable(3))
	for i := range 30 {
		r.add(lanes[i%3], encap.Segment{Head: []byte{byte(i)}, Body: make([]byte, 99)})
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
		limit := []int{1, 3, 64, 128}[rng.IntN(4)]
		lanes := runLanes(1+rng.IntN(6), limit)
		want := make([][][]byte, len(lanes))
		r.reset(runTable(len(lanes)))
		for i := range rng.IntN(300) {
			l := lanes[rng.IntN(len(lanes))]
			size := []int{1, 7, 100, 100, 100, 100, 1400, 9000, 65507}[rng.IntN(9)]
			d := pattern(i, size)
			cut := rng.IntN(size)
			want[l.slot] = append(want[l.slot], d)
			r.add(l, encap.Segment{Head: d[:cut], Body: d[cut:]})
		}
		r.messages()
		got := make([][][]byte, len(lanes))
		for outlet, msgs := range r.msgs {
			for i := range msgs {
				u := &r.runs[r.origin[outlet][i]]
				if l := lanes[u.slot]; l.outlet != outlet || msgs[i].To != l.peer.addr {
					t.Fatalf("batch %d: a message for slot %d went to outlet %d", batch, u.slot, outlet)
				}
				got[u.slot] = append(got[u.slot], datagrams(t, &msgs[i], limit)...)
			}
		}
		for i := range lanes {
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

// Datagrams of one run have the same congestion bits: a change ends the run,
// and the order stays.
func TestRunsCongestion(t *testing.T) {
	var r runs
	r.reset(runTable(1))
	l := runLanes(1, 64)[0]
	var ecns []uint8
	for _, ecn := range []uint8{0, 0, 2, 2, 3, 2} {
		l.ecn = ecn
		r.add(l, encap.Segment{Body: make([]byte, 100)})
	}
	r.messages()
	for _, m := range r.msgs[0] {
		ecns = append(ecns, m.ECN)
	}
	if got := fmt.Sprint(describe(r.msgs[0]), ecns); got != "[2×100(200) 2×100(200) 1×100(100) 1×100(100)] [0 2 3 2]" {
		t.Errorf("messages %s", got)
	}
}
