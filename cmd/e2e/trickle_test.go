package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"weft/cmd/weft/lab"
)

// A trickle is a slow stream of numbered datagrams from one pod to another. It
// tells which of them were lost, one way, however late the others come: what a
// busy machine delays is not taken for a loss.
type trickle struct {
	name     string
	from, to *lab.Node

	mu      sync.Mutex
	sent    []time.Time     // by number
	arrived []bool          // by number
	highest int             // number that has arrived; -1: none
	news    chan struct{}   // told of each arrival
	dead    context.Context // ends when the trickle does
}

// every is the time between two datagrams.
const every = 4 * time.Millisecond

func startTrickle(t testing.TB, from, to *lab.Node, family string) *trickle {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	tr := &trickle{name: fmt.Sprintf("%s to %s, %s", from.Name, to.Name, family), from: from, to: to,
		highest: -1, news: make(chan struct{}, 1), dead: ctx}
	in := openUDP(t, to.Pod, netip.AddrPortFrom(addrs(to)[family], 0))
	out := openUDP(t, from.Pod, netip.AddrPortFrom(addrs(from)[family], 0))
	var both sync.WaitGroup
	both.Go(func() { tr.receive(in) })
	both.Go(func() { tr.send(out, in.addr) })
	t.Cleanup(func() { cancel(); both.Wait() })
	return tr
}

func (tr *trickle) send(out *socket, to netip.AddrPort) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		tr.mu.Lock()
		n := len(tr.sent)
		tr.sent, tr.arrived = append(tr.sent, time.Now()), append(tr.arrived, false)
		tr.mu.Unlock()
		// What cannot be sent is lost. A socket tells once of an ICMP error
		// that an earlier datagram met, and takes the datagram the next time.
		b := binary.BigEndian.AppendUint64(nil, uint64(n))
		if out.sendTo(b, to) != nil {
			_ = out.sendTo(b, to)
		}
		select {
		case <-tick.C:
		case <-tr.dead.Done():
			return
		}
	}
}

func (tr *trickle) receive(in *socket) {
	for b := make([]byte, 64); ; {
		n, _, err := in.receive(tr.dead, b)
		if err != nil {
			return
		}
		if n != 8 {
			continue
		}
		tr.mu.Lock()
		i := int(binary.BigEndian.Uint64(b))
		tr.arrived[i], tr.highest = true, max(tr.highest, i)
		tr.mu.Unlock()
		select {
		case tr.news <- struct{}{}:
		default:
		}
	}
}

// sentSoFar returns the number of the next datagram.
func (tr *trickle) sentSoFar() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.sent)
}

// settle waits until the trickle flows, and all datagrams below that number
// have arrived or never will.
func (tr *trickle) settle(t testing.TB, number int) {
	t.Helper()
	const behind = 8 // datagrams that may overtake one
	for ctx := within(t); ; {
		tr.mu.Lock()
		highest := tr.highest
		tr.mu.Unlock()
		if highest >= number+behind {
			return
		}
		select {
		case <-tr.news:
		case <-ctx.Done():
			t.Fatalf("%s: nothing arrives after number %d, %d were sent before the wait", tr.name, highest, number)
		}
	}
}

// lost counts those numbered from a to below b that have not arrived, and
// returns how long the longest silence was.
func (tr *trickle) lost(a, b int) (n int, gap time.Duration) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	run := 0
	for i := a; i < b; i++ {
		if tr.arrived[i] {
			run = 0
			continue
		}
		n, run = n+1, run+1
		gap = max(gap, tr.sent[i].Sub(tr.sent[i-run+1])+every)
	}
	return n, gap
}

// A set of trickles that are looked at together.
type trickles []*trickle

// settle settles what all have sent so far, and returns how many that is of each.
func (ts trickles) settle(t testing.TB) []int {
	t.Helper()
	at := make([]int, len(ts))
	for i, tr := range ts {
		at[i] = tr.sentSoFar()
	}
	for i, tr := range ts {
		tr.settle(t, at[i])
	}
	return at
}

// whole checks that what was sent since then has arrived. Trickles that begin
// or end at the node except, which may be nil, may lose until they flow again.
// It returns how many of each it has judged.
func (ts trickles) whole(t testing.TB, what string, since []int, except *lab.Node) []int {
	t.Helper()
	if except != nil {
		ts.settle(t)
	}
	now := ts.settle(t)
	lost, sent, longest := 0, 0, time.Duration(0)
	for i, tr := range ts {
		n, gap := tr.lost(since[i], now[i])
		switch {
		case tr.from == except || tr.to == except:
			lost, sent, longest = lost+n, sent+now[i]-since[i], max(longest, gap)
		case n > 0:
			t.Errorf("%s: %s: %d of %d lost, nothing for %s", what, tr.name, n, now[i]-since[i], gap)
		}
	}
	if except != nil {
		t.Logf("%s: its pods lost %d of %d, at most %s without a datagram", what, lost, sent, longest)
	}
	return now
}
