package trace

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weft/cmd/weft/trace/pcapng/pcapngtest"
	"weft/encap"
	"weft/engine/control"
	engine "weft/engine/trace"
)

func TestOptions(t *testing.T) {
	for args, want := range map[string]engine.Options{
		"":                                   {Sample: 1},
		"host 10.244.2.7 and tcp port 80":    {Sample: 1, Filter: "host 10.244.2.7 and tcp port 80"},
		"--drops":                            {Sample: 1, Filter: "drop"},
		"--drops tcp or udp":                 {Sample: 1, Filter: "(tcp or udp) and drop"},
		"-c 5 --for 10s --snaplen 256":       {Sample: 1, Count: 5, For: 10 * time.Second, Snaplen: 256},
		"--sample 1/100":                     {Sample: 100},
		"--sample 7 icmp -c1":                {Sample: 7, Filter: "icmp", Count: 1},
		"paths --drops --for 1m udp":         {Sample: 1, For: time.Minute, Filter: "(udp) and drop"},
		"--json peer 192.0.2.12 --socket n1": {Sample: 1, Filter: "peer 192.0.2.12"},
	} {
		p := stub(stream())
		var got engine.Options
		var socket string
		p.trace = func(_ context.Context, s string, o engine.Options) (source, error) {
			got, socket = o, s
			return play(stream()), nil
		}
		if _, _, err := run(p.traceCommand(), strings.Fields(args)...); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q asks for %+v, want %+v; %v", args, got, want, err)
		}
		if want := map[bool]string{true: "n1"}[strings.Contains(args, "--socket")]; socket != want {
			t.Errorf("%q asks %q, want %q", args, socket, want)
		}
	}
}

// code is the exit code that an error asks for; 2 if it asks for none, as errors
// of the command line do.
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

func TestExitCodes(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	plain := func(err error) *program {
		p := stub(nil)
		p.trace = func(context.Context, string, engine.Options) (source, error) { return nil, err }
		return p
	}
	cut := stream(allRecords()...)
	ended := engine.AppendFrame(stream()[:len(stream())-len("count reached")-5], engine.FrameEnd, []byte("closed"))
	for _, c := range []struct {
		p    *program
		args string
		code int
		text string
	}{
		{plain(errors.New("no weft answers")), "", 1, "no weft answers"},
		{plain(&control.Error{Message: "filter: hots: unknown word", Field: "filter"}), "hots 1.2.3.4", 2, "hots"},
		{plain(&control.Error{Message: "busy"}), "", 1, "busy"},
		{stub(cut[:len(cut)-30]), "", 1, "went away"},
		{stub(ended), "", 1, "the node ended the trace: closed"},
		{stub(engine.AppendFrame(nil, engine.FrameRecord, []byte("short"))), "", 1, "not a record"},
		{stub(cut), "--sample 2/3", 2, "--sample=2/3"},
		{stub(cut), "--sample 0", 2, "--sample=0"},
		{stub(cut), "-c -1", 2, "--count=-1"},
		{stub(cut), "--for -1s", 2, "--for=-1s"},
		{stub(cut), "--snaplen 65536", 2, "--snaplen=65536"},
		{stub(cut), "--json -v", 2, "json"},
		{stub(cut), "--relative --delta", 2, "delta"},
		{stub(cut), "--wireshark", 1, "install the package wireshark"},
		{stub(cut), "-w /does/not/exist", 1, "--write: open /does/not/exist"},
	} {
		_, _, err := run(c.p.traceCommand(), strings.Fields(c.args)...)
		if code(err) != c.code || err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%q: exit code %d, want %d; %v, want %q in it", c.args, code(err), c.code, err, c.text)
		}
	}
	for _, args := range []string{"--reason nonsense", "--last -1", "word", "--json --group"} {
		if _, _, err := run(stub(cut).dropsCommand(), strings.Fields(args)...); code(err) != 2 {
			t.Errorf("drops %s: exit code %d, %v", args, code(err), err)
		}
	}
}

func TestNoCaptureToTerminal(t *testing.T) {
	p := stub(stream())
	p.terminal = func(io.Writer) bool { return true }
	if out, _, err := run(p.traceCommand(), "-w", "-"); code(err) != 2 || out != "" {
		t.Errorf("exit code %d, %v, and %d bytes on the terminal", code(err), err, len(out))
	}
}

func TestFollow(t *testing.T) {
	for args, want := range map[string]string{"--follow": "drop", "--follow --reason no_route,too_big": "drop no_route or drop too_big"} {
		p := stub(stream())
		var got engine.Options
		p.trace = func(_ context.Context, _ string, o engine.Options) (source, error) {
			got = o
			return play(stream(droppedRecords()...)), nil
		}
		out, errOut, err := run(p.dropsCommand(), strings.Fields(args)...)
		if err != nil || got.Filter != want || strings.Count(out, "\n") < 5 || errOut != "7 shown, 12 lost\n" {
			t.Errorf("%s: filter %q, want %q; %q; %v", args, got.Filter, want, errOut, err)
		}
	}
}

func TestParseReasons(t *testing.T) {
	var all []string
	for d := encap.Delivered + 1; d < encap.NumDrops; d++ {
		all = append(all, d.String())
	}
	wanted, err := parseReasons(all)
	if err != nil || len(wanted) != len(all) || wanted[encap.Delivered] {
		t.Errorf("%d reasons of %d, %v", len(wanted), len(all), err)
	}
	if _, err := parseReasons([]string{"delivered"}); err == nil {
		t.Error("delivered is no reason")
	}
}

// A reader of the output who leaves, as head does, is no error.
func TestBrokenPipe(t *testing.T) {
	many := slices.Repeat(allRecords(), 200)
	for _, args := range []string{"", "-v", "--json", "-w -", "paths"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		cmd := stub(stream(many...)).traceCommand()
		cmd.SetArgs(strings.Fields(args))
		cmd.SetOut(w)
		cmd.SetErr(io.Discard)
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Errorf("%q: %v", args, err)
		}
		w.Close()
	}
}

// Output comes without more of it pushing it out.
func TestOutputEmptiesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		o := newOutput(a)
		began := time.Now()
		if _, err := o.Write([]byte("one line\n")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 9)
		if _, err := io.ReadFull(b, got); err != nil || string(got) != "one line\n" || time.Since(began) != latency {
			t.Errorf("%q after %v, %v", got, time.Since(began), err)
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
		a.Close()
		b.Close()
	})
}

// syncBuffer is a buffer that two goroutines may use.
type syncBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Buffer.Write(b)
}

// On a terminal the table of paths is drawn each second over the one before.
func TestLivePaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var screen syncBuffer
		p := newPaths(&screen, true, false)
		r := allRecords()[0]
		must(p.record(&r))
		time.Sleep(redraw)
		synctest.Wait()
		first := screen.String()
		if !strings.HasPrefix(first, "SHARE") || strings.Count(first, "\n") != 2 {
			t.Errorf("the first screen is %q", first)
		}
		must(p.record(&r))
		if err := p.close(); err != nil {
			t.Fatal(err)
		}
		if second := strings.TrimPrefix(screen.String(), first); !strings.HasPrefix(second, "\x1b[2A\x1b[JSHARE") || !strings.Contains(second, "100.0%  2 ") {
			t.Errorf("the second screen is %q", second)
		}
	})
}

func TestPathsTellOfSampling(t *testing.T) {
	var b bytes.Buffer
	p := newPaths(&b, false, false)
	must(p.meta(&engine.Meta{Sample: 100}))
	if err := p.close(); err != nil || !strings.Contains(b.String(), "one of 100 packets was looked at") {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// Wireshark is started with what it needs to begin at once, and gets a capture.
func TestWireshark(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\necho \"$@\" >" + dir + "/args\nexec cat >" + dir + "/capture\n"
	if err := os.WriteFile(filepath.Join(dir, "wireshark"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	out, errOut, err := run(stub(stream(allRecords()...)).traceCommand(), "--wireshark")
	if err != nil || out != "" || errOut != "13 captured, 12 lost\n" {
		t.Fatalf("%q, %q, %v", out, errOut, err)
	}
	args, err := os.ReadFile(dir + "/args")
	if want := "-k -i - -d udp.port==8472,vxlan -d udp.port==8285,ip\n"; err != nil || string(args) != want {
		t.Errorf("called with %q, want %q; %v", args, want, err)
	}
	b, err := os.ReadFile(dir + "/capture")
	if err != nil {
		t.Fatal(err)
	}
	if f, err := pcapngtest.Read(b); err != nil || len(f.Packets) == 0 {
		t.Errorf("%d packets, %v", len(f.Packets), err)
	}
}

func TestHelpHasExamples(t *testing.T) {
	for _, cmd := range []interface {
		Help() error
		SetOut(io.Writer)
	}{Command(), DropsCommand()} {
		var b bytes.Buffer
		cmd.SetOut(&b)
		if err := cmd.Help(); err != nil || !strings.Contains(b.String(), "Examples:") || !strings.Contains(b.String(), "--socket") {
			t.Errorf("help is %q, %v", b.String(), err)
		}
	}
}
