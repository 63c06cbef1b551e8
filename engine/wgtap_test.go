package engine

import (
	"bytes"
	"context"
	"io"
	"testing"

	"weft/encap"
	"weft/engine/trace"
)

// heard returns what a session was told so far.
func heard(t *testing.T, s *trace.Session) (recs []trace.Record) {
	t.Helper()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	frames, lost, _ := s.Next(over, nil)
	if lost != 0 {
		t.Errorf("%d records lost", lost)
	}
	for in := trace.NewReader(bytes.NewReader(frames)); ; {
		e, err := in.Next()
		if err == io.EOF {
			return recs
		}
		must(t, err)
		rec := *e.Record
		rec.Snap = bytes.Clone(rec.Snap)
		recs = append(recs, rec)
	}
}

// What goes to WireGuard is told of when the device has taken the whole batch,
// and what it lets out when it is written.
func TestNearTrace(t *testing.T) {
	r := newNearRig(t, allTUN)
	s, err := r.hub.Open(trace.Options{})
	must(t, err)
	defer s.Close()
	big := tcpFrom(pod(1, 2), pod(2, 2), 1, pattern(1, 20*1000))
	r.dev.Feed(superpacket(big, 1000), one(udpFrom(pod(1, 2), "10.6.0.1", nil)))
	r.read(20, 7)
	r.dev.Feed(one(udpFrom(pod(1, 2), pod(3, 2), pattern(2, 10))))
	r.read(1, 7) // which ends the batch before
	recs := heard(t, s)
	if len(recs) != 2 {
		t.Fatalf("%d records, want 2: %+v", len(recs), recs)
	}
	lost, sent := recs[0], recs[1]
	if lost.Drop != encap.NoRoute {
		lost, sent = sent, lost
	}
	wantWay(t, lost, trace.Read|trace.Parsed|trace.Answered)
	wantWay(t, sent, trace.Read|trace.Parsed|trace.Routed|trace.Segmented|trace.Sealed)
	if sent.Packets != 20 || sent.Size != 1000 || sent.Kind != trace.WireGuard || sent.Run != 20 {
		t.Errorf("%+v", sent)
	}

	const offset = 16
	var bufs [][]byte
	for i := range 3 {
		p := tcpFrom(pod(2, 2), pod(1, 2), uint32(1+i*100), pattern(i, 100))
		bufs = append(bufs, append(make([]byte, offset), p...))
	}
	stray := append(make([]byte, offset), udpFrom(pod(2, 2), pod(3, 2), nil)...)
	must(t, r.near.Write(append(bufs, stray), offset, make([]uint8, 4)))
	recs = heard(t, s)
	if len(recs) != 4 {
		t.Fatalf("%d records, want 4", len(recs))
	}
	for _, got := range recs[:3] {
		wantWay(t, got, trace.Received|trace.Known|trace.Opened|trace.Parsed|trace.Checked|trace.Joined|trace.Written)
	}
	if recs[3].Drop != encap.InnerDstNotLocal || recs[3].Dir != trace.In {
		t.Errorf("%+v", recs[3])
	}
	wantWay(t, recs[3], trace.Received|trace.Known|trace.Opened|trace.Parsed)
	if got := r.peers[2].seen.got.packets.Load(); got != 3 {
		t.Errorf("%d packets counted as the peer's", got)
	}
}

// A packet of our own goes to its peer, is nobody else's, and says so in a trace.
func TestNearInject(t *testing.T) {
	r := newNearRig(t, allTUN)
	p := udpFrom("10.5.1.0", "10.5.2.0", pattern(1, 50))
	nudged := 0
	must(t, r.near.inject(func() { nudged++ }, p))
	r.dev.Feed(one(udpFrom(pod(1, 2), pod(3, 2), pattern(2, 10))))
	got, out := r.read(2, 7)
	if nudged != 1 || len(got) != 2 || !bytes.Equal(got[0], p) || out[0].Lane != r.peers[2].lane || out[1].Lane != r.peers[3].lane {
		t.Errorf("%d nudges, %d packets, %+v", nudged, len(got), out)
	}
	for range cap(r.near.ours) {
		must(t, r.near.inject(func() {}, p))
	}
	if err := r.near.inject(func() { t.Error("a nudge for nothing") }, p); err == nil {
		t.Error("a packet too many is taken")
	}
}

// In report mode what strict checks would drop is delivered, counted, and told
// with its reason.
func TestTraceReport(t *testing.T) {
	o := usual()
	o.check = Report
	r := newRig(t, o)
	r.sendDown(9, udpFrom(pod(9, 7), pod(1, 5), pattern(1, 10)))
	r.sendDown(2, udpFrom(pod(3, 7), pod(1, 5), pattern(1, 10)), udpFrom(pod(2, 7), pod(1, 5), pattern(1, 10)))
	want := []encap.Drop{encap.OuterSrcUnknown, encap.InnerSrcNotLeased, encap.Delivered}
	recs := r.next()
	if len(recs) != len(want) {
		t.Fatalf("%d records", len(recs))
	}
	for i, got := range recs {
		if got.Drop != want[i] || got.Way&trace.Written == 0 {
			t.Errorf("%d: %v, it passed %v", i, got.Drop, got.Way.Names())
		}
	}
	if got := len(r.dev.Take()); got != 3 {
		t.Errorf("%d packets delivered", got)
	}
}
