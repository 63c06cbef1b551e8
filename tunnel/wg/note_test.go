package wg

import (
	"bytes"
	"testing"

	"golang.zx2c4.com/wireguard/device"
)

// A note is found again behind a datagram of any length, and never touches it.
func TestNote(t *testing.T) {
	at := notePlace(1420)
	if at%64 != 0 || at < 1420+Overhead || at >= 1420+Overhead+64 {
		t.Fatalf("notes stand at %d", at)
	}
	want := note{ord: 1<<63 + 7, lane: 1<<32 - 2, ecn: 3}
	sizes := []int{0, 1, at - 17, at - 1, at, at + 1, at + noteBytes, 9000, device.MaxMessageSize - noteBytes}
	for _, size := range sizes {
		b := bytes.Repeat([]byte{0xa5}, device.MaxMessageSize)
		want.put(b[:min(size, 5)], at, size)
		if !bytes.Equal(b[:size], bytes.Repeat([]byte{0xa5}, size)) {
			t.Errorf("size %d: the datagram is changed", size)
		}
		if got := noteOf(b[:size], at, size); got != want {
			t.Errorf("size %d: got %+v", size, got)
		}
	}
	for size := device.MaxMessageSize - noteBytes + 1; size <= device.MaxMessageSize; size++ {
		b := bytes.Repeat([]byte{0xa5}, device.MaxMessageSize)
		want.put(b, at, size)
		if !bytes.Equal(b, bytes.Repeat([]byte{0xa5}, len(b))) || noteOf(b, at, size) != (note{}) {
			t.Errorf("size %d: a note without room for one", size)
		}
	}
}

// Buffers that are too small have none.
func TestNoteSmallBuffers(t *testing.T) {
	at := notePlace(100)
	n := note{ord: 1, lane: 2, ecn: 1}
	for c := range at + 2*noteBytes {
		b := make([]byte, c)
		n.put(b, at, min(c, keepaliveBytes))
		got := noteOf(b, at, min(c, keepaliveBytes))
		if c < at+noteBytes && (got != note{} || !bytes.Equal(b, make([]byte, c))) {
			t.Errorf("%d bytes: a note that is not there: %+v", c, got)
		} else if c >= at+noteBytes && got != n {
			t.Errorf("%d bytes: got %+v", c, got)
		}
	}
}

// Garbage is read as garbage: within bounds, and with congestion bits alone.
func FuzzNote(f *testing.F) {
	f.Add([]byte("anything"), 192, 100)
	f.Add(make([]byte, 300), 192, 250)
	f.Fuzz(func(t *testing.T, b []byte, at, size int) {
		at, size = at&0xffff, size&0xffff
		if n := noteOf(b, at, min(size, cap(b))); n.ecn > 3 {
			t.Errorf("%+v", n)
		}
		n := note{ord: 1}
		n.put(b, at, min(size, cap(b)))
	})
}

// A packet has the length for which the device makes it.
func TestPadded(t *testing.T) {
	for _, tc := range [][3]int{
		{0, 1420, 0}, {1, 1420, 16}, {16, 1420, 16}, {1408, 1420, 1408}, {1409, 1420, 1420}, {1420, 1420, 1420},
		{1421, 1420, 1436}, {1437, 1420, 1452}, {2840, 1420, 2840}, {2841, 1420, 2856}, {65535, 65535, 65535},
	} {
		if got := padded(tc[0], tc[1]); got != tc[2] {
			t.Errorf("%d bytes, MTU %d: %d, want %d", tc[0], tc[1], got, tc[2])
		}
	}
}
