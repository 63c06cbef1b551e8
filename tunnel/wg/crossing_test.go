package wg

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
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
	a.initiated(atB, initiationWith(1), now)
	b.initiated(atA, initiationWith(2), now.Add(time.Millisecond))
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
		c.initiated(to, initiationWith(1), now.Add(time.Duration(i)*crossingTime))
	}
	if len(c.sent) > 4 {
		t.Errorf("%d are remembered", len(c.sent))
	}
}

// TestHeldBack: the one that lost comes after all, the latest if there were more,
// unless ours was answered or the bind was closed.
func TestHeldBack(t *testing.T) {
	var c crossings
	done := make(chan struct{})
	o := &opening{done: done, held: make(chan *heldBack, 1)}
	from := newEndpoint(netip.MustParseAddrPort("192.0.2.2:51820"))
	c.initiated(from.dst, initiationWith(1), time.Now())
	if !c.hold(from, initiationWith(2)) || c.hold(from, initiationWith(3)) {
		t.Error("not the first alone is the first")
	}
	c.release(from.dst, o.held)
	packets, sizes, eps := [][]byte{make([]byte, 200)}, make([]int, 1), make([]conn.Endpoint, 1)
	n, err := o.receiveHeldBack(packets, sizes, eps)
	if n != 1 || err != nil || !bytes.Equal(packets[0][:sizes[0]], initiationWith(3)) || eps[0] != conn.Endpoint(from) {
		t.Errorf("%d, %v: %x from %v", n, err, packets[0][:sizes[0]], eps[0])
	}
	c.hold(from, initiationWith(4))
	c.answered(from.dst)
	if c.release(from.dst, o.held); len(o.held) != 0 {
		t.Error("it comes although ours was answered")
	}
	if c.hold(from, initiationWith(5)) {
		t.Error("held back for nothing")
	}
	close(done)
	if _, err := o.receiveHeldBack(packets, sizes, eps); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v after the end", err)
	}
}
