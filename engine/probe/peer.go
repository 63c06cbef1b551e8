package probe

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// A task is what is done for a peer in the background.
type task uint8

const (
	taskEcho task = iota // see whether it answers
	taskPath             // see how long packets may be
	taskAsk              // see what it says of itself
	tasks
)

const (
	quick      = 500 * time.Millisecond // between the first echoes
	quickOnes  = 3                      // how many are answered before the interval counts
	slowest    = time.Minute            // between echoes to a peer that never answered
	confirm    = 10 * time.Minute       // between questions, and at most between searches in vain
	whole      = time.Minute            // until a path without a limit is made sure of again: one echo, if it still is
	narrow     = 2 * time.Minute        // until it is tried whether a limit has gone: some ten
	tryAgain   = time.Minute            // after a search without result, and doubled with each
	askAgain   = 3 * time.Second        // after a question without answer
	askTries   = 3
	echoRate   = 200 // messages a second, of all background tasks
	echoBurst  = 10
	defaultGap = 10 * time.Second
)

// A peer is what the prober knows of a target. The prober's lock guards it.
type peer struct {
	Target
	at    [tasks]time.Time // when each task is due; zero: not at all
	next  time.Time        // the earliest of them; zero: none
	index int              // in the schedule
	gone  bool             // no target any more

	window     *window // another one when the path is another
	since      uint64  // the echo by which it came back to life
	times      smoother
	rtt        time.Duration
	gap        time.Duration // to the next echo, if this one is not answered
	seq        uint16
	sent       uint64
	answered   uint64
	firstTried time.Time
	lastAnswer time.Time
	alive      bool
	sendErr    error

	search  search
	trial   *trial // while search is not at rest
	pathMTU int
	probed  time.Time
	again   time.Duration // to the next search if this one has no result
	told    int           // the limit that the engine was told; -1: none yet

	asks     int           // questions without an answer
	doubt    time.Duration // until a peer that is no weft node is asked again
	asked    time.Time
	view     Answer
	news     bool // there is something to tell
	unspoken bool // and it is on the prober's list
}

func newPeer(t Target, now time.Time) *peer {
	q := &peer{Target: t, window: new(window), gap: quick, again: tryAgain, told: -1}
	q.search = newSearch(&t)
	q.at[taskEcho] = now
	return q
}

// retarget takes another target with the same key, and forgets what may be
// otherwise on another path. A peer that answered is taken to go on, until it is
// found that it does not.
func (q *peer) retarget(t Target, now time.Time) {
	was := q.Target
	q.Target, was.Alt = t, t.Alt // nothing is sent there
	if was == t {
		return
	}
	q.news = q.news || q.search.limit > 0 || q.search.searching()
	moved := t.Path != was.Path || t.Src != was.Src || t.Dst != was.Dst
	q.search, q.trial = newSearch(&t), nil
	q.pathMTU, q.probed, q.again = 0, time.Time{}, tryAgain
	if q.at[taskPath] = (time.Time{}); q.alive {
		q.at[taskPath] = now
	}
	if !moved {
		return
	}
	q.window, q.since, q.times, q.gap = new(window), 0, smoother{}, quick
	if q.at[taskEcho] = now; q.alive {
		q.at[taskAsk] = now
	}
}

// due tells which task comes first, and when.
func (q *peer) due() (first task, at time.Time) {
	for t, when := range q.at {
		if !when.IsZero() && (at.IsZero() || when.Before(at)) {
			first, at = task(t), when
		}
	}
	return first, at
}

// beat notes an echo that is sent now, and says when the next one is due: soon
// while it matters, ever more rarely while nothing comes back.
func (q *peer) beat(now time.Time, interval time.Duration) (number uint64) {
	if q.alive && q.window.silent(now) {
		q.alive, q.news, q.gap = false, true, patience
	}
	if q.sent++; q.firstTried.IsZero() {
		q.firstTried = now
	}
	gap := min(q.gap, interval)
	switch {
	case q.alive:
		gap = min(patience, interval) // an answer puts it off
	case q.answered > 0:
		q.gap = min(2*q.gap, interval)
	default:
		gap = q.gap
		q.gap = min(2*q.gap, max(slowest, interval))
	}
	q.at[taskEcho] = now.Add(jitter(gap))
	return q.window.add(now)
}

// echoed notes that the echo with that number was answered after rtt.
func (q *peer) echoed(number uint64, now time.Time, rtt, interval time.Duration) {
	rtt = max(rtt, 1) // 0 says that there is none
	q.answered++
	q.rtt, q.sendErr = rtt, nil
	q.window.answered(number, rtt)
	q.heard(now, rtt)
	if !q.alive {
		q.alive, q.news, q.asks, q.since = true, true, 0, number
		q.at[taskPath], q.at[taskAsk] = now, now
	}
	if number+1 == q.window.n {
		gap := interval
		if q.window.n < quickOnes {
			gap = min(quick, interval)
		}
		q.at[taskEcho] = now.Add(jitter(gap))
	}
}

// heard notes an answer to any small echo.
func (q *peer) heard(now time.Time, rtt time.Duration) {
	q.lastAnswer = now
	q.times.add(max(rtt, 1))
}

// path does the next step of the search. It reports whether an echo is to be
// sent for it, and whether that is a large one.
func (q *peer) path(now time.Time) (send, large bool) {
	if q.search.phase == rest {
		if q.at[taskPath] = (time.Time{}); !q.alive {
			return false, false // it is searched when it answers again
		}
		q.search.start()
		if q.search.phase == rest {
			return false, false // such a device is too narrow for any path to be narrower
		}
		q.try()
	}
	known, lost, _ := q.window.loss(now, q.since) // an outage tells nothing of what came after
	if o := q.trial.judge(known, lost); o != open {
		q.conclude(o, now)
		return false, false
	}
	q.at[taskPath] = now.Add(jitter(q.times.spacing()))
	return true, q.trial.next(rand.Uint32()&1 == 0)
}

func (q *peer) try() { q.trial = &trial{size: q.search.size(), doubt: q.search.doubt()} }

// conclude ends a trial and begins the next one, if there is one.
func (q *peer) conclude(o outcome, now time.Time) {
	before := q.search.searching()
	switch size := q.trial.size; {
	case o == passes && size > q.pathMTU:
		q.pathMTU = size
	case o == fails && size <= q.pathMTU:
		q.pathMTU = 0
	}
	q.search.told(o)
	switch {
	case q.search.phase != rest:
		q.try()
		q.at[taskPath] = now
	case q.search.proven:
		q.trial, q.probed, q.again = nil, now, tryAgain
		gap := time.Duration(narrow)
		if q.pathMTU = q.search.limit; q.pathMTU == 0 {
			q.pathMTU, gap = q.search.full, whole
		}
		q.at[taskPath] = now.Add(jitter(gap))
	default:
		q.trial = nil
		q.at[taskPath] = now.Add(jitter(q.again))
		q.again = min(2*q.again, confirm)
	}
	if before != q.search.searching() || (q.trial == nil && q.told != q.search.limit) {
		q.news = true
	}
}

// ask says when the next question is due, after the one that is sent now.
func (q *peer) ask(now time.Time) {
	gap := time.Duration(askAgain)
	if q.asks++; q.asks >= askTries {
		q.asks, gap = 0, confirm
	}
	q.at[taskAsk] = now.Add(jitter(gap))
}

// spoke notes what the peer told; nothing if it is no weft node, or not yet: one
// that has just begun may not know us.
func (q *peer) spoke(a Answer, now time.Time) {
	q.news = q.news || q.view != a
	q.view, q.asked, q.asks = a, now, 0
	gap := time.Duration(confirm)
	if q.doubt = min(max(2*q.doubt, askAgain), confirm); a == (Answer{}) {
		gap = q.doubt
	} else {
		q.doubt = 0
	}
	q.at[taskAsk] = now.Add(jitter(gap))
}

func (q *peer) state(now time.Time) State {
	s := State{FirstTried: q.firstTried, Sent: q.sent, Answered: q.answered, LastAnswer: q.lastAnswer,
		Alive: q.alive && !q.window.silent(now), RTT: q.rtt, SRTT: q.times.srtt, SendErr: q.sendErr,
		Limit: q.search.limit, PathMTU: q.pathMTU, Probed: q.probed, Searching: q.search.searching(),
		Asked: q.asked, Weft: q.view.Version, Observed: q.view.Observed, View: q.view}
	known, lost, least := q.window.loss(now, 0)
	if s.Window, s.MinRTT = known, least; known > 0 {
		s.Loss = float64(lost) / float64(known)
	}
	return s
}

// jitter is d, a tenth more or less, so that what began together drifts apart.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}

// usable tells whether t can be probed.
func (t *Target) usable() bool {
	return t.Src.IsValid() && t.Dst.IsValid() && t.Src.Is4() == t.Dst.Is4() && t.Src != netip.IPv6Unspecified()
}
