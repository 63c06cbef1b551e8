package status

import (
	"fmt"

	"weft/engine/control"
)

// since is the time from the answer before to this one, in seconds; 0: there is
// none, or the node was started anew in between.
func (v view) since() float64 {
	if v.before == nil || !v.before.Node.Started.Equal(v.now.Node.Started) {
		return 0
	}
	return max(0, v.now.Time.Sub(v.before.Time).Seconds())
}

// traffic is the rate of what of picks from an answer, or the sum if there is
// no rate.
func (v view) traffic(t control.Traffic, of func(*control.Status) control.Traffic) string {
	s := v.since()
	if s == 0 {
		return trafficText(t)
	}
	b := of(v.before)
	return rateText(rise(b.Bytes, t.Bytes)*8/s, "bit/s") + " " + rateText(rise(b.Packets, t.Packets)/s, "pps")
}

// rise is how much a counter has grown; 0 if it began anew.
func rise(before, now uint64) float64 {
	if now < before {
		return 0
	}
	return float64(now - before)
}

// cpu is the use of processors, in percent of one: lately if that is known, else
// on average.
func (v view) cpu() string {
	e := v.now.Engine
	used, seconds, word := e.CPU, v.now.Time.Sub(v.now.Node.Started).Seconds(), " on average"
	if s := v.since(); s > 0 {
		used, seconds, word = max(0, used-v.before.Engine.CPU), s, ""
	}
	if seconds <= 0 {
		return "cpu " + none
	}
	return fmt.Sprintf("cpu %.0f%% of %d%%%s", 100*used/seconds, 100*e.Processors, word)
}
