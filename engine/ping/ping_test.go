package ping

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"weft/engine/control"
	"weft/engine/ping/echo"
)

// must runs a request that has to succeed.
func (w *world) must(t *testing.T, r control.PingRequest) []control.PingReply {
	t.Helper()
	replies, err := w.run(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return replies
}

func TestAllPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		replies := w.must(t, control.PingRequest{Peer: "n2"})
		var got []string
		for _, r := range replies {
			line := fmt.Sprintf("%s %d %d %v %s", r.Layer, r.Seq, r.Size, r.From, r.Note)
			if r.Summary != nil {
				line = fmt.Sprintf("%s: %d of %d, %s", r.Layer, r.Summary.Answered, r.Summary.Sent, r.Note)
			}
			if r.Verdict != "" {
				line = "[" + r.Layer + "] " + r.Verdict
			}
			got = append(got, line)
		}
		want := []string{
			"underlay 1 84 192.0.2.12 icmp", "underlay 2 84 192.0.2.12 icmp", "underlay 3 84 192.0.2.12 icmp",
			"underlay 1 188 192.0.2.12 port 8472: it sees us as 192.0.2.11:8472",
			"underlay 2 188 192.0.2.12 port 8472: it sees us as 192.0.2.11:8472",
			"underlay 3 188 192.0.2.12 port 8472: it sees us as 192.0.2.11:8472",
			"underlay: 6 of 6, 192.0.2.11 to 192.0.2.12, icmp 3 of 3, port 8472 3 of 3",
			"engine 1 84 10.5.2.0 ", "engine 2 84 10.5.2.0 ", "engine 3 84 10.5.2.0 ",
			"engine: 3 of 3, 10.5.1.0 to 10.5.2.0",
			"kernel 1 84 10.5.2.0 ", "kernel 2 84 10.5.2.0 ", "kernel 3 84 10.5.2.0 ",
			"kernel: 3 of 3, 10.5.1.0 to 10.5.2.0",
			"pod 1 84 10.5.2.1 ", "pod 2 84 10.5.2.1 ", "pod 3 84 10.5.2.1 ",
			"pod: 3 of 3, 10.5.1.1 to 10.5.2.1",
			"[] underlay, engine, kernel and pod ok: all that was tried passes",
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if n := w.underlay.closed + w.kernel.closed + w.pod.closed; n != 3 {
			t.Errorf("%d sockets closed of 3", n)
		}
	})
}

// The addresses of each layer follow the family that the request names.
func TestFamily(t *testing.T) {
	for _, tc := range []struct {
		r    control.PingRequest
		want string
	}{
		{control.PingRequest{Peer: "n2"}, "10.5.1.0 10.5.2.0"},
		{control.PingRequest{Peer: "192.0.2.12"}, "10.5.1.0 10.5.2.0"},
		{control.PingRequest{Peer: "fd05:2::/64"}, "fd05:1:: fd05:2::"},
		{control.PingRequest{Peer: "n2", To: "fd05:2::9"}, "fd05:1::1 fd05:2::9"},
		{control.PingRequest{Peer: "n2", From: "fd05:1::7"}, "fd05:1::7 fd05:2::1"},
		{control.PingRequest{Peer: "n2", From: "10.5.1.7", To: "10.5.2.9"}, "10.5.1.7 10.5.2.9"},
		{control.PingRequest{Peer: "fd05:2::/64", Layers: []string{"engine"}}, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			replies := w.must(t, tc.r)
			if tc.want != "" && w.opened[tc.want] == 0 {
				t.Errorf("%+v: opened %v, want %s", tc.r, w.opened, tc.want)
			}
			if tc.want == "" && replies[0].From != addr("fd05:2::") {
				t.Errorf("%+v: the engine asked %s", tc.r, replies[0].From)
			}
		})
	}
}

func TestOnlyIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.facts.Self = w.facts.Self[1:]
		w.must(t, control.PingRequest{Peer: "n2"})
		if w.opened["fd05:1:: fd05:2::"] == 0 {
			t.Errorf("opened %v", w.opened)
		}
		w.peer.Subnet6 = netip.Prefix{}
		replies := w.must(t, control.PingRequest{Peer: "n2", Layers: []string{"kernel"}})
		if s := replies[0].Summary; s == nil || s.Skipped != "this node has no tunnel address of IPv4" {
			t.Errorf("%+v", replies[0])
		}
	})
}

func TestBadRequests(t *testing.T) {
	for _, tc := range []struct {
		r     control.PingRequest
		field string
	}{
		{control.PingRequest{Peer: "n9"}, "peer"},
		{control.PingRequest{Peer: "n2", Layers: []string{"wire"}}, "layers"},
		{control.PingRequest{Peer: "n2", Count: -1}, "count"},
		{control.PingRequest{Peer: "n2", Count: maxCount + 1}, "count"},
		{control.PingRequest{Peer: "n2", Interval: -1}, "interval"},
		{control.PingRequest{Peer: "n2", Interval: 1e-9}, "interval"},
		{control.PingRequest{Peer: "n2", Timeout: 1e300}, "timeout"},
		{control.PingRequest{Peer: "n2", Timeout: math.NaN()}, "timeout"},
		{control.PingRequest{Peer: "n2", Size: 27}, "size"},
		{control.PingRequest{Peer: "n2", Size: -1}, "size"},
		{control.PingRequest{Peer: "n2", Size: 65536}, "size"},
		{control.PingRequest{Peer: "fd05:2::/64", Size: 47}, "size"},
		{control.PingRequest{Peer: "n2", From: "n3"}, "from"},
		{control.PingRequest{Peer: "n2", From: "fe80::1%eth0"}, "from"},
		{control.PingRequest{Peer: "n2", To: "10.5.3.1"}, "to"},
		{control.PingRequest{Peer: "n2", To: "fd05:2::1", From: "10.5.1.1"}, "to"},
		{control.PingRequest{Peer: "n2", To: "10.5.2.1", Layers: []string{"kernel"}}, "to"},
	} {
		replies, err := newWorld().run(t.Context(), tc.r)
		var e *control.Error
		if !errors.As(err, &e) || e.Field != tc.field || !strings.HasPrefix(e.Message, tc.field+": ") || len(replies) > 0 {
			t.Errorf("%+v: %v, %d replies; want an error of %s", tc.r, err, len(replies), tc.field)
		}
	}
	if _, err := newWorld().run(t.Context(), control.PingRequest{Peer: "n9"}); !strings.Contains(err.Error(), "there are n2 and n3") {
		t.Errorf("the candidates are lost: %v", err)
	}
}

func TestLayersInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replies := newWorld().must(t, control.PingRequest{Peer: "n2", Count: 1, Layers: []string{"pod", "engine", "pod"}})
		var got []string
		for _, r := range replies {
			got = append(got, r.Layer)
		}
		if want := []string{"engine", "engine", "pod", "pod", ""}; !reflect.DeepEqual(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// What a layer lacks is why it is skipped, and no failure.
func TestSkipped(t *testing.T) {
	for _, tc := range []struct {
		layer, want string
		change      func(*world)
	}{
		{"underlay", "names no outer address", func(w *world) { w.peer.Endpoint, w.peer.Public = netip.AddrPort{}, netip.Addr{} }},
		{"underlay", "CAP_NET_RAW", func(w *world) { w.openErr, w.facts.Underlay = echo.ErrPermission, nil }},
		{"engine", "past the tunnel", func(w *world) { w.peer.Via = "direct" }},
		{"engine", "no echoes of its own", func(w *world) { w.facts.Engine = nil }},
		{"kernel", "no tunnel address of IPv4", func(w *world) { w.facts.Self = nil; w.peer.Subnet6 = netip.Prefix{} }},
		{"kernel", "CAP_NET_RAW", func(w *world) { w.openErr = echo.ErrPermission }},
		{"pod", "not an address of this host", func(w *world) { w.openErr = fmt.Errorf("echo from 10.5.1.1: %w", echo.ErrNotOurs) }},
		{"pod", "no interface here but the tunnel's", func(w *world) { w.locals = w.locals[:3] }},
		{"pod", "no IPv4 subnet", func(w *world) { w.facts.Subnets = w.facts.Subnets[1:] }},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			tc.change(w)
			replies := w.must(t, control.PingRequest{Peer: "n2", Layers: []string{tc.layer}})
			if len(replies) != 2 || replies[0].Summary == nil || !strings.Contains(replies[0].Summary.Skipped, tc.want) || replies[0].Summary.Sent != 0 {
				t.Errorf("%s: %+v, want %q", tc.layer, replies[0], tc.want)
			}
			if v := replies[len(replies)-1]; v.Layer != "" || !strings.HasPrefix(v.Verdict, "nothing could be tried: "+tc.layer) {
				t.Errorf("%s: %+v", tc.layer, v)
			}
		})
	}
}

// A stock peer answers no datagrams, which is not held against it.
func TestStockPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.port.err = fmt.Errorf("192.0.2.12: %w", ErrNotWeft)
		replies := w.must(t, control.PingRequest{Peer: "n2", Layers: []string{"underlay"}})
		s := summaries(replies)["underlay"]
		if s.Summary.Sent != 3 || s.Summary.Answered != 3 || w.port.seen != 1 ||
			s.Note != "192.0.2.11 to 192.0.2.12, port 8472: 192.0.2.12: not a weft node" {
			t.Errorf("%d datagrams, %+v %+v", w.port.seen, s, s.Summary)
		}
	})
}

func TestWireGuardHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		no := false
		w.peer.Via, w.peer.Answers = "wireguard", &no
		note := func() string {
			return summaries(w.must(t, control.PingRequest{Peer: "n2", Layers: []string{"underlay"}}))["underlay"].Note
		}
		if n := note(); !strings.Contains(n, "no WireGuard handshake yet, handshakes are not answered") {
			t.Error(n)
		}
		w.peer.Handshake, w.peer.Answers = time.Now().Add(-time.Minute), nil
		if n := note(); !strings.Contains(n, "latest WireGuard handshake 1m0s ago") {
			t.Error(n)
		}
	})
}

func TestNAT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.facts.Outer = []netip.Addr{addr("10.0.2.15")}
		replies := w.must(t, control.PingRequest{Peer: "n2", Count: 1, Layers: []string{"underlay"}})
		if n := replies[1].Note; n != "port 8472: it sees us as 192.0.2.11:8472, which is not ours: there is NAT on the way" {
			t.Error(n)
		}
	})
}

// A datagram to the port says nothing about a size or about fragments, so it is
// not sent where these were asked for.
func TestNoPortWaySized(t *testing.T) {
	for _, tc := range []struct {
		r    control.PingRequest
		want int
	}{
		{control.PingRequest{Size: 1400}, 0}, {control.PingRequest{DF: true}, 0}, {control.PingRequest{Size: 9000, DF: true}, 0},
		{control.PingRequest{}, 1}, {control.PingRequest{Size: 84}, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			tc.r.Peer, tc.r.Count, tc.r.Layers = "n2", 1, []string{"underlay"}
			s := summaries(w.must(t, tc.r))["underlay"]
			if w.port.seen != tc.want || s.Summary.Sent != 1+tc.want || strings.Contains(s.Note, "port") != (tc.want > 0) {
				t.Errorf("size %d, DF %v: %d datagrams, %d sent, %q", tc.r.Size, tc.r.DF, w.port.seen, s.Summary.Sent, s.Note)
			}
		})
	}
}

func TestErrorsAndLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.kernel.lose = func(n int) bool { return n == 2 }
		w.pod.err = &echo.Refusal{From: addr("10.5.2.0"), Text: "administratively prohibited", Err: unix.EHOSTUNREACH}
		replies := w.must(t, control.PingRequest{Peer: "n2", Layers: []string{"kernel", "pod"}})
		if r := replies[1]; r.RTT != nil || r.Note != "" || r.Seq != 2 {
			t.Errorf("a lost echo: %+v", r)
		}
		if r := replies[4]; r.RTT != nil || r.Note != "from 10.5.2.0: administratively prohibited" {
			t.Errorf("a refused echo: %+v", r)
		}
		v := replies[len(replies)-1]
		if v.Layer != "pod" || !strings.HasPrefix(v.Verdict, "kernel ok, pod fails (from 10.5.2.0: administratively prohibited): ") ||
			!strings.HasSuffix(v.Verdict, "; lost: kernel 1 of 3") {
			t.Errorf("%q %q", v.Layer, v.Verdict)
		}
	})
}

// A packet that is too long is not taken for a peer that is down.
func TestTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.engine.limit, w.engine.told = 1450, true
		w.port.err = ErrNotWeft
		v := w.must(t, control.PingRequest{Peer: "n2", Size: 1500, DF: true, Layers: []string{"underlay", "engine"}})
		last := v[len(v)-1]
		want := "underlay ok, engine fails (from 192.0.2.254: fragmentation needed, MTU 1450): 1500 bytes are too long for it; --sweep finds what passes"
		if last.Layer != "engine" || last.Verdict != want {
			t.Errorf("%q %q", last.Layer, last.Verdict)
		}
		if w.engine.notDF+w.underlay.notDF > 0 {
			t.Error("sent without DF")
		}
	})
}

func TestInterruption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.kernel.dead = true
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := w.run(ctx, control.PingRequest{Peer: "n2", Layers: []string{"kernel"}}); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want the context's error", err)
		}
		if w.kernel.seen != 1 || w.kernel.closed != 1 {
			t.Errorf("%d echoes, %d sockets closed", w.kernel.seen, w.kernel.closed)
		}
	})
}

func TestReaderGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, gone := newWorld(), errors.New("gone")
		err := run(t.Context(), control.PingRequest{Peer: "n2"}, &runner{facts: w.facts, open: w.open,
			locals: func() ([]localAddr, error) { return w.locals, nil }, each: func(control.PingReply) error { return gone }})
		if err != gone || w.underlay.seen != 1 || w.underlay.closed != 1 {
			t.Errorf("%v after %d echoes, %d sockets closed", err, w.underlay.seen, w.underlay.closed)
		}
	})
}

// Whatever the path is like, a sweep finds its limit: with true hints, false
// ones or none, though two of three packets are lost.
func TestSweepFindsTheLimit(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 8))
	for range 300 {
		floor, ceiling := 28, 28+rnd.IntN(9000)
		w := wire{limit: floor + rnd.IntN(ceiling-floor+200), told: rnd.IntN(2) == 0, mtu: ceiling}
		if rnd.IntN(3) == 0 {
			w.lie = rnd.IntN(2 * ceiling)
		}
		if rnd.IntN(2) == 0 {
			w.lose = func(n int) bool { return n%3 != 0 }
		}
		synctest.Test(t, func(t *testing.T) {
			r := &runner{plan: plan{count: 1, timeout: time.Second}, each: func(control.PingReply) error { return nil }}
			o := &outcome{layer: "kernel"}
			err := r.search(t.Context(), o, &way{floor: floor, ceiling: func() int { return w.mtu },
				echo: func(ctx context.Context, _, size int, df bool) (trip, error) {
					rtt, err := w.carry(ctx, size, df)
					return trip{rtt: rtt}, err
				}})
			want := min(w.limit, ceiling)
			if err != nil || o.largest != want || o.hole != (w.limit < ceiling && !w.told) || w.notDF > 0 {
				t.Errorf("limit %d of %d to %d, told %v %d: found %d, hole %v, %v", w.limit, floor, ceiling, w.told, w.lie, o.largest, o.hole, err)
			}
			if honest := w.told && w.lie == 0 && w.lose == nil; honest && w.seen > 3 {
				t.Errorf("limit %d of %d to %d took %d packets", w.limit, floor, ceiling, w.seen)
			}
		})
	}
}

func TestSweepOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.underlay.limit, w.engine.limit, w.kernel.limit, w.pod.limit = 1400, 1350, 1350, 1350
		replies := w.must(t, control.PingRequest{Peer: "n2", Sweep: true, Count: 2})
		for layer, largest := range map[string]int{"underlay": 1400, "engine": 1350, "kernel": 1350, "pod": 1350} {
			if s := summaries(replies)[layer].Summary; s.Largest != largest || s.Sent != s.Answered {
				t.Errorf("%s: %+v, want %d", layer, s, largest)
			}
		}
		last := replies[len(replies)-1]
		if last.Layer != "underlay" || !strings.Contains(last.Verdict, "; but in the layer underlay packets of more than 1400 bytes vanish") {
			t.Errorf("%q %q", last.Layer, last.Verdict)
		}
		w = newWorld()
		w.underlay.limit = 1499 // the tunnel's packets still fit
		replies = w.must(t, control.PingRequest{Peer: "n2", Sweep: true, Count: 1})
		last = replies[len(replies)-1]
		if last.Layer != "" || !strings.Contains(last.Verdict, "the tunnel's packets are short enough") {
			t.Errorf("%q %q", last.Layer, last.Verdict)
		}
	})
}

// A sweep cannot go by the port, whose datagrams may be fragmented.
func TestNoSweepByPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.underlay.dead = true
		replies := w.must(t, control.PingRequest{Peer: "n2", Sweep: true, Count: 2, Layers: []string{"underlay"}})
		s := summaries(replies)["underlay"]
		if s.Summary.Largest != 0 || s.Summary.Answered != 2 || s.Summary.Sent != 4 || !strings.Contains(s.Note, "no sweep") {
			t.Errorf("%+v %+v", s, s.Summary)
		}
	})
}
