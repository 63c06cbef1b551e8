package explain

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

	"weft/engine/control"
)

var update = flag.Bool("update", false, "write the screens in testdata anew")

var question80 = control.Question{Src: netip.MustParseAddr("10.244.1.5"), Dst: netip.MustParseAddr("10.244.2.7"), Proto: "tcp", Port: 80, Size: 1500, DF: true}

// answers are what a node may say, by the name of the screen.
var answers = map[string]control.Explanation{
	"too_big": {
		Schema: 1, Question: question80, Verdict: "too_big", MaxSize: 1450, Text: "TOOBIG at 1500, DELIVER at ≤ 1450",
		Steps: []control.Step{
			{Stage: "kernel", OK: true, Text: "route 10.244.0.0/16 dev flannel0  (rule 32766, table main)"},
			{Stage: "engine", OK: true, Text: "lookup 10.244.2.7 → 10.244.2.0/24  peer n2 192.0.2.12  backend vxlan vni 1  to 192.0.2.12:8472  lease expires in 22h41m"},
			{Stage: "size", Text: "1500 > 1450 (path 1500 − vxlan 50)  →  with DF: ICMP frag-needed 1450 to 10.244.1.5", Facts: map[string]string{"limit": "1450"}},
			{Stage: "rules", OK: true, Text: "accept: nft forward: ip flannel-ipv4 forward"},
			{Stage: "peer", OK: true, Text: "n2 192.0.2.12: answers"},
		},
		Return: []control.Step{
			{Stage: "peer", OK: true, Text: "10.244.2.7 → 10.244.1.5: n2 192.0.2.12 told 12s ago: it has a lease for it, sends vxlan to 192.0.2.11:8472, symmetric"},
			{Stage: "kernel", OK: true, Text: "route 10.244.1.0/24 dev cni0  (rule 32766, table main)"},
		},
	},
	"deliver": {
		Schema: 1, Question: control.Question{Src: netip.MustParseAddr("fd00:244:1::5"), Dst: netip.MustParseAddr("fd00:244:2::7"), Proto: "icmp", Size: 1430, DF: true},
		Verdict: "deliver", Text: "DELIVER to n2 2001:db8::2",
		Steps: []control.Step{{Stage: "engine", OK: true, Text: "lookup fd00:244:2::7 → fd00:244:2::/64"}},
	},
	"hostile_name": {
		Schema: 1, Question: question80, Verdict: "drop", Drop: "no_route", Text: "DROP \x1b]0;owned\x07",
		Steps: []control.Step{{Stage: "peer", Text: "\x1b[2J\r\nresult    DELIVER \u202e\xff"}},
	},
}

// A stand-in answers each question alike.
type standIn struct {
	e     control.Explanation
	err   error
	asked control.Question
}

func (s *standIn) Explain(_ context.Context, q control.Question) (control.Explanation, error) {
	s.asked = q
	return s.e, s.err
}

// code is the exit code that an error asks for.
func code(t *testing.T, err error) int {
	t.Helper()
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &coded):
		t.Errorf("%v has no exit code", err)
		return -1
	}
	return coded.ExitCode()
}

func TestScreens(t *testing.T) {
	for name, e := range answers {
		var out bytes.Buffer
		if err := run(t.Context(), &standIn{e: e}, question80, &out, false); (code(t, err) == 0) != (e.Verdict == "deliver") {
			t.Errorf("%s: exit code %d", name, code(t, err))
		}
		file := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if out.String() != string(want) {
			t.Errorf("%s is another screen (see -update):\n%swant:\n%s", name, &out, want)
		}
	}
}

// Nothing that a terminal would obey comes through, whatever the store holds.
func TestClean(t *testing.T) {
	var out bytes.Buffer
	_ = run(t.Context(), &standIn{e: answers["hostile_name"]}, question80, &out, false) // exit code 1: TestScreens
	if bad := strings.ContainsAny(out.String(), "\x1b\x07\r\u202e"); bad || strings.Count(out.String(), "\n") != 3 {
		t.Errorf("the screen is %q", &out)
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	e := answers["too_big"]
	if err := run(t.Context(), &standIn{e: e}, question80, &out, true); code(t, err) != 1 || err.Error() != "" {
		t.Errorf("exit code %d, %q; want 1 and no more words", code(t, err), err)
	}
	var got control.Explanation
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("%s reads as %+v, %v", &out, got, err)
	}
	if !strings.Contains(out.String(), "1500 > 1450") {
		t.Errorf("> is not readable in %s", &out)
	}
}

func TestExitCodes(t *testing.T) {
	for verdict, want := range map[string]int{"deliver": 0, "fragment": 0, "drop": 1, "too_big": 1, "not_ours": 1} {
		err := run(t.Context(), &standIn{e: control.Explanation{Verdict: verdict}}, question80, new(bytes.Buffer), false)
		if got := code(t, err); got != want {
			t.Errorf("%s ends with %d, want %d", verdict, got, want)
		}
	}
	why := errors.New("nobody listens")
	if err := run(t.Context(), &standIn{err: why}, question80, new(bytes.Buffer), false); code(t, err) != 2 || !errors.Is(err, why) {
		t.Errorf("a node that cannot be asked ends with %d, %v", code(t, err), err)
	}
	if err := run(t.Context(), &standIn{}, question80, brokenPipe{}, false); code(t, err) != 2 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("an output that is closed ends with %d, %v", code(t, err), err)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestQuestion(t *testing.T) {
	ends := control.Question{Src: question80.Src, Dst: question80.Dst}
	with := func(proto string, port uint16, size int) control.Question {
		q := ends
		q.Proto, q.Port, q.Size = proto, port, size
		return q
	}
	for text, want := range map[string]control.Question{
		"":            ends,
		"icmp":        with("icmp", 0, 0),
		"icmp 1400":   with("icmp", 0, 1400),
		"tcp 80":      with("tcp", 80, 0),
		"tcp 80 1500": with("tcp", 80, 1500),
		"47 100":      with("47", 0, 100),
	} {
		got, err := question(append([]string{"10.244.1.5", "10.244.2.7"}, strings.Fields(text)...))
		if err != nil || got != want {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"10.244.1 10.244.2.7":                `SRC: "10.244.1"`,
		"10.244.1.5 n2":                      `DST: "n2"`,
		"10.244.1.5 10.244.2.7 tcp http":     `port: "http"`,
		"10.244.1.5 10.244.2.7 udp 0":        `port: "0"`,
		"10.244.1.5 10.244.2.7 udp 65536":    `port: "65536"`,
		"10.244.1.5 10.244.2.7 tcp 80 big":   `size: "big"`,
		"10.244.1.5 10.244.2.7 icmp 80 1400": `"1400"`,
		"10.244.1.5 10.244.2.7 icmp 99999":   `size: "99999"`,
	} {
		if q, err := question(strings.Fields(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %+v, %v; want an error with %s", text, q, err, want)
		}
	}
}

// The command itself: what is wrong with its line is said before anybody is
// asked.
func TestCommandLine(t *testing.T) {
	for text, want := range map[string]string{
		"10.244.1.5": "arg",
		"10.244.1.5 10.244.2.7 tcp 80 1400 --size 1500":  "--size: 1500",
		"10.244.1.5 10.244.2.7 --size -1":                "--size: -1",
		"10.244.1.5 10.244.2.7 --socket /nowhere/w.sock": "/nowhere/w.sock",
	} {
		cmd := Command()
		cmd.SetArgs(strings.Fields(text))
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want an error about %s", text, err, want)
		}
	}
}
