package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/engine/control"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with testdata/NAME.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s:\ngot\n%s\nwant\n%s", path, text, want)
	}
}

// A fakeNode answers one after the other; after the last one it is gone.
type fakeNode struct{ answers []control.Status }

func (n *fakeNode) Status(context.Context) (control.Status, error) {
	if len(n.answers) == 0 {
		return control.Status{}, errors.New("/run/weft/n1.sock: nobody listens there any more")
	}
	s := n.answers[0]
	n.answers = n.answers[1:]
	return s, nil
}

var noon = time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)

func before(d time.Duration) time.Time { return noon.Add(-d) }

func p[T any](v T) *T { return &v }

// healthy is a node of a small cluster in which all is well.
func healthy() control.Status {
	return control.Status{
		Schema: control.Schema, Time: noon, Health: control.OK,
		Node: control.NodeInfo{Name: "n1", Version: "v0.5.0", Platform: "linux/arm64", PID: 7, Started: before(74*time.Hour + 5*time.Minute),
			Subnet: netip.MustParsePrefix("10.244.1.0/24"), Public: netip.MustParseAddr("192.0.2.11"), Backend: "vxlan",
			Devices: []string{"flannel0"}, MTU: 1450, Iface: "eth0", IfaceMTU: 1500, IfaceWhy: "default route"},
		Engine: control.Engine{Open: true, Features: []string{"vnet", "gso", "gro", "mmsg"}, Off: []string{"uso"}, SourceCheck: "strict",
			Out: control.Traffic{Packets: 31_000_000, Bytes: 40 << 30}, In: control.Traffic{Packets: 1, Bytes: 1000},
			CPU: 26674, Processors: 4, Memory: 28 << 20},
		Store: control.Store{Kind: "etcd", Where: "https://10.0.0.1:2379", Connected: true, Leases: 3,
			Contact: before(time.Second), Changed: before(4 * time.Minute), Expires: noon.Add(23*time.Hour + 2*time.Minute)},
		Peers: []control.Peer{
			{Subnet: netip.MustParsePrefix("10.244.2.0/24"), Public: netip.MustParseAddr("192.0.2.12"), Backend: "vxlan", Via: "vxlan",
				Endpoint: netip.MustParseAddrPort("192.0.2.12:8472"), State: control.PeerOK, RTT: p(0.0006), Loss: p(0.0), Echoes: 1204, Echoed: 1203,
				MTU: 1450, PathMTU: 1500, Probed: before(14 * time.Second), Sent: control.Traffic{Packets: 9_000_000, Bytes: 12 << 30},
				Received: control.Traffic{Packets: 70_000_000, Bytes: 91 << 30}, Heard: before(300 * time.Millisecond),
				Expires: noon.Add(22*time.Hour + 41*time.Minute), Weft: "v0.5.0", Observed: netip.MustParseAddrPort("192.0.2.11:8472")},
			{Subnet: netip.MustParsePrefix("10.244.3.0/24"), Public: netip.MustParseAddr("192.0.2.13"), Backend: "udp", Via: "udp",
				Endpoint: netip.MustParseAddrPort("192.0.2.13:8285"), State: control.PeerOK, RTT: p(0.0123), Loss: p(0.004),
				MTU: 1472, Received: control.Traffic{Bytes: 2 << 30}, Sent: control.Traffic{Bytes: 11 << 27}, Heard: before(2 * time.Second)},
		},
	}
}

// troubled is a node with one of each thing that can be told.
func troubled() control.Status {
	s := healthy()
	s.Health, s.Causes = control.Degraded, []string{"nas does not answer handshakes", "the lease store cannot be reached"}
	s.Node.Subnet6, s.Node.Public6 = netip.MustParsePrefix("fd00:244:1::/64"), netip.MustParseAddr("2001:db8:1234:5678:9abc:def0:1234:5678")
	s.Node.Nested = "wireguard"
	s.Engine.Ports = []control.Port{{Kind: "vxlan", Address: netip.MustParseAddrPort("192.0.2.11:8472"), VNI: 1, Drops: 12}}
	s.Engine.Repairs = []control.Repairs{{What: "route", Count: 1}, {What: "rules", Count: 3}, {What: "wireguard"}}
	s.Engine.Traces, s.Engine.TraceLost, s.Engine.SourceCheck = 1, 5, "report"
	s.Store = control.Store{Kind: "file", Where: "/shared/net", Contact: before(90 * time.Second), Leases: 1,
		Expires: before(time.Hour), ClockSkew: p(-31.4), Error: "stale file handle"}
	for i, reason := range []string{"outer_src_unknown", "ttl_exceeded", "tun_full", "no_route", "runt", "not_ip"} {
		s.Drops = append(s.Drops, control.Drops{Reason: reason, In: uint64(1000 >> (2 * i)), Out: uint64(i)})
	}
	s.Peers = append(s.Peers,
		control.Peer{Subnet: netip.MustParsePrefix("10.244.9.0/24"), Subnet6: netip.MustParsePrefix("fd00:244:9::/64"), Backend: "wireguard",
			Via: "wireguard", Endpoint: netip.MustParseAddrPort("[2001:db8:ffff:ffff:ffff:ffff:ffff:fffe]:51820"), State: control.PeerDown, Loss: p(1.0),
			MTU: 1420, Sent: control.Traffic{Packets: 20_000, Bytes: 3_250_000}, Reason: "no handshake since 5m12s: has its key changed?",
			Key: "YmFzZTY0IG9mIHRoaXJ0eS10d28gYnl0ZXMuLi4uLi4=", Answers: p(false)},
		control.Peer{Public: netip.MustParseAddr("192.0.2.99"), Subnet: netip.MustParsePrefix("10.244.8.0/24"), Backend: "vxlan", Via: "direct",
			State: control.PeerSilent, MTU: 1500, Heard: before(26 * time.Hour), Reason: "does not answer echoes\x1b[2J"},
		control.Peer{Subnet6: netip.MustParsePrefix("fd00:244:7::/64"), State: control.PeerNew, Backend: "udp", Via: "udp"})
	s.Refused = []control.Refused{
		{Subnet: netip.MustParsePrefix("10.244.1.0/24"), Public: netip.MustParseAddr("203.0.113.9"), Backend: "vxlan", Reason: "it is this node's own subnet"},
		{Subnet: netip.MustParsePrefix("10.250.0.0/24"), Subnet6: netip.MustParsePrefix("fd00:250::/64"), Backend: "extension\n", Reason: "outside the network 10.244.0.0/16"}}
	return s
}

// show runs the command's body with answers and flags.
func show(o options, colors bool, answers ...control.Status) (string, int, error) {
	var out bytes.Buffer
	pg := &page{options: o, ask: &fakeNode{answers}, out: &out, colors: colors}
	err := pg.once(context.Background())
	code := 0
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		code = coded.ExitCode()
	} else if err != nil {
		code = -1
	}
	return out.String(), code, err
}

func TestScreens(t *testing.T) {
	down := healthy()
	down.Health, down.Causes = control.Down, []string{"starting"}
	down.Peers, down.Engine, down.Store.Connected = nil, control.Engine{}, false
	down.Node = control.NodeInfo{Name: "n1", Version: "v0.5.0", Platform: "linux/arm64", Started: noon}
	down.Store = control.Store{Kind: "etcd", Where: "http://127.0.0.1:2379"}
	for _, tt := range []struct {
		name   string
		answer control.Status
		peer   string
		colors bool
		code   int
	}{
		{"healthy", healthy(), "", false, 0},
		{"troubled", troubled(), "", false, 1},
		{"colors", troubled(), "", true, 1},
		{"down", down, "", false, 2},
		{"peer", healthy(), "192.0.2.12", false, 0},
		{"peer-down", troubled(), "10.244.9.17", false, 2},
		{"peer-silent", troubled(), "192.0.2.99", false, 1},
	} {
		text, code, err := show(options{peer: tt.peer}, tt.colors, tt.answer)
		if code != tt.code || err != nil && err.Error() != "" {
			t.Errorf("%s: exit code %d (%v), want %d and no text", tt.name, code, err, tt.code)
		}
		golden(t, tt.name+".golden", text)
	}
}

// A peer is found by any of its names.
func TestFindPeer(t *testing.T) {
	s := troubled()
	for _, text := range []string{"10.244.9.0/24", "10.244.9.200", "fd00:244:9::/64", "fd00:244:9::5", "2001:db8:ffff:ffff:ffff:ffff:ffff:fffe"} {
		if got, err := findPeer(&s, text); err != nil || got.Subnet != netip.MustParsePrefix("10.244.9.0/24") {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"n9": "there are 5 peers: 192.0.2.12 with 10.244.2.0/24", "10.250.0.0/24": "refused: outside the network", "203.0.113.9": "refused: it is this node's own"} {
		if got, err := findPeer(&s, text); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, %v; want %q", text, got, err, want)
		}
	}
	if _, code, err := show(options{peer: "n9"}, false, s); code != 2 || err.Error() == "" {
		t.Errorf("exit code %d, %v", code, err)
	}
}

func TestJSON(t *testing.T) {
	text, code, _ := show(options{json: true}, false, troubled())
	var s control.Status
	if err := json.Unmarshal([]byte(text), &s); err != nil || code != 1 || strings.Count(text, "\n") != 1 || len(s.Refused) != 2 {
		t.Errorf("exit code %d, %v: %s", code, err, text)
	}
	text, code, _ = show(options{json: true, peer: "10.244.9.1"}, false, troubled())
	var one onePeer
	if err := json.Unmarshal([]byte(text), &one); err != nil || code != 2 || one.Schema != control.Schema || !one.Time.Equal(noon) || one.Peer.MTU != 1420 {
		t.Errorf("exit code %d, %v: %s", code, err, text)
	}
	text, code, gone := show(options{json: true, peer: "n9"}, false, troubled())
	var no noPeer
	if err := json.Unmarshal([]byte(text), &no); err != nil || code != 2 || no.Error != gone.Error() || no.Field != "peer" || no.Schema != control.Schema {
		t.Errorf("exit code %d, %v: %s", code, err, text)
	}
	text, code, err := show(options{json: true}, false)
	s = control.Status{}
	if jsonErr := json.Unmarshal([]byte(text), &s); jsonErr != nil || code != 2 || s.Health != control.Down || len(s.Causes) != 1 || s.Causes[0] != err.Error() || strings.Contains(text, "null") || strings.Contains(text, "started") {
		t.Errorf("no node: exit code %d, %v: %s", code, jsonErr, text)
	}
}

// later is healthy ten seconds on.
func later() control.Status {
	s := healthy()
	s.Time = s.Time.Add(10 * time.Second)
	s.Engine.CPU += 6.1
	s.Engine.In.Bytes += 1_512_500_000
	s.Engine.In.Packets += 1_400_000
	s.Peers[0].Received.Bytes += 1_250_000_000
	s.Peers[0].Sent.Bytes += 125_000
	return s
}

// Several blocks have rates from the second on, and outlive a node that is away.
func TestRepeat(t *testing.T) {
	restarted := later()
	restarted.Node.Started, restarted.Engine.CPU = noon.Add(9*time.Second), 1.1
	restarted.Time = noon.Add(20 * time.Second)
	ctx, stop := context.WithCancel(t.Context())
	var out bytes.Buffer
	n := &fakeNode{[]control.Status{healthy(), later(), restarted}}
	pg := &page{ask: asks(func(ctx context.Context) (control.Status, error) {
		if strings.Contains(out.String(), "nobody listens") {
			stop()
		}
		return n.Status(ctx)
	}), out: &out}
	if err := pg.repeat(ctx, time.Millisecond); err != nil {
		t.Error(err)
	}
	golden(t, "repeat.golden", out.String())
}

// Keys are heeded while the node hangs, and an answer is drawn when it comes.
func TestKeysWhileTheNodeHangs(t *testing.T) {
	keys, tick := make(chan byte), make(chan time.Time)
	hangs := make(chan struct{})
	first := true
	pg := &page{ask: asks(func(ctx context.Context) (control.Status, error) {
		if first {
			first = false
			return healthy(), nil
		}
		close(hangs)
		<-ctx.Done()
		return control.Status{}, ctx.Err()
	})}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	drawn, done := make(chan string, 10), make(chan error, 1)
	go func() {
		done <- pg.watchWith(ctx, events{keys: keys, tick: tick, every: time.Second}, func(s *screen) error {
			drawn <- s.draw(200, 40)
			return nil
		})
	}()
	if got := <-drawn; !strings.Contains(got, "192.0.2.12") {
		t.Errorf("drawn %q", got)
	}
	tick <- noon
	<-hangs
	tick <- noon // no second question: it would close hangs again
	keys <- 'j'
	<-drawn
	keys <- 'q'
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type asks func(context.Context) (control.Status, error)

func (f asks) Status(ctx context.Context) (control.Status, error) { return f(ctx) }

// What is drawn in place fits the terminal, and can be scrolled.
func TestDraw(t *testing.T) {
	s := &screen{page: &page{}, view: view{now: troubled()}, every: 2 * time.Second}
	full := s.draw(300, 100)
	for _, want := range []string{home, "10.244.9.0/24", clearBelow, "q quits"} {
		if !strings.Contains(full, want) {
			t.Errorf("lacks %q: %q", want, full)
		}
	}
	small := s.draw(60, 20)
	lines := strings.Split(small, "\n")
	if len(lines) != 20 {
		t.Errorf("%d lines on a terminal of 20", len(lines))
	}
	for _, l := range lines {
		l = strings.TrimPrefix(strings.TrimSuffix(l, clearBelow), home)
		if n := len([]rune(strings.TrimSuffix(l, clearLine))); n > 60 {
			t.Errorf("%d characters on a terminal of 60: %q", n, l)
		}
	}
	first := lines[18]
	s.key('j')
	if again := strings.Split(s.draw(60, 20), "\n"); again[18] == first || again[0] != lines[0] {
		t.Errorf("after a step down %q, before %q", again[18], first)
	}
	s.key('k')
	if again := s.draw(60, 20); again != small {
		t.Error("a step down and one up do not end where they began")
	}
	if s.key('x') || !s.key('q') {
		t.Error("q quits and nothing else does")
	}
	if lines := strings.Split(s.draw(60, 1), "\n"); len(lines) != 1 {
		t.Errorf("%d lines on a terminal of one", len(lines))
	}
	s.err = errors.New("nobody listens")
	if got := s.draw(80, 24); !strings.Contains(got, "down: nobody listens") || strings.Contains(got, "10.244.9.0/24") {
		t.Errorf("%q", got)
	}
}
