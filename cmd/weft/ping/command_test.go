package ping

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/engine/control"
	"weft/engine/ping"
	"weft/engine/ping/echo"
)

var update = flag.Bool("update", false, "write the screens in testdata anew")

// A node answers pings with the real engine, but on wires made up by the test;
// only the layers engine and underlay's datagrams need no socket.
type node struct {
	got     control.PingRequest
	replies []control.PingReply
	err     error
	facts   *ping.Facts // nil: replies are all
}

func (n *node) Ping(ctx context.Context, r control.PingRequest, each func(control.PingReply) error) error {
	n.got = r
	if n.facts != nil {
		return ping.Run(ctx, r, *n.facts, each)
	}
	for _, p := range n.replies {
		if err := each(p); err != nil {
			return err
		}
	}
	return n.err
}

// run runs the command and returns what it printed.
func run(n *node, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := command(func(string) (pinger, error) { return n, nil })
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.ExecuteContext(context.Background())
	return out.String(), err
}

// code is the exit code of err: 2 of one without, for those are mistakes of the
// caller.
func code(err error) int {
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return 0
	case errors.As(err, &coded):
		return coded.ExitCode()
	}
	return 2
}

func sec(ms float64) *float64 { s := ms / 1000; return &s }

func answered(layer string, seq, size int, ms float64, from, note string) control.PingReply {
	return control.PingReply{Layer: layer, Seq: seq, Size: size, RTT: sec(ms), From: netip.MustParseAddr(from), Note: note}
}

func lost(layer string, seq, size int, note string) control.PingReply {
	return control.PingReply{Layer: layer, Seq: seq, Size: size, Note: note}
}

// screens are replies, and the exit code that they come to.
var screens = map[string]struct {
	args    []string
	replies []control.PingReply
	code    int
}{
	"kernel fails": {[]string{"n2"}, []control.PingReply{
		answered("underlay", 1, 84, 0.412, "192.0.2.12", "icmp"), answered("underlay", 2, 84, 0.4, "192.0.2.12", "icmp"),
		answered("underlay", 1, 84, 0.6, "192.0.2.12", "port 8472: it sees us as 192.0.2.11:8472"), lost("underlay", 2, 84, "port 8472"),
		{Layer: "underlay", Note: "192.0.2.11 to 192.0.2.12, icmp 2 of 2, port 8472 1 of 2",
			Summary: &control.PingSummary{Sent: 4, Answered: 3, Min: sec(0.4), Avg: sec(0.47), Max: sec(0.6)}},
		answered("engine", 1, 84, 0.7, "10.5.2.0", ""),
		{Layer: "engine", Note: "10.5.1.0 to 10.5.2.0", Summary: &control.PingSummary{Sent: 1, Answered: 1, Min: sec(0.7), Avg: sec(0.7), Max: sec(0.7)}},
		lost("kernel", 1, 84, ""), lost("kernel", 2, 84, "from 10.5.1.0: host unreachable"),
		{Layer: "kernel", Note: "10.5.1.0 to 10.5.2.0", Summary: &control.PingSummary{Sent: 2}},
		{Layer: "pod", Summary: &control.PingSummary{Skipped: "no interface here but the tunnel's has an address in 10.5.1.0/24"}},
		{Layer: "kernel", Verdict: "underlay and engine ok, kernel fails (from 10.5.1.0: host unreachable): the tunnel works"},
	}, 1},
	"sweep": {[]string{"n2", "--sweep", "--layer", "engine", "-c", "1"}, []control.PingReply{
		answered("engine", 1, 84, 0.7, "10.5.2.0", ""),
		lost("engine", 2, 1450, "from 192.0.2.254: fragmentation needed, MTU 1400"),
		answered("engine", 3, 1400, 1.25, "10.5.2.0", ""), lost("engine", 4, 1401, "no answer to 3 tries"),
		{Layer: "engine", Note: "10.5.1.0 to 10.5.2.0", Summary: &control.PingSummary{Sent: 1, Answered: 1, Min: sec(0.7), Avg: sec(0.7), Max: sec(0.7), Largest: 1400}},
		{Verdict: "engine ok: all that was tried passes"},
	}, 0},
	"json": {[]string{"n2", "--json"}, []control.PingReply{
		{Layer: "engine", Seq: 1, Size: 84, RTT: sec(0.7)},
		answered("pod", 1, 84, 0.5, "10.5.2.1", ""), lost("pod", 2, 84, ""),
		{Layer: "pod", Summary: &control.PingSummary{Sent: 2, Answered: 1, Min: sec(0.5), Avg: sec(0.5), Max: sec(0.5)}},
		{Verdict: "pod ok: all that was tried passes; lost: pod 1 of 2"},
	}, 0},
	"wireguard": {[]string{"n2", "--layer", "engine", "-c", "1"}, []control.PingReply{
		{Layer: "engine", Seq: 1, Size: 84, RTT: sec(0.7)}, {Layer: "underlay", Seq: 2, Note: "port 8472"},
		{Verdict: "engine ok: all that was tried passes"},
	}, 1},
	"nothing tried": {[]string{"n2", "--layer=pod"}, []control.PingReply{
		{Layer: "pod", Summary: &control.PingSummary{Skipped: "there is no bridge"}},
		{Verdict: "nothing could be tried: pod: there is no bridge"},
	}, 1},
}

func TestScreens(t *testing.T) {
	for name, s := range screens {
		got, err := run(&node{replies: s.replies}, s.args...)
		if code(err) != s.code || err != nil && err.Error() != "" {
			t.Errorf("%s: exit code %d (%v), want %d", name, code(err), err, s.code)
		}
		path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "_")+".txt")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}

// What --json prints is what the node said, no more and no less.
func TestJSONRoundTrip(t *testing.T) {
	want := screens["kernel fails"].replies
	out, _ := run(&node{replies: want}, "n2", "--json")
	var got []control.PingReply
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var p control.PingReply
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		got = append(got, p)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

func TestRequest(t *testing.T) {
	n := &node{}
	_, err := run(n, "10.5.2.0/24", "--layer", "pod,engine", "--layer", "kernel", "-c", "7", "--size", "1450", "--df", "--sweep",
		"--interval", "1500ms", "--timeout", "2s", "--from", "10.5.1.1", "--to", "10.5.2.9")
	if code(err) != 1 || !errors.Is(err, errNoVerdict) {
		t.Errorf("a node that says nothing: %v", err)
	}
	want := control.PingRequest{Peer: "10.5.2.0/24", Layers: []string{"pod", "engine", "kernel"}, Count: 7, Size: 1450, DF: true, Sweep: true,
		Interval: 1.5, Timeout: 2, From: "10.5.1.1", To: "10.5.2.9"}
	if !reflect.DeepEqual(n.got, want) {
		t.Errorf("asked %+v, want %+v", n.got, want)
	}
}

func TestMistakes(t *testing.T) {
	for _, args := range []string{"", "n2 n3", "n2 --layer wire", "n2 -c 0", "n2 --count=-1", "n2 --size 0", "n2 --interval 0s",
		"n2 --timeout -1s", "n2 --from n1", "n2 --to 10.5.2", "n2 --nonsense"} {
		n := &node{}
		out, err := run(n, strings.Fields(args)...)
		if code(err) != 2 || out != "" || n.got.Peer != "" {
			t.Errorf("%q: %v, exit code %d, printed %q, asked %q", args, err, code(err), out, n.got.Peer)
		}
	}
}

func TestNodeRefuses(t *testing.T) {
	for _, want := range []error{&control.Error{Message: "peer: no peer \"n9\"; there are n2 and n3", Field: "peer"}, context.Canceled} {
		_, err := run(&node{err: want}, "n9")
		if code(err) != 1 || !errors.Is(err, want) || err.Error() != want.Error() {
			t.Errorf("%v, exit code %d; want %v", err, code(err), want)
		}
	}
	cmd := command(func(string) (pinger, error) { return nil, errors.New("no socket") })
	cmd.SetArgs([]string{"n2"})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	if err := cmd.Execute(); code(err) != 1 || err.Error() != "no socket" {
		t.Errorf("%v", err)
	}
}

// The command and the engine's side understand each other.
func TestWithEngine(t *testing.T) {
	limit := 1400
	n := &node{facts: &ping.Facts{
		Find: func(string) (control.Peer, error) {
			return control.Peer{Name: "n2", Via: "udp", Subnet: netip.MustParsePrefix("10.5.2.0/24"), MTU: 1472}, nil
		},
		Engine: func(_ context.Context, _ control.Peer, size int, _ bool) (time.Duration, netip.Addr, error) {
			if size > limit {
				return 0, netip.Addr{}, &echo.Refusal{Text: "the packet is too long", MTU: limit, Err: unix.EMSGSIZE}
			}
			return time.Millisecond, netip.MustParseAddr("10.5.2.0"), nil
		},
	}}
	out, err := run(n, "n2", "--layer", "engine", "--sweep", "--interval", "1ms")
	if err != nil || !strings.Contains(out, "largest 1400 bytes") || !strings.Contains(out, "\nverdict   engine ok: ") {
		t.Errorf("%v\n%s", err, out)
	}
	limit = 50
	out, err = run(n, "n2", "--layer", "engine", "--interval", "1ms")
	if code(err) != 1 || !strings.Contains(out, "\nverdict   engine fails (this host: the packet is too long, MTU 50): 84 bytes are too long") {
		t.Errorf("%v\n%s", err, out)
	}
}
