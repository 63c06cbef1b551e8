package probe

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// A pair is two weft nodes, us and them, in a bubble.
type pair struct {
	us, them *Prober
	mu       sync.Mutex
	asked    []netip.Addr
	inner    int // bytes that they sent inside the tunnel
	outer    [][]byte
	eats     func([]byte) bool // the path loses these datagrams
}

var (
	usAt   = netip.MustParseAddrPort("192.0.2.1:40001") // as they see us, behind NAT
	themAt = netip.MustParseAddrPort("192.0.2.2:8472")
	view   = View{Version: "v1.2.3", Kind: "vxlan", Outer: netip.MustParseAddrPort("192.0.2.1:8472"), Lease: true, MTU: 1400}
)

// meet runs f with a pair that are each other's targets.
func meet(t *testing.T, f func(t *testing.T, p *pair)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		p := &pair{}
		p.us = New(Options{
			Send: func(_ string, b []byte) error { p.deliver(p.them.Input, b, usAt, "us"); return nil },
			SendOuter: func(_ string, b []byte) error {
				p.mu.Lock()
				p.outer = append(p.outer, slices.Clone(b))
				lost := p.eats != nil && p.eats(b)
				p.mu.Unlock()
				if !lost {
					p.deliver(p.them.InputOuter, b, usAt, "us")
				}
				return nil
			}})
		p.them = New(Options{
			Send: func(_ string, b []byte) error {
				p.mu.Lock()
				p.inner += len(b)
				p.mu.Unlock()
				p.deliver(p.us.Input, b, themAt, "them")
				return nil
			},
			SendOuter: func(_ string, b []byte) error { p.deliver(p.us.InputOuter, b, themAt, "them"); return nil },
			Answer: func(a netip.Addr) View {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.asked = append(p.asked, a)
				return view
			}})
		p.us.Set([]Target{{Key: "them", Src: a4, Dst: b4, MTU: 1450, Overhead: 50}})
		p.them.Set([]Target{{Key: "us", Src: b4, Dst: a4, MTU: 1450, Overhead: 50}})
		var running sync.WaitGroup
		for _, n := range []*Prober{p.us, p.them} {
			running.Go(func() { n.Run(ctx) })
		}
		defer func() {
			stop()
			running.Wait()
			time.Sleep(time.Minute)
		}()
		f(t, p)
	})
}

// deliver brings b to a node in a millisecond; its kernel answers what it does
// not take.
func (p *pair) deliver(input func([]byte, netip.AddrPort, string) bool, b []byte, from netip.AddrPort, key string) {
	b = slices.Clone(b)
	time.AfterFunc(ms, func() {
		if input(b, from, key) || b[0]>>4 != 4 {
			return
		}
		if e, ok := ParseEcho(b); ok && !e.Reply {
			back, at, name := p.us.Input, themAt, "them"
			if key == "them" {
				back, at, name = p.them.Input, usAt, "us"
			}
			p.deliver(back, kernel(b), at, name)
		}
	})
}

// questions are what they were asked about so far.
func (p *pair) questions() []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

// Weft nodes tell about themselves in the background.
func TestBackgroundQuestions(t *testing.T) {
	meet(t, func(t *testing.T, p *pair) {
		time.Sleep(time.Second)
		s, _ := p.us.State("them")
		if s.Weft != "v1.2.3" || s.Observed != usAt || s.View != (Answer{view, usAt}) || time.Since(s.Asked) > time.Second {
			t.Errorf("%+v", s)
		}
		if s, _ := p.them.State("us"); s.Weft != "" || !s.Asked.IsZero() {
			t.Errorf("we told although we do not: %+v", s)
		}
		if got := p.questions(); !slices.Equal(got, []netip.Addr{a4}) {
			t.Errorf("asked about %v", got)
		}
		time.Sleep(time.Hour)
		if n := len(p.questions()); n < 6 || n > 8 {
			t.Errorf("asked %d times in an hour", n)
		}
	})
}

func TestAsk(t *testing.T) {
	about := netip.MustParseAddr("fd00:7::1")
	meet(t, func(t *testing.T, p *pair) {
		ctx := t.Context()
		got, err := p.us.Ask(ctx, "them", a4, b4, about)
		if err != nil || got != (Answer{view, usAt}) || !slices.Contains(p.questions(), about) {
			t.Errorf("%+v, %v, asked about %v", got, err, p.questions())
		}
		if _, err := p.us.Ask(ctx, "them", a4, b6, about); err == nil {
			t.Error("asked from IPv4 to IPv6")
		}
	})
	// A kernel answers at once that it is none; what vanishes takes until ctx ends.
	simulate(t, 1, map[string]*link{"b": {delay: ms}, "c": {delay: ms, peer: func([]byte) []byte { return nil }}}, func(t *testing.T, w *world) {
		time.Sleep(time.Second)
		begin := time.Now()
		if _, err := w.Ask(t.Context(), "b", a4, b4, a4); err != ErrNotWeft || time.Since(begin) != 2*ms {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if s := w.state("b"); s.Weft != "" || s.Asked.IsZero() {
			t.Errorf("%+v", s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.Ask(ctx, "c", a4, b4, a4); err != context.DeadlineExceeded {
			t.Error(err)
		}
	})
}

// Nobody gets more out of a node than was put in, and no answers without end.
func TestAnswersAreBounded(t *testing.T) {
	meet(t, func(t *testing.T, p *pair) {
		time.Sleep(time.Minute)
		p.mu.Lock()
		before, asked := p.inner, len(p.asked)
		p.mu.Unlock()
		q := query{src: a4, dst: b4, mark: mark{1, 2}, about: a4}
		for range 1000 {
			if !p.them.Input(q.append(nil), usAt, "us") {
				t.Fatal("not taken")
			}
			time.Sleep(ms)
		}
		p.mu.Lock()
		sent, n := p.inner-before, len(p.asked)-asked
		p.mu.Unlock()
		if n < 4*peerAsks || n > 6*peerAsks || sent > n*(28+querySize)+1500 {
			t.Errorf("%d answers, %d bytes", n, sent)
		}
		if !p.them.Input(q.append(nil), usAt, "stranger") {
			t.Error("a stranger's question reaches the kernel")
		}
		time.Sleep(time.Second)
		if len(p.questions())-asked != n {
			t.Error("a stranger was answered")
		}
	})
}

func TestPing(t *testing.T) {
	links := map[string]*link{"b": {delay: 10 * ms, mtu: 1400, local: 1450}, "c": {peer: func(p []byte) []byte { return unreachable(p, 20) }}}
	simulate(t, 1, links, func(t *testing.T, w *world) {
		for _, size := range []int{0, 52, 1400} {
			rtt, from, err := w.Ping(t.Context(), "b", a4, b4, size)
			if rtt != 20*ms || from != themAt.Addr() || err != nil {
				t.Errorf("size %d: %v from %v, %v", size, rtt, from, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := w.Ping(ctx, "b", a4, b4, 1401); err != context.DeadlineExceeded {
			t.Error(err)
		}
		if _, _, err := w.Ping(ctx, "b", a4, b4, 1451); !errors.Is(err, unix.EMSGSIZE) {
			t.Error(err)
		}
		if _, _, err := w.Ping(ctx, "b", a4, b4, 51); err == nil {
			t.Error("an echo of 51 bytes")
		}
		var refusal *Refusal
		if _, _, err := w.Ping(t.Context(), "c", a4, b4, 0); !errors.As(err, &refusal) || refusal.From != b4 {
			t.Error(err)
		}
		w.Prober.mu.Lock()
		defer w.Prober.mu.Unlock()
		if n := w.flights.calls; n != 0 {
			t.Errorf("%d callers are remembered", n)
		}
	})
}

// Only so many may wait at once.
func TestBusy(t *testing.T) {
	simulate(t, 1, map[string]*link{"b": {down: true}}, func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for range maxCalls {
			go w.Ping(ctx, "b", a4, b4, 0)
		}
		synctest.Wait()
		if _, _, err := w.Ping(ctx, "b", a4, b4, 0); err != ErrBusy {
			t.Error(err)
		}
		cancel()
		synctest.Wait()
		w.change("b", func(l *link) { l.down = false })
		if _, _, err := w.Ping(t.Context(), "b", a4, b4, 0); err != nil {
			t.Error(err)
		}
	})
}

// A path that eats one form is told from one that eats all.
func TestUnderlay(t *testing.T) {
	meet(t, func(t *testing.T, p *pair) {
		shapes := []Shape{{Form: Random}, {Form: VXLANShaped, VNI: 1, SrcMAC: [6]byte{2}, DstMAC: [6]byte{2, 1}}, {Form: IPShaped, Src: a4, Dst: b4}}
		for _, s := range shapes {
			if rtt, observed, err := p.us.Underlay(t.Context(), "them", s); rtt != 2*ms || observed != usAt || err != nil {
				t.Errorf("%v: %v, %v, %v", s.Form, rtt, observed, err)
			}
		}
		p.mu.Lock()
		p.eats = func(b []byte) bool { return b[0] == vxlanFlags }
		p.mu.Unlock()
		for _, s := range shapes {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, _, err := p.us.Underlay(ctx, "them", s)
			if cancel(); (s.Form == VXLANShaped) != (err != nil) {
				t.Errorf("%v: %v", s.Form, err)
			}
		}
		if _, _, err := p.us.Underlay(t.Context(), "them", Shape{Form: 9}); err == nil || !strings.Contains(err.Error(), "form 9") {
			t.Error(err)
		}
		if p.them.InputOuter([]byte("anything else"), usAt, "us") {
			t.Error("took what is no probe")
		}
	})
	n := New(Options{})
	if _, _, err := n.Underlay(t.Context(), "b", Shape{}); err != ErrNoUnderlay {
		t.Error(err)
	}
}

// An answer counts only if it is to a question of ours, and beside the tunnel,
// where no lease vouches for the source, only from whom was asked.
func TestForeignAnswers(t *testing.T) {
	meet(t, func(t *testing.T, p *pair) {
		time.Sleep(time.Second)
		before, _ := p.us.State("them")
		other := New(Options{}) // the process before us, say
		m := other.seal.mark(forEcho, a4, b4, 84)
		e := Echo{Src: b4, Dst: a4, Reply: true, Size: 84, Token: m.token, Seal: m.seal}
		reply, err := e.Append(nil)
		if err != nil || p.us.Input(reply, themAt, "them") {
			t.Errorf("took the reply to a foreign echo, %v", err)
		}
		tell := query{src: b4, dst: a4, tell: true, mark: m, answer: Answer{View: View{Version: "evil"}}}
		if !p.us.Input(tell.append(nil), themAt, "them") {
			t.Error("the kernel gets an answer to a foreign question")
		}
		time.Sleep(ms)
		if after, _ := p.us.State("them"); after.View != before.View || after.Asked != before.Asked {
			t.Errorf("%+v became %+v", before, after)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p.mu.Lock()
		p.eats = func(b []byte) bool {
			d, _ := Recognise(b)
			a := d.answer(usAt)
			answer, err := a.Append(nil, 1)
			if err != nil || !p.us.InputOuter(answer, netip.MustParseAddrPort("192.0.2.66:8472"), "another") {
				t.Errorf("not taken, %v", err)
			}
			return true
		}
		p.mu.Unlock()
		if _, _, err := p.us.Underlay(ctx, "them", Shape{}); err != context.DeadlineExceeded {
			t.Error(err)
		}
	})
}
