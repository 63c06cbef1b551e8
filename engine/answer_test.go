package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"weft/encap"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// checkAnswer expects at most one ICMP message, of the given type/code, from
// our tunnel address to the sender of the packet about; mtu is looked at
// unless it is 0.
func checkAnswer(t testing.TB, got []tunneltest.Written, want string, about []byte, mtu int) {
	t.Helper()
	if want == "" {
		if len(got) != 0 {
			t.Errorf("%d packets were written, want none", len(got))
		}
		return
	}
	if len(got) != 1 || got[0].Offload != (tunnel.Offload{}) {
		t.Fatalf("%d packets were written, want one ICMP message", len(got))
	}
	src := "10.5.1.0"
	if about[0]>>4 == 6 {
		src = "fd00:10:5:1::"
	}
	checkICMP(t, got[0].Data, want, src, about, mtu)
}

// checkICMP holds p to be an ICMP error of type/code want, from src, about a
// packet, with right checksums.
func checkICMP(t testing.TB, p []byte, want, src string, about []byte, mtu int) {
	t.Helper()
	h, drop := encap.Parse(p)
	if drop != encap.Delivered || h.Len != len(p) {
		t.Fatalf("the answer is no packet: %v", drop)
	}
	about4 := about[0]>>4 == 4
	sender := encap.Header{Version: about[0] >> 4}
	if h.Src(p).String() != src || h.Dst(p) != sender.Src(about) {
		t.Errorf("the answer goes from %v to %v, want from %s to %v", h.Src(p), h.Dst(p), src, sender.Src(about))
	}
	if got := fmt.Sprintf("%d/%d", p[h.L4], p[h.L4+1]); got != want {
		t.Errorf("the answer is %s, want %s", got, want)
	}
	sum, told := onesum(0, p[h.L4:]), int(binary.BigEndian.Uint16(p[h.L4+6:]))
	proto, most := uint8(icmp), 576
	if !about4 {
		sum, told = onesum(onesum(icmp6+uint32(len(p)-40), p[8:40]), p[40:]), int(binary.BigEndian.Uint32(p[h.L4+4:]))
		proto, most = icmp6, 1280
	}
	if sum != 0xffff || h.Proto != proto || about4 && onesum(0, p[:20]) != 0xffff {
		t.Errorf("protocol %d with checksum %#x", h.Proto, sum)
	}
	if mtu != 0 && told != mtu {
		t.Errorf("the answer tells an MTU of %d, want %d", told, mtu)
	}
	if quote := p[h.L4+8:]; len(p) > most || len(quote) < 28 || !bytes.Equal(quote[12:min(28, len(quote))], about[12:min(28, len(about))]) {
		t.Errorf("%d bytes, with a quote of %d", len(p), len(quote))
	}
}

// Where the kernel takes nothing from our own address, the answer bears the
// address that could not be reached.
func TestAnswerUntrusted(t *testing.T) {
	r := newRig(t, usual())
	r.answer.trusted.Store(false)
	p := udpFrom(pod(1, 2), "10.6.0.1", nil)
	r.sendUp(one(p))
	got := r.dev.Take()
	if len(got) != 1 {
		t.Fatalf("%d answers", len(got))
	}
	checkICMP(t, got[0].Data, "3/0", "10.6.0.1", p, 0)
	p = udpFrom(pod6(1, 2), "fd11::1", nil)
	r.sendUp(one(p))
	checkAnswer(t, r.dev.Take(), "1/0", p, 0) // IPv6 has no accept_local
}

// A node without an address of a family cannot answer in it, and about ICMP
// errors and later fragments nobody does.
func TestAnswerNot(t *testing.T) {
	o := usual()
	o.own.Subnet6 = netip.Prefix{}
	r := newRig(t, o)
	unreachable := ip(pod(1, 2), "10.6.0.1", icmp, append([]byte{3, 1, 0, 0, 0, 0, 0, 0}, make([]byte, 28)...))
	later := udpFrom(pod(1, 2), "10.6.0.1", pattern(0, 64))
	later[6], later[7] = 0, 2
	seal4(later)
	r.sendUp(one(udpFrom(pod6(1, 2), "fd11::1", nil)), one(unreachable), one(later), one(udpFrom("0.0.0.0", "10.6.0.1", nil)))
	checkAnswer(t, r.dev.Take(), "", nil, 0)
	r.wantDrops(map[encap.Drop]uint64{encap.NoRoute: 4})
	echo := ip(pod(1, 2), "10.6.0.1", icmp, make([]byte, 40))
	echo[20] = 8
	r.sendUp(one(echo))
	checkAnswer(t, r.dev.Take(), "3/0", echo, 0)
}

// A flood of hopeless packets is answered at a bounded rate; all are counted.
func TestAnswerRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time passes when the test sleeps
		r := newRig(t, usual())
		const flood = 100
		for _, want := range []int{answersInARow, 10} {
			for range flood {
				r.sendUp(one(udpFrom(pod(1, 2), "10.6.0.1", nil)))
			}
			if got := len(r.dev.Take()); got != want {
				t.Errorf("%d answers, want %d", got, want)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got := r.answer.sent.Load(); got != answersInARow+10 {
			t.Errorf("%d answers counted", got)
		}
		r.wantDrops(map[encap.Drop]uint64{encap.NoRoute: 2 * flood})
	})
}

func TestLimiter(t *testing.T) {
	var l limiter
	now := time.Unix(1000, 0)
	burst := func() (n int) {
		for l.allow(now) {
			n++
		}
		return n
	}
	for _, step := range []struct {
		after time.Duration
		want  int
	}{
		{0, answersInARow},
		{0, 0},
		{time.Millisecond / 2, 0},
		{time.Millisecond / 2, 1},
		{10 * time.Millisecond, 10},
		{time.Hour, answersInARow},
		{-time.Hour, 0}, // a clock that jumps gives nothing
	} {
		now = now.Add(step.after)
		if got := burst(); got != step.want {
			t.Errorf("%v later: %d answers, want %d", step.after, got, step.want)
		}
	}
}

// An answer that the device does not take is let go and not counted as sent.
func TestAnswerRefused(t *testing.T) {
	r := newRig(t, usual())
	r.dev.Refuse = func(tunnel.Offload, []byte) error { return errTest }
	r.sendUp(one(udpFrom(pod(1, 2), "10.6.0.1", nil)))
	if r.answer.sent.Load() != 0 {
		t.Error("counted as sent")
	}
	r.wantDrops(map[encap.Drop]uint64{encap.NoRoute: 1})
}
