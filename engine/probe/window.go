package probe

import "time"

const (
	windowSize = 20
	// patience is how long an echo may go unanswered before it counts as lost;
	// an answer that comes later still makes it an answered one.
	patience = 2 * time.Second
	// dead is how many lost echoes in a row make a peer that does not answer.
	dead = 3
)

// A window remembers the latest echoes to a peer.
type window struct {
	slots [windowSize]slot
	n     uint64 // echoes so far; the next one's slot is n % windowSize
}

// A slot is one echo.
type slot struct {
	sent time.Time
	rtt  time.Duration // 0: not answered
}

// add notes an echo sent now and returns its number.
func (w *window) add(now time.Time) uint64 {
	w.slots[w.n%windowSize] = slot{sent: now}
	w.n++
	return w.n - 1
}

// answered notes that echo i was answered.
func (w *window) answered(i uint64, rtt time.Duration) {
	if i < w.n && w.n-i <= windowSize {
		w.slots[i%windowSize].rtt = max(rtt, 1)
	}
}

// each calls f with the echoes from number first on of which the fate is known,
// the latest first, until it reports false.
func (w *window) each(now time.Time, first uint64, f func(slot) bool) {
	for i := w.n; i > first && w.n-i < windowSize; i-- {
		s := w.slots[(i-1)%windowSize]
		if (s.rtt > 0 || now.Sub(s.sent) >= patience) && !f(s) {
			return
		}
	}
}

// loss counts the echoes from number first on of which the fate is known, and the
// lost ones of them; least is the shortest round trip, 0 if there is none.
func (w *window) loss(now time.Time, first uint64) (known, lost int, least time.Duration) {
	w.each(now, first, func(s slot) bool {
		known++
		switch {
		case s.rtt == 0:
			lost++
		case least == 0 || s.rtt < least:
			least = s.rtt
		}
		return true
	})
	return known, lost, least
}

// silent tells whether the latest echoes, as many as make a dead peer, are lost.
func (w *window) silent(now time.Time) bool {
	lost := 0
	w.each(now, 0, func(s slot) bool {
		if s.rtt == 0 {
			lost++
		}
		return s.rtt == 0 && lost < dead
	})
	return lost == dead
}

// A smoother is the round trip time as RFC 6298 smooths it.
type smoother struct{ srtt, variance time.Duration }

func (s *smoother) add(rtt time.Duration) {
	if s.srtt == 0 {
		s.srtt, s.variance = rtt, rtt/2
		return
	}
	s.variance += ((s.srtt - rtt).Abs() - s.variance) / 4
	s.srtt += (rtt - s.srtt) / 8
}

// spacing is the time between two echoes of a trial: enough for an answer to
// come, in all likelihood, and for a peer that answers only so many a second.
func (s *smoother) spacing() time.Duration {
	return min(max(2*s.srtt+4*s.variance, 400*time.Millisecond), patience)
}
