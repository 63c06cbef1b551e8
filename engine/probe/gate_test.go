package probe

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A crowd is a node in a bubble that nobody hurries: it is passive, and works out
// one answer for each value that is put into permits.
type crowd struct {
	*Prober
	permits chan struct{}
	mu      sync.Mutex
	asked   []netip.Addr
	sent    [][]byte
	beside  int // datagrams sent beside the tunnel
}

// gather runs f with a crowd around n peers: peer i is called i and has the tunnel
// addresses of member(i).
func gather(t *testing.T, n int, f func(t *testing.T, c *crowd)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		c := &crowd{permits: make(chan struct{})}
		c.Prober = New(Options{Passive: true, Send: c.send, SendOuter: c.sendOuter, Answer: c.answer})
		var targets []Target
		for i := range n {
			at, alt := member(i)
			targets = append(targets, Target{Key: fmt.Sprint(i), Src: b4, Dst: at, Alt: alt, MTU: 1450})
		}
		c.Set(targets)
		var running sync.WaitGroup
		running.Go(func() { c.Run(ctx) })
		defer func() {
			stop()
			close(c.permits)
			running.Wait()
		}()
		f(t, c)
	})
}

func member(i int) (at, alt netip.Addr) {
	return netip.AddrFrom4([4]byte{10, 9, byte(i), 0}), netip.AddrFrom16([16]byte{0: 0xfd, 7: byte(i)})
}

func (c *crowd) send(_ string, b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, slices.Clone(b))
	return nil
}

func (c *crowd) sendOuter(string, []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beside++
	return nil
}

func (c *crowd) answer(about netip.Addr) View {
	<-c.permits
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, about)
	return view
}

// ask has peer i ask about an address.
func (c *crowd) ask(i int, src, dst, about netip.Addr) (taken bool) {
	q := query{src: src, dst: dst, mark: mark{1, 2}, about: about}
	return c.Input(q.append(nil), usAt, fmt.Sprint(i))
}

// pings sends n echoes to peer 0, has its kernel answer them, and returns the
// channel on which each ends.
func (c *crowd) pings(t *testing.T, n int) <-chan error {
	t.Helper()
	ended := make(chan error, n)
	at, _ := member(0)
	c.mu.Lock()
	c.sent = nil
	c.mu.Unlock()
	for range n {
		go func() {
			_, _, err := c.Ping(t.Context(), "0", b4, at, 0)
			ended <- err
		}()
	}
	synctest.Wait()
	for _, b := range c.sent {
		if !c.Input(kernel(b), usAt, "0") {
			t.Error("a reply was not taken")
		}
	}
	return ended
}

// A pod of a peer is not the peer: what it sends goes on to the kernel, is not
// answered, and takes nothing from what the peer may ask.
func TestPodsAreNotAnswered(t *testing.T) {
	gather(t, 2, func(t *testing.T, c *crowd) {
		at, alt := member(0)
		other, otherAlt := member(1)
		for _, pod := range []netip.Addr{at.Next(), alt.Next(), other, otherAlt, b4, b6} {
			dst := b4
			if pod.Is6() {
				dst = b6
			}
			for range 100 {
				if c.ask(0, pod, dst, a4) {
					t.Fatalf("a question from %s was taken", pod)
				}
			}
		}
		if !c.ask(0, at, b4, a4) || !c.ask(0, alt, b6, a6) {
			t.Fatal("questions of the peer itself were not taken")
		}
		c.permits <- struct{}{}
		c.permits <- struct{}{}
		synctest.Wait()
		if !slices.Equal(c.asked, []netip.Addr{a4, a6}) {
			t.Errorf("asked about %v", c.asked)
		}
	})
	n := New(Options{Answer: func(netip.Addr) View { return view }})
	n.Set([]Target{{Key: "b", Src: b4, Dst: a4}}) // it has no other address
	if q := (&query{src: netip.IPv6Unspecified(), dst: b6, mark: mark{1, 2}}); n.Input(q.append(nil), usAt, "b") {
		t.Error("a question from :: was taken")
	}
}

// Questions wait in front of nothing that is ours, however many peers ask and
// however long answers take.
func TestQuestionsDelayNoReplies(t *testing.T) {
	gather(t, 100, func(t *testing.T, c *crowd) {
		for range 300 { // within three seconds more are admitted than find room
			for i := range 100 {
				at, _ := member(i)
				c.ask(i, at, b4, a4)
				c.InputOuter(datagram(t), usAt, fmt.Sprint(i))
			}
			time.Sleep(10 * ms)
		}
		if c.Missed() == 0 {
			t.Error("the queue of questions has room: this tests nothing")
		}
		ended := c.pings(t, 200)
		c.permits <- struct{}{} // the one that is being worked out, and no other
		synctest.Wait()
		if n := len(ended); n != 200 {
			t.Fatalf("%d of 200 replies were heard before the next question", n)
		}
		for range 200 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

func datagram(t *testing.T) []byte {
	t.Helper()
	b, err := (&Datagram{mark: mark{1, 2}}).Append(nil, 3)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What one peer asks too often takes no room from others, and no memory.
func TestRefusedQuestionsAreNotQueued(t *testing.T) {
	n := New(Options{Passive: true, Answer: func(netip.Addr) View { return view }, SendOuter: func(string, []byte) error { return nil }})
	n.Set([]Target{{Key: "b", Src: b4, Dst: a4}, {Key: "c", Src: b4, Dst: b4.Next()}})
	q := query{src: a4, dst: b4, mark: mark{1, 2}, about: a4}
	inner, beside := q.append(nil), datagram(t)
	for range 1000 {
		if !n.Input(inner, usAt, "b") || !n.InputOuter(beside, usAt, "b") {
			t.Fatal("not taken")
		}
	}
	if got := len(n.asks); got < 4*peerAsks || got > 8*peerAsks || n.Missed() > 0 {
		t.Errorf("%d questions wait, %d missed", got, n.Missed())
	}
	waiting := len(n.asks)
	q.src = b4.Next()
	if n.Input(q.append(nil), themAt, "c"); len(n.asks) == waiting {
		t.Error("another peer's question does not wait with them")
	}
	n.gate.all = newBucket(1e-9, 0) // from now on nobody is admitted
	if got := testing.AllocsPerRun(100, func() { n.Input(inner, usAt, "b"); n.InputOuter(beside, usAt, "b") }); got != 0 {
		t.Errorf("a refused question costs %v allocations", got)
	}
}

// Whoever is no target any more is not answered, and one that is changed keeps
// what it has used up.
func TestGateFollowsTargets(t *testing.T) {
	n := New(Options{Answer: func(netip.Addr) View { return view }})
	to := Target{Key: "b", Src: b4, Dst: a4}
	n.Set([]Target{to})
	n.gate.askers["b"].tokens, n.gate.askers["b"].rate = 1, 1e-9
	q := query{src: a4.Next(), dst: b4, mark: mark{1, 2}}
	to.Dst = q.src
	n.Set([]Target{to})
	for range 2 {
		if !n.Input(q.append(nil), usAt, "b") {
			t.Error("not taken from the new address")
		}
	}
	if got := len(n.asks); got != 1 {
		t.Errorf("%d questions wait, want 1", got)
	}
	n.Set(nil)
	if n.Input(q.append(nil), usAt, "b"); len(n.asks) != 1 || len(n.gate.askers) != 0 {
		t.Error("what is no target may still ask")
	}
}

// A passive node sends nothing by itself, whatever its targets do, yet answers
// and can be made to ask.
func TestPassive(t *testing.T) {
	gather(t, 1, func(t *testing.T, c *crowd) {
		at, alt := member(0)
		time.Sleep(time.Hour)
		for _, path := range []string{"1", "2"} {
			c.Set([]Target{{Key: "0", Src: b4, Dst: at, Alt: alt, MTU: 1450, Path: path}})
			c.Recheck("0")
			time.Sleep(time.Hour)
		}
		if len(c.sent)+c.beside > 0 {
			t.Errorf("%d packets were sent by themselves", len(c.sent)+c.beside)
		}
		if err := <-c.pings(t, 1); err != nil {
			t.Error(err)
		}
		if s, ok := c.State("0"); !ok || s != (State{}) {
			t.Errorf("%+v, %v", s, ok)
		}
		if c.ask(0, at, b4, a4); !c.InputOuter(datagram(t), usAt, "0") {
			t.Error("a probe was not taken")
		}
		c.permits <- struct{}{}
		synctest.Wait()
		if len(c.sent) != 2 || c.beside != 1 { // the ping, and the answers
			t.Errorf("%d packets and %d datagrams were sent", len(c.sent), c.beside)
		}
	})
}
