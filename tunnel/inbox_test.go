package tunnel

import (
	"encoding/binary"
	"slices"
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

func TestReadControl(t *testing.T) {
	gro := cmsg(unix.IPPROTO_UDP, unix.UDP_GRO, int32le(1400))
	tos := cmsg(unix.IPPROTO_IP, unix.IP_TOS, []byte{0xba})
	tclass := cmsg(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, int32le(0xb9))
	other := cmsg(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, int32le(7))
	odd := cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMP, []byte{1, 2, 3})
	huge := cmsg(unix.SOL_SOCKET, 1, int32le(1))
	(*unix.Cmsghdr)(unsafe.Pointer(&huge[0])).SetLen(-8)
	for name, tc := range map[string]struct {
		ctl  []byte
		size int
		ecn  uint8
	}{
		"none":                       {nil, 0, 0},
		"a run":                      {gro, 1400, 0},
		"the kernel's length":        {gro[:unix.CmsgLen(4)], 1400, 0},
		"behind another":             {slices.Concat(other, gro), 1400, 0},
		"behind one of odd length":   {slices.Concat(odd, gro), 1400, 0},
		"TOS":                        {tos, 0, 2},
		"TOS, the kernel's length":   {tos[:unix.CmsgLen(1)], 0, 2},
		"traffic class":              {tclass, 0, 1},
		"TOS and a run":              {slices.Concat(tos, gro), 1400, 2},
		"a run and a traffic class":  {slices.Concat(gro, tclass), 1400, 1},
		"another only":               {other, 0, 0},
		"cut off":                    {gro[:unix.CmsgLen(4)-1], 0, 0},
		"too short a traffic class":  {cmsg(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, []byte{3}), 0, 0},
		"an empty TOS":               {cmsg(unix.IPPROTO_IP, unix.IP_TOS, nil), 0, 0},
		"of no length":               {make([]byte, 64), 0, 0},
		"of absurd length":           {slices.Concat(huge, gro), 0, 0},
		"a run before absurd length": {slices.Concat(gro, huge), 1400, 0},
	} {
		var m Received
		if readControl(tc.ctl, &m); m.Size != tc.size || m.ECN != tc.ecn || !m.At.IsZero() {
			t.Errorf("%s: %d and %d, want %d and %d", name, m.Size, m.ECN, tc.size, tc.ecn)
		}
	}
}

// TestReadStamp: the time of arrival stands among the others, and one that was
// cut short is none.
func TestReadStamp(t *testing.T) {
	stamp := unix.NsecToTimespec(1_700_000_000_123_456_789)
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&stamp)), unsafe.Sizeof(stamp))
	var m Received
	readControl(slices.Concat(cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, raw), cmsg(unix.IPPROTO_UDP, unix.UDP_GRO, int32le(1400))), &m)
	if m.At.UnixNano() != 1_700_000_000_123_456_789 || m.Size != 1400 {
		t.Errorf("%v and %d", m.At, m.Size)
	}
	m = Received{}
	if readControl(cmsg(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, raw[:len(raw)-1]), &m); !m.At.IsZero() {
		t.Errorf("%v from too few bytes", m.At)
	}
}

// FuzzReadControl: whatever stands in a control buffer, and wherever it lies,
// reading it ends and stays inside.
func FuzzReadControl(f *testing.F) {
	f.Add(cmsg(unix.IPPROTO_UDP, unix.UDP_GRO, int32le(1472)), uint8(0))
	f.Add(slices.Concat(cmsg(unix.SOL_SOCKET, 2, []byte{1}), cmsg(unix.IPPROTO_UDP, unix.UDP_GRO, int32le(-1))), uint8(3))
	f.Add(slices.Concat(cmsg(unix.IPPROTO_IP, unix.IP_TOS, []byte{1}), cmsg(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, int32le(-1))), uint8(1))
	negative := cmsg(unix.SOL_SOCKET, 1, int32le(1))
	(*unix.Cmsghdr)(unsafe.Pointer(&negative[0])).SetLen(-8)
	f.Add(slices.Concat(negative, negative), uint8(0))
	f.Fuzz(func(t *testing.T, ctl []byte, shift uint8) {
		ctl = ctl[:min(len(ctl), controlLen)]
		n := len(ctl)
		// An own allocation ends where ctl ends, at any alignment.
		room := make([]byte, int(shift%8)+n)
		copy(room[shift%8:], ctl)
		var a, b Received
		readControl(room[shift%8:], &a)
		readControl(append(make([]byte, 0, n+controlLen), ctl...), &b)
		if a.Size != b.Size || a.ECN != b.ECN || !a.At.Equal(b.At) {
			t.Fatalf("%+v when shifted by %d, %+v otherwise", a, shift%8, b)
		}
		if a.ECN > ecnMask {
			t.Fatalf("congestion bits %d", a.ECN)
		}
	})
}
