package ping

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"weft/engine/control"
	"weft/engine/ping/echo"
)

// An outcome is what the echoes of a layer came to.
type outcome struct {
	layer          string
	skipped        string // why it was not tried
	sent, answered int
	min, max, sum  time.Duration
	ways           []*tally
	remarks        remarks // about ways that could not be gone
	cause          string  // why the latest unanswered echo was not, if anybody said
	tooBig         bool    // somebody said that packets are too long
	damaged        bool    // an answer carried other bytes than its request
	largest        int     // bytes, of a sweep; 0: none was made
	hole           bool    // longer packets vanish, and nobody says so
}

// A tally counts the echoes of one way.
type tally struct {
	way            *way
	sent, answered int
}

type remarks []string

func (r remarks) first() string {
	if len(r) == 0 {
		return ""
	}
	return r[0]
}

func (o *outcome) begin(w *way) *tally {
	t := &tally{way: w}
	o.ways = append(o.ways, t)
	return t
}

// drop takes back a way that turned out to be none.
func (o *outcome) drop(t *tally, name, why string) {
	o.remarks = append(o.remarks, join(name, why))
	o.sent -= t.sent
	o.answered -= t.answered
	o.ways = o.ways[:len(o.ways)-1]
}

// add counts one echo and returns the line about it.
func (o *outcome) add(t *tally, seq, size int, e trip, err error) control.PingReply {
	o.sent++
	t.sent++
	reply := control.PingReply{Layer: o.layer, Seq: seq, Size: size}
	if err != nil {
		reply.Note = join(t.way.name, o.blame(err))
		return reply
	}
	if o.answered == 0 {
		o.min = e.rtt
	}
	o.answered++
	t.answered++
	o.min, o.max, o.sum = min(o.min, e.rtt), max(o.max, e.rtt), o.sum+e.rtt
	reply.RTT, reply.From, reply.Note = inSeconds(e.rtt), e.from, join(t.way.name, e.note)
	return reply
}

// blame remembers why there was no answer, and returns it in words; nobody says
// anything when time ran out.
func (o *outcome) blame(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return ""
	}
	if _, big := echo.TooBig(err); big {
		o.tooBig = true
	}
	o.damaged = o.damaged || errors.Is(err, echo.ErrDamaged)
	o.cause = err.Error()
	return o.cause
}

// best returns the way with the most answers, the first of several.
func (o *outcome) best() *tally {
	best := o.ways[0]
	for _, t := range o.ways {
		if t.answered > best.answered {
			best = t
		}
	}
	return best
}

func (o *outcome) summary() *control.PingSummary {
	s := &control.PingSummary{Sent: o.sent, Answered: o.answered, Largest: o.largest, Skipped: o.skipped}
	if o.answered > 0 {
		s.Min, s.Max, s.Avg = inSeconds(o.min), inSeconds(o.max), inSeconds(o.sum/time.Duration(o.answered))
	}
	return s
}

// note says from where to where the echoes went, and how each of several ways
// did.
func (o *outcome) note(text string) string {
	if o.skipped != "" {
		return ""
	}
	parts := []string{text}
	if len(o.ways) > 1 {
		for _, t := range o.ways {
			parts = append(parts, fmt.Sprintf("%s %d of %d", t.way.name, t.answered, t.sent))
		}
	}
	return strings.Join(append(parts, o.remarks...), ", ")
}

func inSeconds(d time.Duration) *float64 {
	s := d.Seconds()
	return &s
}

func join(name, text string) string {
	if name == "" || text == "" {
		return name + text
	}
	return name + ": " + text
}
