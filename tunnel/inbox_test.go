package tunnel

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cmsg lays out one control message as the kernel does.
func cmsg(level, typ int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

func int32le(v int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(v)) }

func TestGROSize(t *testing.T) {
	gro := cmsg(unix.IPPROTO_UDP, unix.UDP_GRO, int32le(1400))
	other := cmsg(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, int32le(7))
	odd := cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMP, []byte{1, 2, 3})
	huge := cmsg(unix.SOL_SOCKET, 1, int32le(1))
	(*unix.Cmsghdr)(unsafe.Pointer(&huge[0])).SetLen(-8)
	for name, tc := range map[string]struct {
		ctl  []byte
		want int
	}{
		"none":                     {nil, 0},
		"alone":                    {gro, 1400},
		"the kernel's length":      {gro[:unix.CmsgLen(4)], 1400},
		"behind another":           {append(append([]byte{}, other...), gro...), 1400},
		"behind one of odd length": {append(append([]byte{}, odd...), gro...), 1400},
		"another only":             {other, 0},
		"cut off":                  {gro[:unix.CmsgLen(4)-1], 0},
		"of no length":             {make([]byte, 64), 0},
		"of absurd length":         {append(huge, gro...), 0},
	} {
		if got := groSize(tc.ctl); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

// FuzzGROSize: whatever stands in a control buffer, and wherever it lies,
// reading it ends and stays inside.
func FuzzGROSize(f *testing.F) {
	f.Add(cmsg(unix.IPPROTO_UDP, unix.UDP_GRO, int32le(1472)), uint8(0))
	f.Add(append(cmsg(unix.SOL_SOCKET, 2, []byte{1}), cmsg(unix.IPPROTO_UDP, unix.UDP_GRO, int32le(-1))...), uint8(3))
	negative := cmsg(unix.SOL_SOCKET, 1, int32le(1))
	(*unix.Cmsghdr)(unsafe.Pointer(&negative[0])).SetLen(-8)
	f.Add(append(negative, negative...), uint8(0))
	f.Fuzz(func(t *testing.T, ctl []byte, shift uint8) {
		ctl = ctl[:min(len(ctl), controlLen)]
		n := len(ctl)
		// An own allocation ends where ctl ends, at any alignment.
		room := make([]byte, int(shift%8)+n)
		copy(room[shift%8:], ctl)
		got := groSize(room[shift%8:])
		if want := groSize(append(make([]byte, 0, n+controlLen), ctl...)); got != want {
			t.Fatalf("%d when shifted by %d, %d otherwise", got, shift%8, want)
		}
	})
}
