package load

import (
	"golang.org/x/sys/unix"
)

// The lines of the conversation between the measuring program and a role.
const (
	lineReady = "ready"
	lineMark  = "mark"
	lineStop  = "stop"
)

// A Snapshot is what a role has counted since it started, and the latencies
// it has seen since the snapshot before.
type Snapshot struct {
	At        int64      // CLOCK_MONOTONIC, in nanoseconds
	Bytes     uint64     // payload bytes sent or received
	Packets   uint64     // datagrams sent or received
	Reordered uint64     // datagrams that arrived after a later one
	Lost      uint64     // requests of udp-ping without an answer
	Refused   uint64     // datagrams that the socket would not take
	Latency   *Quantiles `json:",omitempty"`
}

// monotonic returns the clock of Snapshot.At, which all processes share.
func monotonic() int64 {
	var ts unix.Timespec
	// CLOCK_MONOTONIC cannot fail with a valid pointer (clock_gettime(2)).
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// A role is one running end of a load.
type role interface {
	// snapshot reads the counters; it may be called while the role works.
	snapshot() Snapshot
}

// addLatency closes the histogram's window into s.
func (s *Snapshot) addLatency(h *recorder) {
	q := h.take().quantiles()
	s.Latency = &q
}
