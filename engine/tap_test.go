package engine

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/netip"
	"testing"

	"weft/encap"
	"weft/engine/trace"
	"weft/tunnel"
)

// A story is what a session was told, added up.
type story struct {
	delivered [2]uint64         // packets that were not lost, by direction
	drops     map[string]uint64 // packets lost, by reason, since somebody last asked
	lost      uint64            // records that did not fit
	records   []trace.Record    // since somebody last asked
}

// listen makes the rig be traced from the start to the end of its test, when what
// was told must agree with what was counted.
func (r *rig) listen(check SourceCheck) {
	r.t.Helper()
	var err error
	r.session, err = r.hub.Open(trace.Options{Snaplen: 256})
	must(r.t, err)
	r.told.drops, r.check = map[string]uint64{}, check
	if _, fuzzing := r.t.(*testing.F); fuzzing {
		r.t.Cleanup(r.session.Close)
		return // what is counted is forgotten there at each turn
	}
	r.t.Cleanup(func() {
		r.sameStory(r.drops())
		r.session.Close()
	})
}

// hear takes in what was told since the last time.
func (r *rig) hear() {
	r.t.Helper()
	over, cancel := context.WithCancel(context.Background())
	cancel() // nothing is waited for
	frames, lost, _ := r.session.Next(over, nil)
	r.told.lost += lost
	for in := trace.NewReader(bytes.NewReader(frames)); ; {
		e, err := in.Next()
		if err == io.EOF {
			return
		}
		must(r.t, err)
		rec := *e.Record
		rec.Snap = bytes.Clone(rec.Snap)
		r.told.records = append(r.told.records, rec)
		switch {
		case rec.Way&trace.Consumed != 0: // it was for weft itself, and is no pod's
		case rec.Drop == encap.Delivered:
			r.told.delivered[rec.Dir] += uint64(rec.Packets)
		default:
			r.told.drops[rec.Drop.String()] += uint64(rec.Packets)
		}
	}
}

// sameStory compares what was told with what was counted, drops since the last
// call and packets delivered since the start, and forgets the former. In report
// mode some drops are counted and delivered.
func (r *rig) sameStory(drops map[string]uint64) {
	r.t.Helper()
	r.hear()
	if r.told.lost > 0 || r.check == Report {
		return
	}
	if !maps.Equal(r.told.drops, drops) {
		r.t.Errorf("traced as lost: %v, counted: %v", r.told.drops, drops)
	}
	clear(r.told.drops)
	up, down := r.counts[0].packets.Load(), uint64(0)
	for i := range r.counts[1:] {
		down += r.counts[1+i].packets.Load()
	}
	if r.told.delivered[trace.Out] != up || r.told.delivered[trace.In] != down {
		r.t.Errorf("traced as sent %d, counted %d; traced as written %d, counted %d",
			r.told.delivered[trace.Out], up, r.told.delivered[trace.In], down)
	}
}

// next returns the records since the last call.
func (r *rig) next() (recs []trace.Record) {
	r.hear()
	recs, r.told.records = r.told.records, nil
	return recs
}

// only returns the single record since the last call.
func (r *rig) only() trace.Record {
	r.t.Helper()
	recs := r.next()
	if len(recs) != 1 {
		r.t.Fatalf("%d records, want 1: %+v", len(recs), recs)
	}
	return recs[0]
}

func wantWay(t *testing.T, got trace.Record, want trace.Way) {
	t.Helper()
	if got.Way != want {
		t.Errorf("record %v: it passed %v, want %v", got.Drop, got.Way.Names(), want.Names())
	}
}

func TestTraceSent(t *testing.T) {
	r := newRig(t, usual())
	p := tcpFrom(pod(1, 5), pod(2, 7), 1, pattern(1, 40*1000))
	r.sendUp(superpacket(p, 1000))
	got := r.only()
	wantWay(t, got, trace.Read|trace.Parsed|trace.Routed|trace.Hopped|trace.Segmented|trace.Wrapped|trace.Sent)
	if got.Packets != 40 || got.Size != 1000 || got.Len != uint32(len(p)) || got.Run != 40 || got.Kind != trace.UDP ||
		got.Dir != trace.Out || got.Remote.String() != "192.168.50.2:8285" || got.Drop != encap.Delivered || len(got.Snap) != 256 {
		t.Errorf("%+v", got)
	}
	if !bytes.Equal(got.Inner()[12:20], p[12:20]) {
		t.Errorf("inner packet % x", got.Inner()[:20])
	}
	r.sendUp(tunnel.Packet{Data: udpFrom(pod(1, 5), pod(2, 7), pattern(2, 64))})
	if second := r.only(); second.ID <= got.ID || second.Size != 0 || second.Packets != 1 {
		t.Errorf("%+v", second)
	}
}

func TestTraceRefusedUp(t *testing.T) {
	r := newRig(t, usual())
	r.sendUp(tunnel.Packet{Data: udpFrom(pod(1, 5), "10.5.99.1", pattern(1, 64))})
	got := r.only()
	wantWay(t, got, trace.Read|trace.Parsed|trace.Answered)
	if got.Drop != encap.NoRoute || got.Remote.Addr().IsValid() {
		t.Errorf("%+v", got)
	}
	short := udpFrom(pod(1, 5), pod(2, 7), pattern(1, 64))
	short[ttlAt(short)] = 1
	r.sendUp(tunnel.Packet{Data: seal4(short)})
	if got = r.only(); got.Drop != encap.TTLExceeded || got.Kind != trace.UDP {
		t.Errorf("%+v", got)
	}
	wantWay(t, got, trace.Read|trace.Parsed|trace.Routed|trace.Answered)
	r.sendUp(tunnel.Packet{Data: []byte{0x45, 0}})
	if got = r.only(); got.Drop != encap.Runt || len(got.Inner()) != 0 || got.Len != 2 {
		t.Errorf("%+v", got)
	}
	wantWay(t, got, trace.Read)
	if kept := r.hub.Flight.Records(); len(kept) != 3 || kept[0].Drop != encap.NoRoute || len(kept[0].Snap) != 92 {
		t.Errorf("the flight recorder keeps %d: %+v", len(kept), kept)
	}
}

func TestTraceWritten(t *testing.T) {
	r := newRig(t, usual())
	var train [][]byte
	for i := range 5 {
		train = append(train, tcpFrom(pod(2, 7), pod(1, 5), uint32(1+i*1000), pattern(i, 1000)))
	}
	train = append(train, udpFrom(pod(2, 7), pod(1, 5), pattern(9, 10)))
	r.sendDown(2, train...)
	recs := r.next()
	if len(recs) != 6 {
		t.Fatalf("%d records", len(recs))
	}
	way := trace.Received | trace.Known | trace.Opened | trace.Parsed | trace.Checked | trace.Hopped | trace.Written
	for i, got := range recs {
		want, joined := way, uint16(0)
		if i < 5 {
			want, joined = way|trace.Joined, 5
		}
		wantWay(t, got, want)
		if got.Joined != joined || got.Remote.Addr() != netip.MustParseAddr("192.168.50.2") || got.Dir != trace.In || int(got.Len) != len(train[i]) {
			t.Errorf("%d: %+v", i, got)
		}
	}
}

func TestTraceRefusedDown(t *testing.T) {
	r := newRig(t, usual())
	r.sendDown(9, udpFrom(pod(9, 7), pod(1, 5), pattern(1, 10)))
	got := r.only()
	wantWay(t, got, trace.Received)
	if got.Drop != encap.OuterSrcUnknown || got.Remote.String() != "192.168.50.9:8285" {
		t.Errorf("%+v", got)
	}
	r.sendDown(2, udpFrom(pod(3, 7), pod(1, 5), pattern(1, 10)))
	got = r.only()
	wantWay(t, got, trace.Received|trace.Known|trace.Opened|trace.Parsed)
	if got.Drop != encap.InnerSrcNotLeased {
		t.Errorf("%+v", got)
	}
}

// TestTraceFilter traces by what only the engine knows of a packet.
func TestTraceFilter(t *testing.T) {
	for expr, want := range map[string]int{
		"": 3, "drop": 1, "drop inner_src_not_in_lease": 1, "drop no_route": 0, "dir in": 2, "dir out": 1,
		"peer 192.168.50.2": 3, "peer 192.168.50.3": 0, "lease 10.5.2.0/24": 3, "udp and not drop": 2,
		"outer udp port 8285": 3, "outer host 192.168.50.2 and dir in": 2, "host 10.5.3.7": 1,
	} {
		t.Run(expr, func(t *testing.T) {
			r := newRig(t, usual())
			s, err := r.hub.Open(trace.Options{Filter: expr})
			must(t, err)
			defer s.Close()
			r.session, s = s, r.session
			defer func() { r.session, s = s, r.session; s.Close() }()
			r.sendUp(tunnel.Packet{Data: udpFrom(pod(1, 5), pod(2, 7), pattern(1, 10))})
			r.sendDown(2, udpFrom(pod(2, 7), pod(1, 5), pattern(1, 10)), udpFrom(pod(3, 7), pod(1, 5), pattern(1, 10)))
			if got := r.next(); len(got) != want {
				t.Errorf("%d records, want %d", len(got), want)
			}
			r.told = story{drops: map[string]uint64{}}
		})
	}
}
