package filter

import "testing"

// A reference for protochain there is none: libpcap's program has jumps back,
// and takes the place after an authentication header for an absolute one.
func TestProtochain(t *testing.T) {
	v6 := make([]byte, 40, 104)
	v6[0], v6[6] = 0x60, hopByHop
	v6 = append(v6, destination, 0, 0, 0, 0, 0, 0, 0)                                                 // 8 bytes
	v6 = append(v6, protoFrag, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)                           // 16 bytes
	v6 = append(v6, authenticate, 9, 0, 0, 0, 0, 0, 0)                                                // always 8 bytes
	v6 = append(v6, destination, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // 24 bytes
	v6 = append(v6, protoTCP, 0, 0, 0, 0, 0, 0, 0)
	v4 := make([]byte, 24, 36)
	v4[0], v4[9] = 0x46, authenticate
	v4 = append(v4, protoUDP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	for _, tt := range []struct {
		text string
		b    []byte
		want int32
	}{
		{"protochain 6", v6, accept},
		{`ip6 protochain \tcp`, v6, accept},
		{"protochain 44", v6, accept},
		{"protochain 51", v6, accept},
		{"protochain 17", v6, reject},
		{"ip protochain 6", v6, reject},
		{"protochain 6", v6[:97], aborted},
		{"protochain 6", v6[:98], accept},
		{"protochain 60", v6[:40], aborted},
		{"protochain 0", v6[:40], accept},
		{"protochain 17", v4, accept},
		{"protochain 6", v4, reject},
		{"protochain 17", v4[:25], aborted},
		{"protochain 6", nil, aborted},
	} {
		f, err := Compile(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.run(&Packet{Inner: tt.b}); got != tt.want {
			t.Errorf("%s on % x: %d, want %d", tt.text, tt.b, got, tt.want)
		}
	}
	// A header that leads to itself again and again ends somewhere.
	loop := make([]byte, 1000)
	loop[0], loop[6] = 0x60, hopByHop
	f, _ := Compile("protochain 6")
	if got := f.run(&Packet{Inner: loop}); got != reject {
		t.Errorf("a long chain: %d", got)
	}
}
