package wg

import (
	"bytes"
	"slices"
	"testing"

	"weft/tunnel"
)

// runsOf cuts datagrams of these lengths into runs; at most so many to a run.
func runsOf(o *outgoing, bufs [][]byte, most int) (lens [][]int) {
	o.runs(bufs, nil, notePlace(1420), most)
	for _, m := range o.msgs {
		var l []int
		for _, b := range m.Pieces {
			l = append(l, len(b))
		}
		lens = append(lens, l)
	}
	return lens
}

// sealedOf makes a transport message of n bytes whose packet bears congestion
// bits.
func sealedOf(n int, ecn uint8) []byte {
	b := make([]byte, 1<<16)
	b[0] = typeTransport
	(&note{ecn: ecn}).put(b, notePlace(1420), n)
	return b[:n]
}

// Datagrams of one length and one mark become one message; the last may be
// shorter.
func TestRuns(t *testing.T) {
	type d struct {
		n   int
		ecn uint8
	}
	same := func(n, size int) (out []d) { return slices.Repeat([]d{{size, 0}}, n) }
	for _, tc := range []struct {
		name string
		in   []d
		most int
		want []int // datagrams in each message
	}{
		{"nothing", nil, 64, nil},
		{"one", same(1, 100), 64, []int{1}},
		{"equal", same(40, 1452), 64, []int{40}},
		{"a short last one", append(same(3, 1452), d{100, 0}, d{100, 0}), 64, []int{4, 1}},
		{"a longer one", []d{{100, 0}, {100, 0}, {200, 0}, {200, 0}}, 64, []int{2, 2}},
		{"marks", []d{{100, 0}, {100, 2}, {100, 2}, {100, 3}}, 64, []int{1, 2, 1}},
		{"at most", same(10, 100), 4, []int{4, 4, 2}},
		{"no runs", same(3, 100), 1, []int{1, 1, 1}},
		{"64 KB", same(100, 1452), 128, []int{45, 45, 10}},
		{"long ones", same(2, 65000), 128, []int{1, 1}},
		{"a keepalive", []d{{100, 2}, {32, 2}, {32, 0}}, 64, []int{1, 2}},
	} {
		var bufs [][]byte
		for _, x := range tc.in {
			bufs = append(bufs, sealedOf(x.n, x.ecn))
		}
		var o outgoing
		var got []int
		for _, r := range runsOf(&o, bufs, tc.most) {
			got = append(got, len(r))
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// Whatever comes, runs are what was given, in order and within the limits.
func FuzzRuns(f *testing.F) {
	f.Add([]byte{9, 9, 9, 3, 9, 255, 1}, uint8(4))
	f.Fuzz(func(t *testing.T, lens []byte, most uint8) {
		var bufs [][]byte
		for i, n := range lens[:min(len(lens), 128)] {
			bufs = append(bufs, bytes.Repeat([]byte{byte(i)}, 33+int(n)*int(n)))
			bufs[i][0], bufs[i][1], bufs[i][2], bufs[i][3] = typeTransport, 0, 0, 0
		}
		var o outgoing
		o.runs(bufs, nil, notePlace(1420), max(1, int(most)))
		var all [][]byte
		for _, m := range o.msgs {
			bytes := 0
			for i, b := range m.Pieces {
				if bytes += len(b); len(b) > m.Size || len(b) < m.Size && i < len(m.Pieces)-1 {
					t.Fatalf("piece %d of %d has %d bytes in a run of %d", i, len(m.Pieces), len(b), m.Size)
				}
			}
			if m.Count != len(m.Pieces) || m.Bytes != bytes || m.Count > max(1, int(most)) || m.Count > 1 && bytes > tunnel.MaxDatagram {
				t.Fatalf("%d datagrams, %d bytes: counted %d and %d", len(m.Pieces), bytes, m.Count, m.Bytes)
			}
			all = append(all, m.Pieces...)
		}
		if !slices.EqualFunc(all, bufs, bytes.Equal) {
			t.Fatal("not what was given")
		}
	})
}

// What the kernel refused was not sent.
func TestSentCounts(t *testing.T) {
	o := outgoing{msgs: []tunnel.Message{
		{Count: 4, Size: 100, Bytes: 350}, {Count: 3, Size: 100, Bytes: 300, Lost: 3}, {Count: 5, Size: 100, Bytes: 500, Lost: 2},
	}}
	l := &Lane{}
	if lane, packets, bytes, messages := o.sent(l); lane != l || packets != 7 || bytes != 650 || messages != 2 {
		t.Errorf("%d packets, %d bytes, %d messages", packets, bytes, messages)
	}
}
