package probe

import (
	"net/netip"
	"time"
)

// A flight is a message of ours that may still be answered.
type flight struct {
	key  string
	sent time.Time
	peer *peer // in the background: whom it is about
	task task  // in the background: what it is for
	// taskEcho: its number in the window, which the peer had then.
	echo   uint64
	window *window
	// taskPath: the trial it belongs to, and whether it is one of its large echoes.
	trial *trial
	large bool
	done  chan<- reply // on demand: who waits; has room for one
	outer bool         // it went beside the tunnel
}

// A reply is what came back to who waits.
type reply struct {
	rtt      time.Duration
	from     netip.Addr // outer source
	answer   Answer
	observed netip.AddrPort
	err      error
}

// flights are the messages in the air, by token. Those of the background are
// forgotten after lifetime, so there are never more than the rate of echoes
// allows; the others belong to a caller who takes them back.
type flights struct {
	of    map[uint64]flight
	calls int    // how many have a caller
	aging []aged // of the background, the oldest first; some have landed
}

type aged struct {
	token uint64
	sent  time.Time
}

const (
	lifetime = 15 * time.Second
	maxCalls = 256
)

func (f *flights) add(token uint64, fl flight) {
	f.of[token] = fl
	if fl.done != nil {
		f.calls++
		return
	}
	f.aging = append(f.aging, aged{token, fl.sent})
}

// land takes a flight out.
func (f *flights) land(token uint64) (flight, bool) {
	fl, ok := f.of[token]
	if ok {
		delete(f.of, token)
		if fl.done != nil {
			f.calls--
		}
	}
	return fl, ok
}

func (f *flights) expire(now time.Time) {
	for len(f.aging) > 0 && now.Sub(f.aging[0].sent) > lifetime {
		delete(f.of, f.aging[0].token)
		f.aging = f.aging[1:]
	}
}
