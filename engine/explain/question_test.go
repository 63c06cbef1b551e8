package explain

import (
	"errors"
	"net/netip"
	"testing"

	"weft/engine/control"
)

func TestNormal(t *testing.T) {
	a, b := ip("10.244.1.5"), ip("10.244.2.7")
	a6, b6 := ip("fd00::1"), ip("fd00::2")
	for _, c := range []struct{ in, want control.Question }{
		{control.Question{Src: a, Dst: b}, control.Question{Src: a, Dst: b, Proto: "icmp", Size: 1450}},
		{control.Question{Src: a6, Dst: b6}, control.Question{Src: a6, Dst: b6, Proto: "icmp", Size: 1450, DF: true}},
		{control.Question{Src: ip("::ffff:10.244.1.5"), Dst: b, Proto: "47", Size: 20}, control.Question{Src: a, Dst: b, Proto: "47", Size: 20}},
		{control.Question{Src: ip("fe80::1%eth0"), Dst: b6, Proto: "udp", Port: 53, Size: 65535}, control.Question{Src: ip("fe80::1"), Dst: b6, Proto: "udp", Port: 53, Size: 65535, DF: true}},
	} {
		if got, err := Normal(c.in, 1450); err != nil || got != c.want {
			t.Errorf("%+v becomes %+v, %v; want %+v", c.in, got, err, c.want)
		}
	}
	for field, q := range map[string]control.Question{
		"src":   {Dst: b},
		"dst":   {Src: a, Dst: b6},
		"proto": {Src: a, Dst: b, Proto: "256"},
		"port":  {Src: a, Dst: b, Port: 80},
		"size":  {Src: a6, Dst: b6, Size: 39},
	} {
		var e *control.Error
		if _, err := Normal(q, 1450); !errors.As(err, &e) || e.Field != field {
			t.Errorf("%+v is refused with %v; want an error about %s", q, err, field)
		}
	}
	for _, q := range []control.Question{
		{Src: netip.IPv4Unspecified(), Dst: b}, {Src: ip("224.0.0.1"), Dst: b}, {Src: a, Dst: b, Size: 65536}, {Src: a, Dst: b, Proto: "quic"},
	} {
		if got, err := Normal(q, 1450); err == nil {
			t.Errorf("%+v is taken as %+v", q, got)
		}
	}
}

func TestFragments(t *testing.T) {
	for _, c := range []struct{ size, device, limit, want int }{
		{1400, 1450, 1450, 1},
		{1451, 1450, 1450, 2},
		{20 + 2*1424, 1450, 1450, 2}, // 1430 bytes of payload round down to 1424
		{20 + 2*1424 + 1, 1450, 1450, 3},
		{1440, 1450, 1000, 2}, // the engine alone cuts
		{2868, 1450, 1000, 4}, // each of the kernel's two in two
	} {
		if got := fragments(c.size, c.device, c.limit); got != c.want {
			t.Errorf("fragments(%d, %d, %d) = %d, want %d", c.size, c.device, c.limit, got, c.want)
		}
	}
}
