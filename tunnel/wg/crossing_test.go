package wg

import (
	"net/netip"
	"testing"
	"time"
)

// initiationWith is as much of an initiation as crossings look at.
func initiationWith(key byte) []byte {
	b := make([]byte, initiationBytes)
	b[0], b[8] = typeInitiation, key
	return b
}

func TestCrossingsAgree(t *testing.T) {
	var a, b crossings
	atA, atB := netip.MustParseAddrPort("192.0.2.1:51820"), netip.MustParseAddrPort("192.0.2.2:51820")
	now := time.Unix(1_700_000_000, 0)
	a.left(atB, initiationWith(1), now)
	b.left(atA, initiationWith(2), now.Add(time.Millisecond))
	now = now.Add(20 * time.Millisecond)
	if !a.prevails(atB, initiationWith(2), now) || b.prevails(atA, initiationWith(1), now) {
		t.Error("the lower key does not count at both ends")
	}
	other := netip.MustParseAddrPort("192.0.2.3:51820")
	if a.prevails(other, initiationWith(2), now) {
		t.Error("what somebody else sent did not cross ours")
	}
	if now = now.Add(crossingTime); a.prevails(atB, initiationWith(2), now) {
		t.Error("an old one of ours is still taken to be on its way")
	}
}

func TestCrossingsForget(t *testing.T) {
	var c crossings
	now := time.Unix(1_700_000_000, 0)
	for i := range 1000 {
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 51820)
		c.left(to, initiationWith(1), now.Add(time.Duration(i)*crossingTime))
	}
	if len(c.sent) > 2 {
		t.Errorf("%d are remembered", len(c.sent))
	}
}
