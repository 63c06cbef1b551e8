package probe

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Prober watches peers. All methods may be called at any time, by many at once.
type Prober struct {
	opt     Options
	seal    sealer
	id      uint16     // of all echoes: one entry for us in a peer's connection tracking
	replies chan event // what came back for messages of ours, and bears our seal
	asks    chan event // what peers ask, as far as the gate lets it in
	gate    gate
	wake    chan struct{}
	missed  atomic.Uint64 // events that found no room

	mu      sync.Mutex
	peers   map[string]*peer
	due     schedule
	flights flights
	rate    bucket // of what the background sends
	// unspoken are peers of which something is to be told.
	unspoken []*peer

	buf []byte // of Run's goroutine
}

// New makes a prober, which does nothing until Run.
func New(o Options) *Prober {
	if o.Interval <= 0 {
		o.Interval = defaultGap
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Prober{opt: o, seal: newSealer(), id: uint16(rand.Uint32()),
		replies: make(chan event, 256), asks: make(chan event, 256), gate: newGate(), wake: make(chan struct{}, 1),
		peers: map[string]*peer{}, flights: flights{of: map[uint64]flight{}}, rate: newBucket(echoRate, echoBurst)}
}

// Run probes until ctx ends. Its error is always nil.
func (p *Prober) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-p.wake:
		case e := <-p.replies:
			p.handle(&e)
		case e := <-p.asks:
			p.handle(&e)
		}
		p.drain()
		timer.Reset(p.work())
	}
}

// drain deals with the replies that wait, so that none waits for more than one
// question.
func (p *Prober) drain() {
	for range len(p.replies) { // there is no other receiver
		e := <-p.replies
		p.handle(&e)
	}
}

const (
	leastNap = 5 * time.Millisecond // so that many peers do not mean many wake-ups
	longest  = time.Hour
)

// work does what is due, as far as the rate allows, and says for how long there
// is nothing to do.
func (p *Prober) work() time.Duration {
	for {
		p.mu.Lock()
		j, wait := p.pick(time.Now())
		p.mu.Unlock()
		if j.token != 0 {
			p.send(&j)
		}
		p.tell()
		if wait > 0 {
			return max(wait, leastNap)
		}
	}
}

// A job is a message to send.
type job struct {
	key    string
	token  uint64 // 0: nothing to send
	packet []byte
}

// pick does the task that is due next, up to the message it wants sent, or says
// how long there is none. The caller holds mu.
func (p *Prober) pick(now time.Time) (j job, wait time.Duration) {
	p.flights.expire(now)
	if len(p.due) == 0 || p.due[0].next.IsZero() {
		return j, longest
	}
	q := p.due[0]
	if wait = q.next.Sub(now); wait > 0 {
		return j, wait
	}
	if wait = p.rate.wait(now); wait > 0 {
		return j, wait
	}
	j = p.act(q, now)
	p.arrange(q)
	return j, 0
}

// act does the first of q's tasks.
func (p *Prober) act(q *peer, now time.Time) job {
	first, _ := q.due()
	f := flight{key: q.Key, sent: now, peer: q, task: first}
	size := smallEcho(q.Dst)
	switch first {
	case taskEcho:
		f.echo, f.window = q.beat(now, p.opt.Interval), q.window
	case taskPath:
		send, large := q.path(now)
		if !send {
			return job{}
		}
		f.trial, f.large = q.trial, large
		if large {
			size = q.trial.size
		}
	case taskAsk:
		if q.at[taskAsk] = (time.Time{}); !q.alive {
			return job{} // it is asked when it answers again
		}
		q.ask(now)
		m := p.seal.mark(forQuery, q.Src, q.Dst, querySize)
		ask := query{src: q.Src, dst: q.Dst, mark: m, about: q.Src}
		p.buf = ask.append(p.buf[:0])
		return p.launch(m.token, f)
	}
	m := p.seal.mark(forEcho, q.Src, q.Dst, size)
	q.seq++
	e := Echo{Src: q.Src, Dst: q.Dst, ID: p.id, Seq: q.seq, Size: size, Token: m.token, Seal: m.seal}
	b, err := e.Append(p.buf[:0])
	if err != nil {
		q.sendErr = err
		return job{}
	}
	p.buf = b
	return p.launch(m.token, f)
}

// launch notes that buf is sent.
func (p *Prober) launch(token uint64, f flight) job {
	p.rate.take(f.sent)
	p.flights.add(token, f)
	return job{key: f.key, token: token, packet: p.buf}
}

// send sends a job's message.
func (p *Prober) send(j *job) {
	err := p.opt.Send(j.key, j.packet)
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.flights.of[j.token]
	if !ok || f.peer.gone {
		return // answered already, or nobody cares
	}
	if f.task == taskEcho {
		f.peer.sendErr = err
	}
	if err == nil {
		return
	}
	p.flights.land(j.token)
	if f.large && f.trial == f.peer.trial && errors.Is(err, unix.EMSGSIZE) {
		f.peer.conclude(fails, time.Now())
		p.arrange(f.peer)
	}
}

// A schedule is a heap of peers, the one with the earliest task first.
type schedule []*peer

func (s schedule) Len() int { return len(s) }
func (s schedule) Less(i, j int) bool {
	a, b := s[i].next, s[j].next
	return !a.IsZero() && (b.IsZero() || a.Before(b))
}
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}
func (s *schedule) Push(x any) {
	q := x.(*peer)
	q.index = len(*s)
	*s = append(*s, q)
}
func (s *schedule) Pop() any {
	last := len(*s) - 1
	q := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	return q
}

// arrange puts q, of which something has changed, where its tasks belong in the
// schedule, and on the list of what is to be told. The caller holds mu.
func (p *Prober) arrange(q *peer) {
	if q.gone {
		return
	}
	if _, q.next = q.due(); p.opt.Passive {
		q.next = time.Time{}
	}
	heap.Fix(&p.due, q.index)
	if q.news && !q.unspoken {
		p.unspoken = append(p.unspoken, q)
	}
	q.news, q.unspoken = false, q.unspoken || q.news
}
