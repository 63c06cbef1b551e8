package engine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/encap"
	"weft/engine/control"
	"weft/engine/probe"
	"weft/tunnel/wg"
)

// Each state of a peer comes with the reason that a person needs.
func TestJudgePeer(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	tried := probe.State{FirstTried: ago(time.Hour), Window: 20}
	alive := tried
	alive.Alive, alive.LastAnswer = true, ago(time.Second)
	gone := tried
	gone.LastAnswer = ago(90 * time.Second)
	unsent := tried
	unsent.SendErr = errors.New("network is unreachable")
	for name, tc := range map[string]struct {
		far    far
		status probe.State
		heard  time.Time
		wg     *wg.PeerStatus
		want   control.PeerState
		reason string
	}{
		"answers":                 {status: alive, want: control.PeerOK},
		"not tried yet":           {want: control.PeerNew},
		"tried just now":          {status: probe.State{FirstTried: ago(time.Second)}, want: control.PeerNew},
		"never answered":          {status: tried, want: control.PeerDown, reason: "never answered"},
		"no longer answers":       {status: gone, want: control.PeerDown, reason: "no answer for 1m30s"},
		"sends but is silent":     {status: gone, heard: ago(time.Second), want: control.PeerSilent, reason: "does not answer echoes"},
		"two leases, one address": {far: far{shared: true}, status: tried, heard: ago(time.Second), want: control.PeerDown, reason: "never answered"},
		"its last word":           {status: gone, heard: gone.LastAnswer.Add(time.Second), want: control.PeerDown, reason: "no answer for"},
		"sent long ago":           {status: gone, heard: ago(time.Hour), want: control.PeerDown, reason: "no answer for"},
		"cannot be sent to":       {status: unsent, want: control.PeerDown, reason: "network is unreachable"},
		"no handshake":            {status: tried, wg: &wg.PeerStatus{}, want: control.PeerDown, reason: "handshakes"},
		"a session, but silent":   {status: tried, wg: &wg.PeerStatus{Answers: true}, want: control.PeerDown, reason: "never answered"},
		"sealed":                  {far: far{drop: encap.WantsWireGuard, why: "its lease says wireguard"}, want: control.PeerUnusable, reason: "peer_wants_wireguard: its lease"},
	} {
		t.Run(name, func(t *testing.T) {
			p := control.Peer{Heard: tc.heard}
			if tc.wg != nil {
				p.Answers = &tc.wg.Answers
			}
			tc.far.path = &path{}
			if !tc.heard.IsZero() {
				tc.far.path.heard.Store(tc.heard.UnixNano())
			}
			got, reason := judgePeer(&tc.far, &p, &tc.status, now)
			if got != tc.want || !strings.Contains(reason, tc.reason) || (tc.reason == "") != (reason == "") {
				t.Errorf("%s %q, want %s %q", got, reason, tc.want, tc.reason)
			}
		})
	}
}

// A peer behind a path that is narrower than anybody says is ok, with a remark.
func TestJudgePeerNarrow(t *testing.T) {
	to := far{path: &path{}, mtu: 1350}
	to.path.probed.Store(1350)
	p := control.Peer{PathMTU: 1400}
	got, reason := judgePeer(&to, &p, &probe.State{Alive: true, Limit: 1350, PathMTU: 1350}, time.Now())
	if got != control.PeerOK || !strings.Contains(reason, "1400") || !strings.Contains(reason, "1350") {
		t.Errorf("%s %q", got, reason)
	}
}

func TestJudge(t *testing.T) {
	now := time.Now()
	good := func() control.Status {
		return control.Status{Health: control.OK, Engine: control.Engine{Open: true}, Store: control.Store{Connected: true},
			Peers: []control.Peer{{State: control.PeerOK}, {State: control.PeerNew}}}
	}
	for name, tc := range map[string]struct {
		spoil func(*control.Status)
		want  control.Health
		cause string
	}{
		"nothing":        {func(*control.Status) {}, control.OK, ""},
		"not ready":      {func(s *control.Status) { s.Causes = []string{"starting"} }, control.Down, "starting"},
		"no ends":        {func(s *control.Status) { s.Engine.Open = false }, control.Down, "not open"},
		"a peer down":    {func(s *control.Status) { s.Peers[0].State = control.PeerDown }, control.Degraded, "1 peer down"},
		"a peer silent":  {func(s *control.Status) { s.Peers[0].State = control.PeerSilent }, control.Degraded, "1 peer silent"},
		"all peers down": {func(s *control.Status) { s.Peers[0].State, s.Peers[1].State = control.PeerDown, control.PeerDown }, control.Degraded, "no peer answers"},
		"two unusable": {func(s *control.Status) {
			s.Peers[0].State, s.Peers[1].State = control.PeerUnusable, control.PeerUnusable
		}, control.Degraded, "2 peers unusable"},
		"refused":    {func(s *control.Status) { s.Refused = []control.Refused{{}} }, control.Degraded, "1 lease refused"},
		"store away": {func(s *control.Status) { s.Store = control.Store{Error: "refused"} }, control.Degraded, "out of reach: refused"},
		"expired":    {func(s *control.Status) { s.Store.Expires = now.Add(-time.Second) }, control.Degraded, "expired"},
		"down and more": {func(s *control.Status) {
			s.Causes, s.Peers[0].State = []string{"starting"}, control.PeerDown
		}, control.Down, "starting"},
	} {
		t.Run(name, func(t *testing.T) {
			s := good()
			tc.spoil(&s)
			judge(&s, now)
			if s.Health != tc.want || tc.cause == "" && len(s.Causes) > 0 || tc.cause != "" && !strings.Contains(s.Causes[0], tc.cause) {
				t.Errorf("%s %q, want %s %q", s.Health, s.Causes, tc.want, tc.cause)
			}
		})
	}
}

// A node that has not begun answers all the same.
func TestStatusBeforeStart(t *testing.T) {
	n, err := New(Options{Name: "n1", Version: "v1", Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	s := n.Status(context.Background())
	if s.Health != control.Down || !slices.Equal(s.Causes, []string{"starting", "the data plane is not open"}) && !slices.Equal(s.Causes, []string{"starting"}) ||
		s.Node.Name != "n1" || s.Schema != control.Schema || s.Engine.SourceCheck != "strict" {
		t.Errorf("%+v", s)
	}
	if _, err := n.Explain(context.Background(), control.Question{}); err == nil {
		t.Error("it explains")
	}
	if err := n.Ping(context.Background(), control.PingRequest{}, nil); err == nil {
		t.Error("it pings")
	}
	if m, records := n.Drops(); m.Node != "n1" || len(records) != 0 {
		t.Errorf("%+v, %d records", m, len(records))
	}
}

// The least limit holds, and one that is gone is gone.
func TestPathLimit(t *testing.T) {
	p := &path{bound: 1450}
	for _, step := range []struct {
		learnt, probed int32
		want           int
		changed        bool
	}{{0, 0, 1450, true}, {0, 0, 1450, false}, {1400, 0, 1400, true}, {1400, 1350, 1350, true}, {1300, 1350, 1300, true},
		{0, 1350, 1350, true}, {0, 0, 1450, true}} {
		p.learnt.Store(step.learnt)
		p.probed.Store(step.probed)
		if got, changed := p.limit(); got != step.want || changed != step.changed || int(p.inner.Load()) != step.want {
			t.Errorf("%+v: %d, %v", step, got, changed)
		}
	}
}

// A node that is reached in two ways is one line, with the sums of both and the
// reason of the worse.
func TestJoin(t *testing.T) {
	way := func(state control.PeerState, reason string, mtu int) control.Peer {
		return control.Peer{State: state, Reason: reason, MTU: mtu, Sent: control.Traffic{Packets: 1, Bytes: 10}, Echoes: 3, Echoed: 2}
	}
	for name, tc := range map[string]struct {
		p, q, want control.Peer
	}{
		"both well":        {way("ok", "", 1450), way("ok", "", 1430), way("ok", "", 1450)},
		"the second down":  {way("ok", "", 1450), way("down", "gone", 1430), way("down", "IPv6: gone", 1450)},
		"the first down":   {way("down", "gone", 1450), way("ok", "", 1430), way("down", "gone", 1450)},
		"both down":        {way("down", "gone", 1450), way("down", "too", 1430), way("down", "gone", 1450)},
		"the second young": {way("ok", "", 1450), way("new", "", 1430), way("ok", "", 1450)},
		"a narrow path":    {way("ok", "", 1450), way("ok", "narrow", 1280), way("ok", "IPv6: narrow", 1280)},
	} {
		t.Run(name, func(t *testing.T) {
			join(&tc.p, &tc.q)
			if tc.p.State != tc.want.State || tc.p.Reason != tc.want.Reason || tc.p.MTU != tc.want.MTU || tc.p.Sent.Bytes != 20 || tc.p.Echoes != 6 || tc.p.Echoed != 4 {
				t.Errorf("%+v, want %+v", tc.p, tc.want)
			}
		})
	}
}
